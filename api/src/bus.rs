//! NATS as the api sees it: jobs and reads go out, results and answers come in, ports and regions are known. It knows
//! neither HTTP nor PostgreSQL.

mod answers;
mod backoff;
mod batch;
mod error;
mod follow;
mod ledger;
mod link;
mod plan;
mod ports;
mod regions;
mod results;
mod streams;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use common::fail_point::FailPoint;
use common::job::{Job, JobResult, JobStarted};
use common::login::Login;
use common::name::{Instance, JobId, RegionCode};
use common::read::Read;
use common::stream::StreamSettings;
use common::subject::{self, HEADER_REPLY, HEADER_WITHIN};
use common::{stream, telemetry};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{self, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::answers::{Answer, ProgressWaiter};
pub use self::error::{BusError, ReadError, ReserveError, Stale};
pub use self::follow::{Chunk, Chunks, FollowError};
pub use self::ledger::{Due, Ledger, Reserved, Settled, View};
pub use self::plan::{Desired, EndedJob};
pub use self::ports::Doubt;
pub use self::regions::{HeardWorker, Regions};
pub use self::results::{Ended, ResultsConsumer, Withdrawn};

use self::answers::Answers;
use self::link::Link;
use self::ports::Ports;
use self::regions::Present;
use self::streams::Streams;
use self::watch::{Mirror, Pulse, Watch};

/// The most reads of this instance at a time.
const MAX_READS: usize = 256;
/// How often what must be there at start-up is looked for.
const PREPARE_AGAIN: Duration = Duration::from_millis(500);

/// Where NATS is and how it keeps what it is given.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Where it is, and who signs in.
    pub login: Login,
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// The longest that start-up waits for NATS.
    pub connect_timeout: Duration,
    /// How long a port that is no longer used stays with its order.
    pub port_cooling: Duration,
}

/// The bus. Clones are the same bus; when the last is dropped, its tasks end.
#[derive(Clone)]
pub struct Bus {
    /// Who holds which port.
    pub ledger: Ledger,
    /// Which regions are there.
    pub regions: Regions,
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    streams: Arc<Streams>,
    answers: Arc<Answers>,
    reads: Semaphore,
    stop: CancellationToken,
    _stop: DropGuard,
}

/// What of the bus is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusHealth {
    /// One sentence for each trouble; none = ready.
    pub not_ready: Vec<&'static str>,
}

