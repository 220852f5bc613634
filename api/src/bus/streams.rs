//! Keeps every stream, bucket and consumer in place: made at start-up, and again after each new connection and each
//! silence of a watch, since a server may come back without them. Regions' queues are looked for now and then besides.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{Config, Info};
use common::name::RegionCode;
use common::stream::{self, StreamSettings, WORKER_CONSUMER};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::error::BusError;
use super::link::Link;

/// The shortest time between two rounds, however many ask for one.
const ROUND_PAUSE: Duration = Duration::from_millis(200);
/// How often regions' queues are looked for though nothing is said of them. Costs two requests a region.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What must be there for the api to work.
pub(super) struct Streams {
    link: Arc<Link>,
    settings: StreamSettings,
    /// Regions whose streams must be there.
    wanted: Mutex<BTreeSet<RegionCode>>,
    /// Those of them whose queues were made or checked since the last connection.
    made: Mutex<BTreeSet<RegionCode>>,
    /// One region is made at a time, so that many jobs for a new one make it once.
    making: tokio::sync::Mutex<()>,
    prepared: watch::Sender<u64>,
    sound: AtomicBool,
    suspected: Notify,
    wanted_more: Notify,
}

impl Streams {
    pub(super) fn new(link: Arc<Link>, settings: StreamSettings) -> Self {
        Self {
            link,
            settings,
            wanted: Mutex::default(),
            made: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            prepared: watch::Sender::new(0),
            sound: AtomicBool::new(false),
            suspected: Notify::new(),
            wanted_more: Notify::new(),
        }
    }

