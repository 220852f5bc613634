//! Which entries of the ledger a reservation or a settlement changes. Pure: from what is there and what is wanted to the
//! writes, each with the revision it expects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::ledger::PortState;
use common::name::{JobId, OrderId, Sequence};
use common::port::HostPort;
use jiff::Timestamp;

use super::ports::{Entry, Slot};

/// A reservation whose job is unknown is another request's, under way, until it is this old.
const RESERVATION_YOUNG: Duration = Duration::from_mins(1);

/// What PostgreSQL says that one order holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// The ports of the deployed revision, and the sequence of the job that deployed it. None: nothing is deployed.
    pub bound: Option<(Sequence, BTreeSet<HostPort>)>,
    /// When it said so, by its clock.
    pub at: Timestamp,
    /// The jobs that have not ended, and the ports that each wants.
    pub pending: Vec<(JobId, BTreeSet<HostPort>)>,
    /// A job that has ended: what only it had reserved is settled at once, however young.
    pub ended: Option<EndedJob>,
}

/// A job that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedJob {
    /// Its id.
    pub id: JobId,
    /// Whether a pod of it may have run: then the ports that only it had reserved cool, else they are as they were before.
    pub may_have_run: bool,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) host: HostPort,
    pub(super) expected: u64,
    /// None: the key is deleted.
    pub(super) state: Option<PortState>,
}

/// The ports of somebody else, or what is to be written.
pub(super) fn reserve(
    entries: &BTreeMap<HostPort, Entry>,
    order: &OrderId,
    job: JobId,
    now: Timestamp,
) -> Result<Vec<Write>, Vec<HostPort>> {
    let others = entries.iter().filter(|(_, entry)| is_anothers(&entry.slot, order));
    let others: Vec<_> = others.map(|(host, _)| *host).collect();
    if !others.is_empty() {
        return Err(others);
    }
    let writes = entries.iter().filter(|(_, entry)| match &entry.slot {
        Slot::Held(PortState::Bound { .. }) => false,
        Slot::Held(PortState::Reserved { job: holder, .. }) => *holder != job,
        Slot::Held(PortState::Cooling { .. }) | Slot::Free | Slot::Unreadable => true,
    });
    let state = |slot: &Slot| {
        let cooling = match slot {
            Slot::Held(PortState::Cooling { until, .. }) => Some(*until),
            Slot::Held(PortState::Reserved { cooling, .. }) => *cooling,
            Slot::Held(PortState::Bound { .. }) | Slot::Free | Slot::Unreadable => None,
        };
        Some(PortState::Reserved { order: order.clone(), job, since: now, cooling })
    };
    Ok(writes.map(|(host, entry)| Write { host: *host, expected: entry.revision, state: state(&entry.slot) }).collect())
}

/// What becomes of a port that is due: it is free (none), or goes on cooling.
pub(super) fn undone(state: &PortState) -> Option<PortState> {
    match state {
        PortState::Reserved { order, cooling: Some(until), .. } => {
            Some(PortState::Cooling { order: order.clone(), until: *until })
        }
        PortState::Reserved { .. } | PortState::Bound { .. } | PortState::Cooling { .. } => None,
    }
}

/// What makes an order's entries equal to what is desired; and the ports that it should have and somebody else has.
pub(super) fn settle(
    entries: &BTreeMap<HostPort, Entry>,
    order: &OrderId,
    desired: &Desired,
    now: Timestamp,
    cooling: Duration,
) -> (Vec<Write>, Vec<HostPort>) {
    let mut writes = Vec::new();
    let mut conflicts = Vec::new();
    for (&host, entry) in entries {
        if is_anothers(&entry.slot, order) {
            if desired.wants(host) {
                conflicts.push(host);
            }
            continue;
        }
        match target(entry, host, order, desired, now, cooling) {
            Target::Leave => {}
            Target::Free => writes.push(Write { host, expected: entry.revision, state: None }),
            Target::Become(state) => writes.push(Write { host, expected: entry.revision, state: Some(state) }),
        }
    }
    (writes, conflicts)
}

