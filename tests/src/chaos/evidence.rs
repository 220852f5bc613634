//! What is known of a run once it is over: plain data, gathered in one place and judged in another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::ledger::PortState;
use common::port::HostPort;
use jiff::Timestamp;
use serde_json::Value;

use super::journal::Entry;
use crate::agreement::{Objects, at};

/// All that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The journal.
    pub journal: Vec<Entry>,
    /// Every order of the record, by its id.
    pub orders: BTreeMap<String, OrderRecord>,
    /// Every job of the record.
    pub jobs: Vec<JobRecord>,
    /// What the history says was repaired after a change by hand: the order, and what was wrong.
    pub repairs: Vec<(String, String)>,
    /// Everything that was seen in RESULTS.
    pub results: Vec<SeenResult>,
    /// The makings of RESULTS: about the time of each but the first, results may have been lost unseen.
    pub results_streams: BTreeMap<String, Making>,
    /// The ends that were seen on record while the run went on.
    pub ends: BTreeSet<SeenEnd>,
    /// Every change of the ledger that was seen, in order.
    pub ledger_history: Vec<LedgerEntry>,
    /// The ledger at the end.
    pub ledger: BTreeMap<HostPort, PortState>,
    /// The ports that workers saw in use at the end, and whose.
    pub observed: Vec<(HostPort, Option<String>)>,
    /// The pods of orders over time: an entry for each change.
    pub pods: Vec<PodsAt>,
    /// The namespaces of orders over time: an entry for each change.
    pub namespaces: Vec<NamespaceSeen>,
    /// What is in the cluster of each order at the end; none = no namespace.
    pub cluster: BTreeMap<String, Option<Objects>>,
    /// Namespaces of orders in the cluster that no order of the record has.
    pub strange_namespaces: Vec<String>,
    /// The queues at the end.
    pub queues: Vec<Queue>,
    /// What processes and servers held before the faults and after them.
    pub resources: Vec<Resource>,
    /// How long it took until all was at rest; none = it was not, within the bound.
    pub settled: Option<Duration>,
    /// How often each thing was looked at while the run went on.
    pub looks: BTreeMap<&'static str, Looks>,
}

/// How often something was looked at.
#[derive(Debug, Clone, Default)]
pub struct Looks {
    /// How often with success.
    pub done: u64,
    /// How often in vain, as its server was away.
    pub failed: u64,
    /// Why, the last time.
    pub problem: Option<String>,
    /// What was seen and could not be read.
    pub unreadable: Vec<String>,
}

/// A making of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Making {
    /// When it was made, or set back.
    pub at: Timestamp,
    /// Whether it is an older copy of one that was there before.
    pub is_set_back: bool,
}

/// A job's end as it was seen on record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenEnd {
    /// The job.
    pub job: String,
    /// How it ended, in JSON.
    pub outcome: String,
}

/// An order of the record.
#[derive(Debug, Clone, Default)]
pub struct OrderRecord {
    /// Whether its operator ended it, or its time did.
    pub has_ended: bool,
    /// What it is to be; null = nothing.
    pub target: Value,
    /// What was deployed last; null = nothing.
    pub deployed: Value,
    /// The host ports of what is deployed.
    pub ports: BTreeSet<HostPort>,
    /// Its body as the api tells it.
    pub body: Value,
}

/// A job of the record.
#[derive(Debug, Clone, Default)]
pub struct JobRecord {
    /// Its id.
    pub id: String,
    /// Its order.
    pub order: String,
    /// Its place among the order's jobs.
    pub sequence: i32,
    /// What it does.
    pub verb: String,
    /// How far it is.
    pub state: String,
    /// How it ended; null = it has not.
    pub outcome: Value,
    /// When; none = it has not.
    pub finished_at: Option<Timestamp>,
    /// What it makes of its order; null = nothing is left of it.
    pub target: Value,
}

impl JobRecord {
    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        !self.outcome.is_null()
    }

    /// Whether what it was to make is there.
    pub fn stands(&self) -> bool {
        match at(&self.outcome, "/state").as_str() {
            Some("succeeded") => true,
            Some("unready" | "overtaken") => !self.target.is_null(),
            _ => false,
        }
    }
}

/// A message of RESULTS.
#[derive(Debug, Clone, Default)]
pub struct SeenResult {
    /// Which making of the stream it was in.
    pub stream: String,
    /// Of which job.
    pub job: String,
    /// How that ended.
    pub outcome: Value,
}

/// A change of the ledger's bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerEntry {
    /// When the broker took it.
    pub at: Timestamp,
    /// Which making of the bucket.
    pub stream: String,
    /// Its place in it.
    pub sequence: u64,
    /// The key.
    pub key: String,
    /// The new value; none = deleted, or no port's.
    pub state: Option<PortState>,
}

/// The pods of orders at one time.
#[derive(Debug, Clone, Default)]
pub struct PodsAt {
    /// The first time that they were so.
    pub from: Timestamp,
    /// The last time.
    pub to: Timestamp,
    /// The pods.
    pub pods: Vec<PodSeen>,
}

/// A pod of an order that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodSeen {
    /// Whose.
    pub order: String,
    /// Its name.
    pub name: String,
    /// The host ports that it has or waits for.
    pub ports: BTreeSet<HostPort>,
}

/// A namespace of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamespaceSeen {
    /// Whose.
    pub order: String,
    /// Its identity.
    pub uid: String,
    /// Whether it was about to go.
    pub is_going: bool,
}

/// A queue.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// Which.
    pub name: String,
    /// Messages that must not be there.
    pub left: u64,
    /// Messages that its consumer was not given yet.
    pub pending: u64,
    /// Messages that it was given and did not settle.
    pub unsettled: u64,
    /// What could not be told, and why.
    pub problem: Option<String>,
}

/// Something that must not grow.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    /// What.
    pub what: String,
    /// How much before the faults.
    pub before: u64,
    /// How much after them.
    pub after: u64,
    /// The most that it may be.
    pub most: u64,
}
