//! The mirror of the bucket of ports: who holds what by the ledger and what each region sees in use. Pure: it answers
//! from what it was told.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use common::ledger::{Observed, PortState};
use common::name::{OrderId, RegionCode};
use common::port::{HostPort, PortKey, PortNumber, PortRange, Protocol};
use common::subject;
use rand::Rng as _;

use super::watch::{Change, Mirror};

/// How many numbers are picked for one port before the range is read through.
const DRAWS: usize = 64;

/// What the ledger says of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// No entry, or a deleted one.
    Free,
    Held(PortState),
    /// An entry that cannot be read: nobody may have the port.
    Unreadable,
}

/// A slot, and the revision that a change of it must expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) slot: Slot,
}

impl Entry {
    /// A port that was never written.
    pub(super) const NONE: Self = Self { revision: 0, slot: Slot::Free };

    /// Reads a key's value; none = deleted.
    pub(super) fn read(key: &str, revision: u64, value: Option<&[u8]>) -> Self {
        let slot = match value.map(serde_json::from_slice) {
            None => Slot::Free,
            Some(Ok(state)) => Slot::Held(state),
            Some(Err(error)) => {
                tracing::error!(key, revision, %error, "an entry of the port ledger cannot be read");
                Slot::Unreadable
            }
        };
        Self { revision, slot }
    }
}

/// A region's own word about its ports.
#[derive(Debug, Default)]
struct Seen {
    revision: u64,
    holders: HashMap<HostPort, HashSet<Option<OrderId>>>,
    denied: Vec<PortRange>,
}

/// All ports of one region.
#[derive(Debug, Default)]
pub(super) struct RegionPorts {
    entries: HashMap<HostPort, Entry>,
    held: HashMap<OrderId, BTreeSet<HostPort>>,
    seen: Seen,
}

impl RegionPorts {
    /// The port's entry.
    pub(super) fn entry(&self, host: HostPort) -> Entry {
        self.entries.get(&host).cloned().unwrap_or(Entry::NONE)
    }

    /// What an order holds, lowest port first.
    pub(super) fn held_by(&self, order: &OrderId) -> BTreeSet<HostPort> {
        self.held.get(order).cloned().unwrap_or_default()
    }

    /// Every port that somebody holds.
    pub(super) fn held(&self) -> impl Iterator<Item = (HostPort, u64, &PortState)> {
        self.entries.iter().filter_map(|(host, entry)| match &entry.slot {
            Slot::Held(state) => Some((*host, entry.revision, state)),
            Slot::Free | Slot::Unreadable => None,
        })
    }

    /// Whether anybody but `own` has the port, by the ledger, by what the region sees, or by what it denies to all.
    pub(super) fn is_occupied(&self, host: HostPort, own: Option<&OrderId>) -> bool {
        let by_ledger = match self.entries.get(&host).map(|entry| &entry.slot) {
            None | Some(Slot::Free) => false,
            Some(Slot::Held(state)) => Some(state.order()) != own,
            Some(Slot::Unreadable) => true,
        };
        by_ledger || self.is_seen_with_another(host, own) || self.is_denied(host.port)
    }

    /// Whether the region's newest word is younger than this revision and nobody has the port by it.
    pub(super) fn is_seen_free_since(&self, host: HostPort, revision: u64) -> bool {
        self.seen.revision > revision && !self.seen.holders.contains_key(&host)
    }

    fn is_seen_with_another(&self, host: HostPort, own: Option<&OrderId>) -> bool {
        let mut holders = self.seen.holders.get(&host).into_iter().flatten();
        holders.any(|holder| holder.is_none() || holder.as_ref() != own)
    }

    fn is_denied(&self, port: PortNumber) -> bool {
        self.seen.denied.iter().any(|range| range.contains(port))
    }

    /// Free ports of the range, at random, one for each protocol wanted; fewer if there are fewer.
    pub(super) fn draw(&self, wanted: &[Protocol], range: PortRange) -> Vec<HostPort> {
        let mut random = rand::rng();
        let (first, last) = (range.first().get(), range.last().get());
        let mut picked = Vec::with_capacity(wanted.len());
        for &protocol in wanted {
            let is_free = |port: &HostPort| !picked.contains(port) && !self.is_occupied(*port, None);
            let mut draws = (0..DRAWS).filter_map(|_| number(random.random_range(first..=last)));
            let free = draws.find_map(|port| Some(HostPort { protocol, port }).filter(is_free)).or_else(|| {
                let start = usize::from(rand::rng().random_range(0..=last - first));
                let ports = range.ports();
                let mut all = ports.clone().skip(start).chain(ports.take(start));
                all.find_map(|port| Some(HostPort { protocol, port }).filter(is_free))
            });
            picked.extend(free);
        }
        picked
    }

    /// Takes an entry unless a newer one is known.
    fn set(&mut self, host: HostPort, entry: Entry) {
        let old = self.entries.get(&host);
        if old.is_some_and(|old| old.revision >= entry.revision) {
            return;
        }
        if let Some(Entry { slot: Slot::Held(state), .. }) = old
            && let Some(held) = self.held.get_mut(state.order())
        {
            held.remove(&host);
            if held.is_empty() {
                self.held.remove(&state.order().clone());
            }
        }
        if let Slot::Held(state) = &entry.slot {
            self.held.entry(state.order().clone()).or_default().insert(host);
        }
        self.entries.insert(host, entry);
    }

