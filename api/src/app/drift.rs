//! Orders that somebody changed by hand in their cluster: each is told of in its history, and put right by a job unless the
//! settings say otherwise. Costs nothing while no worker tells of any; else a statement each 2 s for each region that does, and
//! two more where something is done.
//!
//! Workers tell of what differs also while a job is at work on it. So only a word counts that was said when the order had been at
//! rest for a while: nothing that it speaks of is older.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use common::name::{OrderId, RegionCode, Sequence};
use common::presence::{Drift, MAX_DRIFTED, MAX_DRIFTED_OBJECTS, PRESENCE_STALE_AFTER};
use common::telemetry::Chain;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::App;
use super::error::AppError;
use crate::store::repair::Drifted;

/// How often to look at what workers tell.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long an order must have been at rest when a word is said about it: what a worker tells, it has seen twice in 5 s before, the
/// watches that it sees by may be behind a little.
const RESTS_FOR: Duration = Duration::from_secs(12);
/// How long it is remembered since when an order is at rest of which nothing is told any more: where many are told of, each is in
/// its turn.
const REMEMBERED_FOR: Duration = Duration::from_mins(10);
/// The longest word about one object that is kept.
const MAX_WORD: usize = 256;

/// What is done about an order that was changed by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftPolicy {
    /// It is told of and put right.
    Repair,
    /// It is told of.
    Report,
}

impl FromStr for DriftPolicy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "repair" => Ok(Self::Repair),
            "report" => Ok(Self::Report),
            _ => Err("must be repair or report"),
        }
    }
}

/// A worker's word about an order.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) drift: Drift,
    /// How long ago it was said.
    ago: Duration,
}

/// Since when the orders that are told of are at rest, as far as this instance has seen.
#[derive(Debug, Default)]
struct Memory(BTreeMap<OrderId, Rest>);

#[derive(Debug, Clone, Copy)]
struct Rest {
    /// After which job.
    sequence: Sequence,
    since: Instant,
    told: Instant,
}

impl Memory {
    /// What was told of orders once they had been at rest for long enough, of those that are at rest now after these jobs.
    fn due(&mut self, now: Instant, told: Vec<Told>, at_rest: &BTreeMap<OrderId, Sequence>) -> Vec<(Drift, Sequence)> {
        let mut due = Vec::new();
        for Told { drift, ago } in told {
            let Some(&sequence) = at_rest.get(&drift.order) else {
                self.0.remove(&drift.order);
                continue;
            };
            let rest = self.0.entry(drift.order.clone()).or_insert(Rest { sequence, since: now, told: now });
            if rest.sequence != sequence {
                (rest.sequence, rest.since) = (sequence, now);
            }
            rest.told = now;
            if now.duration_since(rest.since) >= RESTS_FOR + ago {
                due.push((drift, sequence));
            }
        }
        self.0.retain(|_, rest| now.duration_since(rest.told) < REMEMBERED_FOR);
        due
    }
}

impl App {
    /// What workers of a region tell of orders, of each the newest word, sorted.
    fn told(&self, region: &RegionCode) -> Vec<Told> {
        let workers = self.bus.regions.heard(region).into_iter();
        let workers = workers.take_while(|worker| worker.ago < PRESENCE_STALE_AFTER);
        let mut orders: BTreeMap<OrderId, Told> = BTreeMap::new();
        // The newest word is the first.
        for worker in workers {
            for mut drift in worker.presence.drifted.into_iter().take(MAX_DRIFTED) {
                for words in [&mut drift.objects, &mut drift.volumes] {
                    words.truncate(MAX_DRIFTED_OBJECTS);
                    for word in words {
                        word.truncate(word.floor_char_boundary(MAX_WORD));
                    }
                }
                orders.entry(drift.order.clone()).or_insert(Told { drift, ago: worker.ago });
            }
        }
        orders.into_values().collect()
    }

    async fn resting(&self, region: &RegionCode, told: &[Told]) -> Result<BTreeMap<OrderId, Sequence>, AppError> {
        let orders: Vec<&OrderId> = told.iter().map(|told| &told.drift.order).collect();
        Ok(self.store.at_rest(region, &orders).await?.into_iter().collect())
    }