    /// Makes or checks what does not belong to one region, then everybody's signal to begin anew.
    pub(super) async fn prepare(&self) -> Result<(), BusError> {
        lock(&self.made).clear();
        self.stream(stream::results(self.settings)).await?;
        self.consumer(stream::RESULTS, stream::results_consumer()).await?;
        let ledger = self.stream(stream::hostports(self.settings)).await?;
        check_ledger(&ledger)?;
        self.stream(stream::regions(self.settings)).await?;
        self.sound.store(true, Ordering::Relaxed);
        self.prepared.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Makes or checks a region's queues, unless that was done since the last connection.
    pub(super) async fn ensure_region(&self, region: &RegionCode) -> Result<(), BusError> {
        if lock(&self.made).contains(region) {
            return Ok(());
        }
        let _making = self.making.lock().await;
        if lock(&self.made).contains(region) {
            return Ok(());
        }
        self.link.check_connected()?;
        self.stream(stream::jobs(region, self.settings)).await?;
        self.consumer(&stream::jobs_name(region), stream::jobs_consumer()).await?;
        self.stream(stream::reads(region, self.settings)).await?;
        self.consumer(&stream::reads_name(region), stream::reads_consumer()).await?;
        lock(&self.wanted).insert(region.clone());
        lock(&self.made).insert(region.clone());
        Ok(())
    }

    /// The next use of the region makes or checks its queues again.
    pub(super) fn forget_region(&self, region: &RegionCode) {
        lock(&self.made).remove(region);
    }

    /// A worker of this region was heard: its queues must be there.
    pub(super) fn want_region(&self, region: &RegionCode) {
        if !lock(&self.wanted).contains(region) {
            lock(&self.wanted).insert(region.clone());
            self.wanted_more.notify_one();
        }
    }

    /// Something that should be heard is not: all is to be checked.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Changes each time that all has been made or checked.
    pub(super) fn prepared(&self) -> watch::Receiver<u64> {
        self.prepared.subscribe()
    }

    /// Whether all that belongs to no region was there when it was last looked for.
    pub(super) fn is_sound(&self) -> bool {
        self.sound.load(Ordering::Relaxed)
    }

    /// Does rounds whenever there is a reason for one, until `stop`.
    pub(super) async fn keep(self: Arc<Self>, mut connects: watch::Receiver<u64>, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let (mut everything, mut looks) = (false, false);
        loop {
            // Questions to a server that has gone are not waited for: the next one is asked at once.
            let round = tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = connects.changed() => {
                    everything = true;
                    continue;
                }
                round = self.round(&mut everything, std::mem::take(&mut looks)) => round,
            };
            let failed = match round {
                Ok(()) => {
                    backoff.reset();
                    None
                }
                Err(error) => {
                    let wait = backoff.next();
                    tracing::warn!(error = &error as &dyn Error, ?wait, "nats: streams are not all there");
                    Some(wait)
                }
            };
            // Where only a region's queues are not there, what else is asked for does not wait for them.
            let sound = self.is_sound();
            tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(LOOK_EVERY), if failed.is_none() => looks = true,
                () = wait_for(failed) => {}
                Ok(()) = connects.changed() => everything = true,
                () = self.suspected.notified(), if sound => everything = true,
                () = self.wanted_more.notified(), if sound => {}
            }
            time::sleep(ROUND_PAUSE).await;
        }
    }

    /// A region whose queues cannot be made holds up no other, and makes no instance unsound: it is tried again.
    async fn round(&self, everything: &mut bool, looks: bool) -> Result<(), BusError> {
        if looks {
            self.look_for_queues().await;
        }
        if *everything || !self.is_sound() {
            self.sound.store(false, Ordering::Relaxed);
            self.link.check_connected()?;
            self.prepare().await?;
            *everything = false;
        }
        let wanted = lock(&self.wanted).clone();
        let mut made = Ok(());
        for region in &wanted {
            if let Err(error) = self.ensure_region(region).await {
                tracing::warn!(%region, error = &error as &dyn Error, "nats: a region's queues are not there");
                made = Err(error);
            }
        }
        made
    }

    /// Looks for each region's queues, which somebody may have deleted while nothing was published. What is not there is made by
    /// the next use.
    pub(super) async fn look_for_queues(&self) {
        let made = lock(&self.made).clone();
        for region in &made {
            for stream in [stream::jobs_name(region), stream::reads_name(region)] {
                let found =
                    self.link.context.get_consumer_from_stream::<pull::Config, _, _>(WORKER_CONSUMER, &stream).await;
                if let Err(error) = found {
                    tracing::warn!(%region, stream, error = &error as &dyn Error, "nats: a region's queue is not found");
                    self.forget_region(region);
                }
            }
        }
    }

    async fn stream(&self, config: Config) -> Result<Info, BusError> {
        let name = config.name.clone();
        self.link.context.create_or_update_stream(config).await.map_err(|error| of_stream(&name, error))
    }

    async fn consumer(&self, stream: &str, config: pull::Config) -> Result<(), BusError> {
        let consumer = self.link.context.create_consumer_on_stream(config, stream).await;
        consumer.map(drop).map_err(|error| BusError::refused(format!("the consumer of {stream}"), error))
    }
}

/// Waits for a while, or for ever.
async fn wait_for(wait: Option<Duration>) {
    match wait {
        Some(wait) => time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// The ledger is worth nothing without these two.
fn check_ledger(info: &Info) -> Result<(), BusError> {
    let wrong = |what| Err(BusError::WrongStream { stream: info.config.name.clone(), what });
    if !info.config.allow_atomic_publish {
        return wrong("atomic publish");
    }
    if info.config.max_messages_per_subject != 1 {
        return wrong("one message a key");
    }
    Ok(())
}

/// The client's time as ours.
pub(super) fn timestamp(nanos: i128) -> Result<Timestamp, jiff::Error> {
    Timestamp::from_nanosecond(nanos)
}

fn of_stream(name: &str, error: CreateStreamError) -> BusError {
    match error.kind() {
        CreateStreamErrorKind::TimedOut => BusError::Timeout,
        CreateStreamErrorKind::JetStreamUnavailable => BusError::Missing("JetStream".to_owned()),
        _ => BusError::refused(format!("stream {name}"), error),
    }
}

/// Takes a lock whose holders only move values about.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
