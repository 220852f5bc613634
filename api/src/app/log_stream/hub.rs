//! Hubs: of each run that anybody follows live, one follow in its region and one ring of its last lines, however many
//! listen. When a worker or NATS goes away, the hub asks for another follow after its last line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::log::{FollowEnd, Mark, RunId, take_line};
use common::name::{ContainerName, OrderId, RegionCode};
use common::read::{LogFollowQuery, Query, READ_VERSION, Read};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ring::{Ended, News, Place, Ring};
use crate::bus::{Bus, Chunks, FollowError};

/// The most hubs of this instance.
const MAX_HUBS: usize = 512;
/// How long a hub outlives its last follower, who may come back.
const LINGER: Duration = Duration::from_secs(5);
/// How long to wait before a follow is asked for again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a region has to take up a follow.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(5);

/// What a hub follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) order: OrderId,
    pub(super) region: RegionCode,
    pub(super) container: ContainerName,
    pub(super) run: RunId,
}

/// All hubs.
pub(super) struct Hubs {
    bus: Bus,
    open: Mutex<HashMap<Key, Arc<Hub>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One hub.
struct Hub {
    ring: Mutex<Ring>,
    /// Wakes followers when there is something new.
    news: watch::Sender<()>,
    followers: watch::Sender<usize>,
}

/// A follower's place at a hub, until it is dropped.
pub(super) struct Seat {
    hub: Arc<Hub>,
    news: watch::Receiver<()>,
}

impl Hubs {
    pub(super) fn new(bus: Bus, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { bus, open: Mutex::default(), tasks, stop }
    }

    /// A place at the hub of this run, which begins after this line if it is not open yet. None = there are too many.
    pub(super) fn join(self: &Arc<Self>, key: &Key, after: Option<Mark>) -> Option<Seat> {
        let mut open = lock(&self.open);
        let hub = match open.get(key) {
            Some(hub) => hub.clone(),
            None if open.len() >= MAX_HUBS || self.stop.is_cancelled() => return None,
            None => {
                let ring = Mutex::new(Ring::new(after));
                let hub = Arc::new(Hub { ring, news: watch::Sender::new(()), followers: watch::Sender::new(0) });
                open.insert(key.clone(), hub.clone());
                let (hubs, fed, key) = (self.clone(), hub.clone(), key.clone());
                self.tasks.spawn(async move { hubs.run(&key, &fed).await });
                hub
            }
        };
        hub.followers.send_modify(|count| *count += 1);
        let news = hub.news.subscribe();
        Some(Seat { hub, news })
    }

    /// Feeds a hub until nobody is there any more.
    async fn run(&self, key: &Key, hub: &Arc<Hub>) {
        let mut chunks = None;
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.deserted(key, hub) => {}
            () = self.feed(key, hub, &mut chunks) => {}
        }
        if let Some(chunks) = chunks {
            chunks.stop().await;
        }
        lock(&self.open).retain(|_, open| !Arc::ptr_eq(open, hub));
    }

    /// Returns when nobody has been there for a while; the hub is closed then.
    async fn deserted(&self, key: &Key, hub: &Arc<Hub>) {
        let mut followers = hub.followers.subscribe();
        loop {
            // The hub holds the sender.
            let _ = followers.wait_for(|count| *count == 0).await;
            if timeout(LINGER, followers.wait_for(|count| *count > 0)).await.is_err() {
                let mut open = lock(&self.open);
                if *hub.followers.borrow() == 0 {
                    open.remove(key);
                    return;
                }
            }
        }
    }

    /// Asks for follows, one after another; never returns once the log has ended.
    async fn feed(&self, key: &Key, hub: &Hub, chunks: &mut Option<Chunks>) {
        let mut pause = BACKOFF.0;
        loop {
            let before = hub.ring().last();
            match self.follow(key, hub, chunks).await {
                Some(FollowEnd::Shutdown | FollowEnd::Unheard) => pause = BACKOFF.0,
                Some(FollowEnd::ContainerRestarted | FollowEnd::PodReplaced | FollowEnd::PodStopped) => {
                    return std::future::pending().await;
                }
                None if hub.ring().last() != before => pause = BACKOFF.0,
                None => pause = (pause * 2).min(BACKOFF.1),
            }
            sleep(pause).await;
        }
    }

    /// One follow, until it ends or is lost.
    async fn follow(&self, key: &Key, hub: &Hub, chunks: &mut Option<Chunks>) -> Option<FollowEnd> {
        if let Some(lost) = chunks.take() {
            // Its worker may be there all the same.
            lost.stop().await;
        }
        if !self.bus.regions.is_live(&key.region) {
            return None;
        }
        let after = hub.ring().last();
        let query = LogFollowQuery { container: key.container.clone(), run: key.run.clone(), after };
        let (order, region, query) = (key.order.clone(), key.region.clone(), Query::LogFollow(query));
        let read = Read { version: READ_VERSION, order, region, query };
        let chunks = match self.bus.follow(&read, TAKEN_UP_WITHIN).await {
            Ok(asked) => chunks.insert(asked),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a follow is not asked for");
                return None;
            }
        };
        loop {
            let chunk = match chunks.next().await {
                Ok(chunk) => chunk,
                Err(FollowError::Refused(failure)) => {
                    if hub.ring().set_refused(true) {
                        let (region, reason) = (&key.region, failure.message);
                        tracing::warn!(%region, reason, "a region does not follow a log: its pages must do");
                        hub.news.send_replace(());
                    }
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, "a follow is lost");
                    return None;
                }
            };
            if !hub.take(&chunk.lines, chunk.gap, chunk.end) {
                tracing::warn!(region = %key.region, "lines of a log are not in their form");
                return None;
            }
            if chunk.end.is_some() {
                return chunk.end;
            }
        }
    }
}

impl Hub {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }

    /// Takes what came, and says whether it could be read.
    fn take(&self, lines: &Bytes, mut gap: bool, end: Option<FollowEnd>) -> bool {
        // Lines that are kept would keep the whole buffer that they came in.
        let mut lines = Bytes::copy_from_slice(lines);
        let mut ring = self.ring();
        ring.set_refused(false);
        let readable = loop {
            match take_line(&mut lines) {
                Ok(Some(line)) => ring.push(line, std::mem::take(&mut gap)),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        match end {
            Some(end @ (FollowEnd::ContainerRestarted | FollowEnd::PodReplaced | FollowEnd::PodStopped))
                if readable =>
            {
                ring.end(Ended { end, gap });
            }
            Some(_) | None => {}
        }
        drop(ring);
        self.news.send_replace(());
        readable
    }
}

impl Seat {
    /// Where the line after this one is.
    pub(super) fn place(&self, after: Option<Mark>) -> Place {
        self.hub.ring().place(after)
    }

    /// What there is from a line on; what comes later wakes [`Seat::changed`].
    pub(super) fn news(&mut self, from: u64, most: usize) -> News {
        self.news.mark_unchanged();
        self.hub.ring().news(from, most)
    }

    /// Waits for something new.
    pub(super) async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.followers.send_modify(|count| *count -= 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