    fn see(&mut self, revision: u64, observed: Option<Observed>) {
        if revision <= self.seen.revision {
            return;
        }
        let mut seen = Seen { revision, ..Seen::default() };
        if let Some(observed) = observed {
            seen.denied = observed.denied;
            for port in observed.ports {
                let host = HostPort { protocol: port.protocol, port: port.port };
                seen.holders.entry(host).or_default().insert(port.order);
            }
        }
        self.seen = seen;
    }
}

fn number(port: u16) -> Option<PortNumber> {
    i64::from(port).try_into().ok()
}

/// What the mirror knows.
#[derive(Debug)]
pub(super) struct PortMap {
    pub(super) regions: HashMap<RegionCode, RegionPorts>,
    /// Whether the ledger says that it holds all that PostgreSQL knows of.
    pub(super) is_complete: bool,
    /// What is to be compared with PostgreSQL before the ledger is believed; none = nothing.
    pub(super) doubt: Option<Doubt>,
    doubts: u32,
    /// The highest revision that is known.
    pub(super) revision: u64,
}

/// Why a ledger is not believed as it was found: this process has not seen it before, or it knows less than it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// The revision that was known before.
    pub(super) known: u64,
    /// How many doubts there were before.
    nth: u32,
}

impl Default for PortMap {
    fn default() -> Self {
        Self {
            regions: HashMap::new(),
            is_complete: false,
            doubt: Some(Doubt { known: 0, nth: 0 }),
            revision: 0,
            doubts: 1,
        }
    }
}

/// One key of the bucket, read.
enum Word {
    Port(PortKey, Entry),
    Observed(RegionCode, u64, Option<Observed>),
    Complete(bool),
}

impl PortMap {
    pub(super) fn set(&mut self, region: &RegionCode, host: HostPort, entry: Entry) {
        self.revision = self.revision.max(entry.revision);
        match self.regions.get_mut(region) {
            Some(ports) => ports.set(host, entry),
            None => self.regions.entry(region.clone()).or_default().set(host, entry),
        }
    }

    fn take(&mut self, word: Word) {
        match word {
            Word::Port(key, entry) => self.set(&key.region, key.host, entry),
            Word::Observed(region, revision, observed) => {
                self.regions.entry(region).or_default().see(revision, observed);
            }
            Word::Complete(is_complete) => self.is_complete = is_complete,
        }
    }
}

impl Word {
    fn read(change: &Change) -> Option<Self> {
        let value = change.value.as_deref();
        if change.key == subject::LEDGER_COMPLETE_KEY {
            return Some(Self::Complete(value.is_some()));
        }
        if let Some(region) = subject::region_of_observed_key(&change.key) {
            return match value.map(serde_json::from_slice).transpose() {
                Ok(observed) => Some(Self::Observed(region, change.revision, observed)),
                Err(error) => {
                    tracing::error!(%region, %error, "what a region says of its ports cannot be read");
                    None
                }
            };
        }
        let Ok(key) = change.key.parse::<PortKey>() else {
            tracing::warn!(key = change.key, "the port ledger has a key that is none of ours");
            return None;
        };
        Some(Self::Port(key, Entry::read(&change.key, change.revision, value)))
    }
}

/// The map behind its lock, which nobody holds for longer than a look.
#[derive(Default)]
pub(super) struct Ports(RwLock<PortMap>);

impl Ports {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, PortMap> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it that the ledger was compared with PostgreSQL since it was found to be doubtful.
    pub(super) fn clear(&self, doubt: Doubt) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.doubt = map.doubt.filter(|newer| *newer != doubt);
    }

    /// Takes it that the ledger is complete.
    pub(super) fn set_complete(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).is_complete = true;
    }

    /// Takes what this process wrote or read by itself, before the watch brings it.
    pub(super) fn learn(&self, region: &RegionCode, entries: impl IntoIterator<Item = (HostPort, Entry)>) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (host, entry) in entries {
            map.set(region, host, entry);
        }
    }
}

impl Mirror for Ports {
    fn replace(&self, changes: Vec<Change>) {
        let mut map = PortMap::default();
        changes.iter().filter_map(Word::read).for_each(|word| map.take(word));
        map.revision = changes.iter().map(|change| change.revision).max().unwrap_or(0);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        (map.doubt, map.doubts) = (known.doubt, known.doubts);
        if map.revision < known.revision {
            map.doubt = Some(Doubt { known: known.revision, nth: known.doubts });
            map.doubts += 1;
        }
        let old = std::mem::replace(&mut *known, map);
        drop(known);
        // A large map is freed outside the lock.
        drop(old);
    }

    fn apply(&self, change: Change) {
        let word = Word::read(&change);
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.revision = map.revision.max(change.revision);
        if let Some(word) = word {
            map.take(word);
        }
    }
}