    /// The orders of a region that are at rest and that its workers say were changed by hand, sorted. One statement, none where
    /// nothing is told.
    pub(super) async fn drifted(&self, region: &RegionCode) -> Result<Vec<Drift>, AppError> {
        let told = self.told(region);
        if told.is_empty() {
            return Ok(Vec::new());
        }
        let resting = self.resting(region, &told).await?;
        Ok(told.into_iter().map(|told| told.drift).filter(|drift| resting.contains_key(&drift.order)).collect())
    }

    /// Does what is to be done about them until shutdown. Several instances may: each is repaired once.
    pub async fn mend(self, shutdown: CancellationToken) {
        let mut memory = Memory::default();
        let mut every = interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            for region in self.bus.regions.known() {
                let told = self.told(&region);
                if !told.is_empty()
                    && let Err(error) = self.mend_once(&region, told, &mut memory).await
                {
                    tracing::warn!(%region, error = %Chain(&error), "orders changed by hand are left for the next round");
                }
            }
        }
    }

    async fn mend_once(&self, region: &RegionCode, told: Vec<Told>, memory: &mut Memory) -> Result<(), AppError> {
        let resting = self.resting(region, &told).await?;
        let due = memory.due(Instant::now(), told, &resting);
        let is_left = |drift: &Drift| self.settings.drift == DriftPolicy::Report || drift.objects.is_empty();
        let due: Vec<Drifted> =
            due.into_iter().map(|(drift, sequence)| Drifted { is_left: is_left(&drift), drift, sequence }).collect();
        if due.is_empty() {
            return Ok(());
        }
        if self.settings.drift == DriftPolicy::Repair {
            let taken = self.store.accept_repairs(region, &due).await?;
            self.publish(taken).await;
        }
        for order in self.store.note_drift(region, &due).await? {
            tracing::warn!(%region, %order, "an order was changed by hand in its cluster, and is left so for now");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn told(ago: u32) -> Vec<Told> {
        let drift = Drift {
            order: "a".parse().unwrap(),
            objects: vec!["Deployment/a is missing".to_owned()],
            volumes: Vec::new(),
        };
        vec![Told { drift, ago: ago * SECOND }]
    }

    fn resting(sequence: u64) -> BTreeMap<OrderId, Sequence> {
        BTreeMap::from([("a".parse().unwrap(), sequence.try_into().unwrap())])
    }

    #[test]
    fn only_what_is_said_of_an_order_that_has_rested_for_a_while_is_due() {
        let (begun, mut memory) = (Instant::now(), Memory::default());
        let mut due = |second: u32, ago: u32, resting: &BTreeMap<_, _>| {
            memory.due(begun + second * SECOND, told(ago), resting).len()
        };
        assert_eq!(due(0, 0, &resting(1)), 0, "it may be a job's work");
        assert_eq!(due(11, 0, &resting(1)), 0);
        assert_eq!(due(13, 2, &resting(1)), 0, "an old word");
        assert_eq!(due(14, 2, &resting(1)), 1);
        assert_eq!(due(15, 0, &resting(2)), 0, "there was another job");
        assert_eq!(due(27, 0, &resting(2)), 1);
        assert_eq!(due(28, 0, &BTreeMap::new()), 0, "a job is at work");
        assert_eq!(due(29, 0, &resting(3)), 0);
        assert_eq!(due(41, 0, &resting(3)), 1);
    }

    #[test]
    fn rest_is_remembered_for_a_while_of_orders_that_are_not_told_of_all_the_time() {
        let (begun, mut memory) = (Instant::now(), Memory::default());
        memory.due(begun, told(0), &resting(1));
        memory.due(begun + REMEMBERED_FOR / 2, Vec::new(), &BTreeMap::new());
        assert_eq!(memory.due(begun + REMEMBERED_FOR / 2 + SECOND, told(0), &resting(1)).len(), 1);
        memory.due(begun + 2 * REMEMBERED_FOR, Vec::new(), &BTreeMap::new());
        assert!(memory.0.is_empty());
    }
}
