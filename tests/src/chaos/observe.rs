//! Watches a system from outside for a whole run: every change of the ledger, every result, every end on record, every job
//! that was sent, the pods and namespaces of orders each second. Looks at the servers directly, past the proxies.

mod broker;
mod cluster;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream;
use common::name::RegionCode;
use common::subject;
use jiff::Timestamp;
use tokio::task::JoinSet;

pub use self::cluster::order_of;

use super::evidence::{LedgerEntry, Looks, Making, NamespaceSeen, PodsAt, SeenEnd, SeenResult};
use crate::cluster::Cluster;
use crate::database::Database;

/// How often what has no watch is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the cluster and the record are looked at.
const LIST_EVERY: Duration = Duration::from_secs(1);

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Everything that was in RESULTS.
    pub results: Vec<SeenResult>,
    /// The makings of RESULTS.
    pub results_streams: BTreeMap<String, Making>,
    /// Every end on record.
    pub ends: BTreeSet<SeenEnd>,
    /// Every change of the ledger.
    pub ledger: Vec<LedgerEntry>,
    /// The pods of orders over time.
    pub pods: Vec<PodsAt>,
    /// The namespaces of orders over time.
    pub namespaces: Vec<NamespaceSeen>,
    /// Jobs as they were sent.
    pub jobs: Vec<async_nats::Message>,
    /// How often each thing was looked at.
    pub looks: BTreeMap<&'static str, Looks>,
    /// When the broker's store was set back to an older copy.
    set_back: Vec<Timestamp>,
}

impl Seen {
    /// Counts a look.
    fn looked(&mut self, at: &'static str, outcome: Result<()>) {
        let looks = self.looks.entry(at).or_default();
        match outcome {
            Ok(()) => looks.done += 1,
            Err(error) => {
                looks.failed += 1;
                looks.problem = Some(format!("{error:#}"));
            }
        }
    }
}

/// What watches.
#[derive(Debug)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    _watching: JoinSet<()>,
}

impl Observer {
    /// Begins to watch.
    pub async fn start(
        nats: async_nats::Client,
        cluster: Cluster,
        database: Database,
        region: &RegionCode,
    ) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut watching = JoinSet::new();
        let jobs = nats.subscribe(subject::jobs(region)).await?;
        let statistics = nats.statistics();
        let context = jetstream::new(nats);
        watching.spawn(broker::watch_jobs(jobs, seen.clone()));
        watching.spawn(broker::watch_results(context.clone(), seen.clone()));
        watching.spawn(broker::watch_ledger(context, statistics, seen.clone()));
        watching.spawn(cluster::watch(cluster, seen.clone()));
        watching.spawn(record::watch(database, seen.clone()));
        Ok(Self { seen, _watching: watching })
    }

    /// What it saw so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// The broker's store is set back to an older copy now, while its server is away.
    pub fn store_is_set_back(&self) {
        self.seen().set_back.push(Timestamp::now());
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