impl Bus {
    /// Connects, makes or checks every stream, bucket and consumer, and returns once both mirrors are true. `shutdown`
    /// ends the attempt; afterwards the bus lives until [`drain`](Self::drain).
    pub async fn connect(
        settings: &BusSettings,
        instance: Instance,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, BusError> {
        let deadline = Instant::now() + settings.connect_timeout;
        let link = Arc::new(Link::open(settings, &instance, &shutdown).await?);
        let connects = link.connects();
        let streams = Arc::new(Streams::new(link.clone(), StreamSettings { replicas: settings.replicas }));
        while let Err(error) = streams.prepare().await {
            if Instant::now() + PREPARE_AGAIN >= deadline || matches!(error, BusError::WrongStream { .. }) {
                return Err(error);
            }
            tokio::select! {
                () = shutdown.cancelled() => return Err(BusError::Closing),
                () = time::sleep(PREPARE_AGAIN) => {}
            }
        }
        let (answers, messages) = Answers::subscribe(&link, instance).await?;
        let answers = Arc::new(answers);
        let (ports, ports_pulse) = (Arc::new(Ports::default()), Arc::new(Pulse::new()));
        let (present, present_pulse) = (Arc::new(Present::new(streams.clone())), Arc::new(Pulse::new()));

        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        tasks.spawn(answers.clone().run(messages, stop.clone()));
        tasks.spawn(streams.clone().keep(connects, stop.clone()));
        tasks.spawn(present.clone().prune(link.clone(), stop.clone()));
        let follow = |bucket| (bucket, link.clone(), streams.clone());
        tasks.spawn(watch(follow(stream::HOSTPORTS), &ports, &ports_pulse).run(stop.clone()));
        tasks.spawn(watch(follow(stream::REGIONS), &present, &present_pulse).run(stop.clone()));
        let mirrored = async {
            ports_pulse.first().await;
            present_pulse.first().await;
        };
        time::timeout(settings.connect_timeout, mirrored).await.map_err(|_| BusError::Timeout)?;

        let ledger = Ledger::new(link.clone(), ports, ports_pulse, settings.port_cooling);
        let regions = Regions::new(present, present_pulse);
        let reads = Semaphore::new(MAX_READS);
        let inner = Inner { link, streams, answers, reads, stop, _stop: guard };
        Ok(Self { ledger, regions, inner: Arc::new(inner) })
    }

    /// Makes or checks a region's queues and their consumers. Costs nothing when that was done since the last connection;
    /// done without being asked for every region whose workers are heard.
    pub async fn ensure_region(&self, region: &RegionCode) -> Result<(), BusError> {
        self.inner.streams.ensure_region(region).await
    }

    /// Publishes a job and returns its place when the stream has it; with `reply`, its worker tells this instance of its progress.
    /// Publishing it again is harmless: what a server of a moment ago has it holds once. [`BusError::Repeated`] says that it had
    /// the job and has it no more. After [`BusError::Timeout`] it may be there or come there later: publish the same job again,
    /// never call it failed.
    pub async fn publish_job(&self, job: &Job, reply: bool) -> Result<u64, BusError> {
        let payload = Bytes::from(serde_json::to_vec(job).map_err(|error| BusError::refused("a job", error))?);
        let message = || {
            let mut headers = async_nats::HeaderMap::new();
            telemetry::inject(&mut headers);
            if reply {
                headers.insert(HEADER_REPLY, self.inner.answers.inbox(job.id));
            }
            PublishMessage::build().headers(headers).payload(payload.clone()).message_id(job.id.to_string())
        };
        let subject = subject::job(&job.region, job.change.verb());
        let stream = stream::jobs_name(&job.region);
        let ack = match self.publish(&job.region, &stream, &subject, message()).await {
            Err(BusError::Missing(_)) => {
                self.inner.streams.forget_region(&job.region);
                self.publish(&job.region, &stream, &subject, message()).await
            }
            published => published,
        }?;
        // The server knows its id, though a worker, a client or a person may have taken the job out since.
        if ack.duplicate && !self.is_queued(&job.region, job.id, ack.sequence).await? {
            return Err(BusError::Repeated);
        }
        Ok(ack.sequence)
    }

    /// Takes a job out of its region's queue, if it is still there, at its place. One that a worker has in its hands goes on.
    pub async fn withdraw_job(
        &self,
        region: &RegionCode,
        job: JobId,
        sequence: u64,
    ) -> Result<Option<Withdrawn>, BusError> {
        self.inner.link.check_connected()?;
        results::withdraw(&self.inner.link, region, job, sequence).await
    }

    /// Whether a job is still in its region's queue, at its place. One that is not was withdrawn, or a worker has told its end.
    pub async fn is_queued(&self, region: &RegionCode, job: JobId, sequence: u64) -> Result<bool, BusError> {
        self.inner.link.check_connected()?;
        results::is_queued(&self.inner.link, region, job, sequence).await
    }

    /// The end of a job, if anybody has told it.
    pub async fn result(&self, region: &RegionCode, job: JobId) -> Result<Option<JobResult>, BusError> {
        self.inner.link.check_connected()?;
        results::find(&self.inner.link, region, job).await
    }

    /// Publishes the end of a job that was withdrawn, and tells whoever waits for it. False = it had ended before; that end
    /// holds.
    pub async fn publish_result(
        &self,
        region: &RegionCode,
        result: &JobResult,
        withdrawn: &Withdrawn,
    ) -> Result<bool, BusError> {
        self.inner.link.check_connected()?;
        results::publish(&self.inner.link, region, result, withdrawn).await
    }

    /// This instance's name.
    pub fn instance(&self) -> &Instance {
        self.inner.answers.instance()
    }

    /// Asks a region and collects its answer.
    pub async fn read(&self, read: &Read, deadline: Duration) -> Result<Answer, ReadError> {
        let _permit = self.inner.reads.try_acquire().map_err(|_| ReadError::Overloaded)?;
        let asked = async {
            match self.ask(read, deadline).await {
                Err(ReadError::Bus(BusError::Missing(_))) => {
                    self.inner.streams.forget_region(&read.region);
                    self.ask(read, deadline).await
                }
                answered => answered,
            }
        };
        time::timeout(deadline, asked).await.map_err(|_| ReadError::Deadline)?
    }

    /// Registers a wait for a job's end: before the job is published, so that nothing is missed.
    pub fn expect_progress(&self, job: JobId) -> ProgressWaiter {
        self.inner.answers.expect(job)
    }

    /// Word of this instance's jobs that have begun. None for everybody but the first who asks.
    pub fn take_started(&self) -> Option<mpsc::Receiver<JobStarted>> {
        self.inner.answers.take_started()
    }

    /// Waits for the end of a job that another instance may have published, also when it is long over.
    pub async fn wait_result(&self, region: &RegionCode, job: JobId, within: Duration) -> Option<JobResult> {
        match results::wait(&self.inner.link, region, job, within).await {
            Ok(result) => Some(result),
            Err(BusError::Timeout) => None,
            Err(error) => {
                tracing::warn!(%job, %error, "a job's end could not be waited for");
                None
            }
        }
    }

    /// The consumer of all ends of jobs, shared by all instances.
    pub fn results(&self) -> ResultsConsumer {
        ResultsConsumer { link: self.inner.link.clone(), streams: self.inner.streams.clone() }
    }

    /// The connection, for what is no business of regions. It lives until [`drain`](Self::drain).
    pub fn client(&self) -> async_nats::Client {
        self.inner.link.client.clone()
    }

    /// What is known of NATS cannot be true: all of it is to be looked at anew.
    pub fn suspect(&self) {
        self.inner.streams.suspect();
    }

    /// Whether there is a connection to NATS now.
    pub fn is_connected(&self) -> bool {
        self.inner.link.is_connected()
    }

    /// What is not ready, without asking anybody.
    pub fn health(&self) -> BusHealth {
        let troubles = [
            (!self.inner.link.is_connected(), "NATS is not connected"),
            (!self.inner.streams.is_sound(), "streams could not be made or checked"),
            (self.ledger.check() == Err(Stale::Silent), "nothing is heard of the port ledger"),
            (self.ledger.check() == Err(Stale::Incomplete), "the port ledger is being rebuilt"),
            (!self.regions.is_fresh(), "nothing is heard of the regions"),
        ];
        BusHealth { not_ready: troubles.into_iter().filter(|(is, _)| *is).map(|(_, trouble)| trouble).collect() }
    }

    /// Ends the bus: to be called when nobody uses it any more, and before its tasks are waited for.
    pub async fn drain(&self) {
        self.inner.stop.cancel();
        self.inner.link.close().await;
    }

    async fn publish(
        &self,
        region: &RegionCode,
        stream: &str,
        subject: &str,
        message: PublishMessage,
    ) -> Result<PublishAck, BusError> {
        let sent = self.send(region, stream, subject, message).await?;
        sent.await.map_err(|error| BusError::of_publish(stream, error))
    }

    async fn send(
        &self,
        region: &RegionCode,
        stream: &str,
        subject: &str,
        message: PublishMessage,
    ) -> Result<PublishAckFuture, BusError> {
        self.inner.link.check_connected()?;
        self.inner.streams.ensure_region(region).await?;
        let sent = self.inner.link.context.send_publish(subject.to_owned(), message).await;
        sent.map_err(|error| BusError::of_publish(stream, error))
    }

    /// Publishes a read whose answer comes under this token.
    async fn put(&self, read: &Read, token: JobId, deadline: Duration) -> Result<PublishAckFuture, BusError> {
        let mut headers = async_nats::HeaderMap::new();
        telemetry::inject(&mut headers);
        headers.insert(HEADER_REPLY, self.inner.answers.inbox(token));
        headers.insert(HEADER_WITHIN, deadline.as_millis().to_string());
        let payload = serde_json::to_vec(read).map_err(|error| BusError::refused("a read", error))?;
        // The server counts in whole seconds, of which there must be one.
        let ttl = Duration::from_secs(deadline.as_secs().saturating_add(1));
        let message = PublishMessage::build().headers(headers).payload(payload.into());
        let message = message.message_id(token.to_string()).ttl(ttl);
        let stream = stream::reads_name(&read.region);
        let sent = self.send(&read.region, &stream, &subject::read(&read.region, &read.query), message).await;
        FailPoint::ReadPublished.reached();
        sent
    }

    async fn ask(&self, read: &Read, deadline: Duration) -> Result<Answer, ReadError> {
        let mut waiter = self.inner.answers.expect_answer();
        let stream = stream::reads_name(&read.region);
        let stored = self.put(read, waiter.token, deadline).await?;
        let refused = async {
            match stored.await.map_err(|error| BusError::of_publish(&stream, error)) {
                Ok(_) | Err(BusError::Timeout) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            answer = waiter.answer() => answer,
            error = refused => match error {
                BusError::Full(_) | BusError::Busy => Err(ReadError::Overloaded),
                error => Err(error.into()),
            },
        }
    }
}

impl BusHealth {
    /// Whether all is as it must be.
    pub fn is_ready(&self) -> bool {
        self.not_ready.is_empty()
    }
}

fn watch<M: Mirror>(
    (bucket, link, streams): (&'static str, Arc<Link>, Arc<Streams>),
    mirror: &Arc<M>,
    pulse: &Arc<Pulse>,
) -> Watch<M> {
    Watch { bucket, link, streams, mirror: mirror.clone(), pulse: pulse.clone() }
}
