//! Which regions are there: the mirror of the bucket that workers write their presence to.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use common::name::{Instance, RegionCode};
use common::port::PortRange;
use common::presence::{PRESENCE_STALE_AFTER, Presence, REGION_LOST_AFTER};
use common::sealed::PublicKey;
use common::{stream, subject};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::streams::Streams;
use super::watch::{Change, Mirror, Pulse};

/// How often keys that are too old are looked for.
const PRUNE_EVERY: Duration = Duration::from_mins(10);

/// The regions as one api instance knows them. No method costs a message.
#[derive(Clone)]
pub struct Regions {
    present: Arc<Present>,
    pulse: Arc<Pulse>,
}

/// A worker that was heard.
#[derive(Debug, Clone)]
pub struct HeardWorker {
    /// Which.
    pub instance: Instance,
    /// What it said.
    pub presence: Presence,
    /// How long ago.
    pub ago: Duration,
}

/// One worker's last word.
struct Heard {
    presence: Presence,
    revision: u64,
    at: Instant,
    /// How old it was when it was heard.
    age: Duration,
}

impl Heard {
    fn age(&self) -> Duration {
        self.at.elapsed().saturating_add(self.age)
    }
}

/// Every worker's last word.
pub(super) struct Present {
    workers: RwLock<BTreeMap<RegionCode, BTreeMap<Instance, Heard>>>,
    streams: Arc<Streams>,
}

impl Regions {
    pub(super) fn new(present: Arc<Present>, pulse: Arc<Pulse>) -> Self {
        Self { present, pulse }
    }

    /// The regions with a worker that was heard within 20 s and takes work, sorted; none when that cannot be told.
    pub fn live(&self) -> Vec<RegionCode> {
        if !self.is_fresh() {
            return Vec::new();
        }
        let workers = self.present.workers.read().unwrap_or_else(PoisonError::into_inner);
        workers.iter().filter(|(_, workers)| is_live(workers)).map(|(region, _)| region.clone()).collect()
    }

    /// Whether the region has a worker that was heard within 20 s and takes work.
    pub fn is_live(&self, region: &RegionCode) -> bool {
        self.is_fresh() && self.present.with(region, is_live).unwrap_or(false)
    }

    /// Whether any worker of the region was heard within this time, whatever it said.
    pub fn heard_within(&self, region: &RegionCode, time: Duration) -> bool {
        self.present.with(region, |workers| workers.values().any(|heard| heard.age() < time)).unwrap_or(false)
    }

    /// Every region of which anything was heard within 24 h, sorted.
    pub fn known(&self) -> Vec<RegionCode> {
        let workers = self.present.workers.read().unwrap_or_else(PoisonError::into_inner);
        let heard = |workers: &BTreeMap<_, Heard>| workers.values().any(|heard| heard.age() < REGION_LOST_AFTER);
        workers.iter().filter(|(_, workers)| heard(workers)).map(|(region, _)| region.clone()).collect()
    }

    /// The region's workers that were heard within 20 s, and what they said.
    pub fn workers(&self, region: &RegionCode) -> Vec<(Instance, Presence)> {
        let list = |workers: &BTreeMap<Instance, Heard>| {
            let live = workers.iter().filter(|(_, heard)| heard.age() < PRESENCE_STALE_AFTER);
            live.map(|(instance, heard)| (instance.clone(), heard.presence.clone())).collect()
        };
        self.present.with(region, list).unwrap_or_default()
    }

    /// The region's workers that were heard within 24 h, and what they last said, the last heard first.
    pub fn heard(&self, region: &RegionCode) -> Vec<HeardWorker> {
        let list = |workers: &BTreeMap<Instance, Heard>| {
            let all = workers.iter().filter(|(_, heard)| heard.age() < REGION_LOST_AFTER);
            let all = all.map(|(instance, heard)| HeardWorker {
                instance: instance.clone(),
                presence: heard.presence.clone(),
                ago: heard.age(),
            });
            let mut all: Vec<HeardWorker> = all.collect();
            all.sort_by_key(|worker| worker.ago);
            all
        };
        self.present.with(region, list).unwrap_or_default()
    }