/// What is to become of an entry.
enum Target {
    Leave,
    Free,
    Become(PortState),
}

fn target(
    entry: &Entry,
    host: HostPort,
    order: &OrderId,
    desired: &Desired,
    now: Timestamp,
    cooling: Duration,
) -> Target {
    let reserved = |job, cooling| PortState::Reserved { order: order.clone(), job, since: now, cooling };
    let cool = || PortState::Cooling { order: order.clone(), until: later(now, cooling) };
    let bound = |sequence| PortState::Bound { order: order.clone(), sequence, since: now };
    let (pending, deployed) = (desired.pending_job(host), desired.deployed(host));
    match &entry.slot {
        Slot::Held(PortState::Bound { .. }) if pending.is_none() && deployed.is_none() => Target::Become(cool()),
        Slot::Held(PortState::Bound { .. }) | Slot::Unreadable => Target::Leave,
        // First what is deployed: whatever becomes of a pending job, the port cools rather than being free at once.
        Slot::Held(_) | Slot::Free if let Some(sequence) = deployed => Target::Become(bound(sequence)),
        Slot::Held(state @ PortState::Reserved { job, since, cooling: before, .. }) => match pending {
            _ if desired.is_pending(*job, host) => Target::Leave,
            Some(job) => Target::Become(reserved(job, *before)),
            None if desired.may_have_run(*job) => Target::Become(cool()),
            None if desired.knows(*job) || is_old(*since, desired.at) => {
                undone(state).map_or(Target::Free, Target::Become)
            }
            None => Target::Leave,
        },
        Slot::Held(PortState::Cooling { until, .. }) => {
            pending.map_or(Target::Leave, |job| Target::Become(reserved(job, Some(*until))))
        }
        Slot::Free => pending.map_or(Target::Leave, |job| Target::Become(reserved(job, None))),
    }
}

impl Desired {
    /// Every port that the order should have.
    pub(super) fn ports(&self) -> BTreeSet<HostPort> {
        let bound = self.bound.iter().flat_map(|(_, ports)| ports);
        bound.chain(self.pending.iter().flat_map(|(_, ports)| ports)).copied().collect()
    }

    fn wants(&self, host: HostPort) -> bool {
        self.pending_job(host).is_some() || self.deployed(host).is_some()
    }

    fn pending_job(&self, host: HostPort) -> Option<JobId> {
        self.pending.iter().rev().find(|(_, ports)| ports.contains(&host)).map(|(job, _)| *job)
    }

    fn is_pending(&self, job: JobId, host: HostPort) -> bool {
        self.pending.iter().any(|(pending, ports)| *pending == job && ports.contains(&host))
    }

    fn deployed(&self, host: HostPort) -> Option<Sequence> {
        self.bound.as_ref().filter(|(_, ports)| ports.contains(&host)).map(|(sequence, _)| *sequence)
    }

    fn may_have_run(&self, job: JobId) -> bool {
        self.ended == Some(EndedJob { id: job, may_have_run: true })
    }

    /// Whether PostgreSQL has said all that there is to say of the job.
    fn knows(&self, job: JobId) -> bool {
        self.ended.is_some_and(|ended| ended.id == job) || self.pending.iter().any(|(pending, _)| *pending == job)
    }
}

fn is_anothers(slot: &Slot, order: &OrderId) -> bool {
    match slot {
        Slot::Free => false,
        Slot::Held(state) => state.order() != order,
        Slot::Unreadable => true,
    }
}

/// Whether a reservation of this time is old at that one.
pub(super) fn is_old(since: Timestamp, at: Timestamp) -> bool {
    later(since, RESERVATION_YOUNG) <= at
}

/// A time after another; the end of time when there is none.
pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}