    /// What secrets for the region are sealed to, by its newest word.
    pub fn public_key(&self, region: &RegionCode) -> Option<PublicKey> {
        self.newest(region, |presence| presence.public_key.clone())
    }

    /// Where the region's assigned ports come from, by its newest word.
    pub fn random_range(&self, region: &RegionCode) -> Option<PortRange> {
        self.newest(region, |presence| presence.random_ports)
    }

    /// Whether the mirror may be believed.
    pub fn is_fresh(&self) -> bool {
        self.pulse.is_fresh()
    }

    fn newest<T>(&self, region: &RegionCode, read: impl FnOnce(&Presence) -> T) -> Option<T> {
        let newest = |workers: &BTreeMap<_, Heard>| {
            workers.values().max_by_key(|heard| heard.revision).map(|heard| read(&heard.presence))
        };
        self.present.with(region, newest).flatten()
    }
}

fn is_live(workers: &BTreeMap<Instance, Heard>) -> bool {
    workers.values().any(|heard| heard.presence.ready && heard.age() < PRESENCE_STALE_AFTER)
}

impl Present {
    pub(super) fn new(streams: Arc<Streams>) -> Self {
        Self { workers: RwLock::default(), streams }
    }

    fn with<T>(&self, region: &RegionCode, read: impl FnOnce(&BTreeMap<Instance, Heard>) -> T) -> Option<T> {
        self.workers.read().unwrap_or_else(PoisonError::into_inner).get(region).map(read)
    }

    /// Deletes, now and then, the keys of workers that have said nothing for 24 h.
    pub(super) async fn prune(self: Arc<Self>, link: Arc<Link>, stop: CancellationToken) {
        let mut round = time::interval(PRUNE_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = round.tick() => {}
            }
            for (region, worker, revision) in self.forget_lost() {
                let key = subject::presence_key(&region, &worker);
                let Ok(stream) = link.context.get_stream_no_info(stream::bucket_stream(stream::REGIONS)).await else {
                    continue;
                };
                // Up to and with the revision that was too old: a younger one stays.
                let subject = subject::bucket_subject(stream::REGIONS, &key);
                if let Err(error) = stream.purge().filter(subject).sequence(revision + 1).await {
                    tracing::debug!(key, %error, "an old presence key stays");
                }
            }
        }
    }

    fn forget_lost(&self) -> Vec<(RegionCode, Instance, u64)> {
        let mut lost = Vec::new();
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        for (region, workers) in workers.iter_mut() {
            let old = workers.extract_if(.., |_, heard| heard.age() > REGION_LOST_AFTER);
            lost.extend(old.map(|(worker, heard)| (region.clone(), worker, heard.revision)));
        }
        workers.retain(|_, workers| !workers.is_empty());
        lost
    }

    /// Reads a key; none when it is no worker's or was deleted.
    fn read(change: &Change) -> Option<(RegionCode, Instance, Option<Heard>)> {
        let (region, worker) = subject::parse_presence_key(&change.key)?;
        let heard = match change.value.as_deref().map(serde_json::from_slice::<Presence>) {
            None => None,
            Some(Ok(presence)) => {
                Some(Heard { presence, revision: change.revision, at: Instant::now(), age: change.age })
            }
            Some(Err(error)) => {
                tracing::warn!(%region, %worker, %error, "a worker's presence cannot be read");
                None
            }
        };
        Some((region, worker, heard))
    }
}

impl Mirror for Present {
    fn replace(&self, changes: Vec<Change>) {
        let mut all: BTreeMap<RegionCode, BTreeMap<Instance, Heard>> = BTreeMap::new();
        for (region, worker, heard) in changes.iter().filter_map(Self::read) {
            if let Some(heard) = heard {
                all.entry(region).or_default().insert(worker, heard);
            }
        }
        for region in all.keys() {
            self.streams.want_region(region);
        }
        *self.workers.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    fn apply(&self, change: Change) {
        let Some((region, worker, heard)) = Self::read(&change) else { return };
        if heard.is_some() {
            self.streams.want_region(&region);
        }
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        let of_region = workers.entry(region).or_default();
        match heard {
            Some(heard) => of_region.insert(worker, heard),
            None => of_region.remove(&worker),
        };
    }
}
