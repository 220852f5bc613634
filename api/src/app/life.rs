//! The life of an order: at its end it stops, extended it starts again, and long after its end it is deleted (`wire.md` §7).
//! What is due is decided in PostgreSQL, by its clock ([`crate::store::life`]): instances may come and go, be several or be
//! asleep. A region that does not answer finds its jobs waiting when it does.

use std::collections::BTreeMap;
use std::time::Duration;

use common::name::RegionCode;
use common::telemetry::Chain;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::App;
use super::change::Wait;
use super::error::AppError;
use crate::store::life::{BATCH, Due, Taken};
use crate::store::orders::Order;

/// The most jobs that are published at once.
const PUBLISHED_AT_ONCE: usize = 16;

/// When the steps of an order's life are due.
#[derive(Debug, Clone)]
pub struct LifeSettings {
    /// How long before its end an order is warned of it, if that is less than a tenth of its time.
    pub warn: Duration,
    /// How long after its end an order is deleted.
    pub delete_after: Duration,
    /// How often to look for what is due.
    pub sweep_every: Duration,
}

/// The dates of an order whose paid time has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// When its end is near.
    pub warn_at: Timestamp,
    /// When it stops.
    pub end_at: Timestamp,
    /// When it is deleted, unless it is extended before.
    pub delete_at: Timestamp,
}

impl Dates {
    /// The dates of an order that was paid for so many hours and ends then. None of them is beyond what a time can say.
    pub fn of(end_at: Timestamp, hours: u32, settings: &LifeSettings) -> Self {
        let tenth = Duration::from_secs(u64::from(hours) * 360);
        let warn_at = end_at.saturating_sub(settings.warn.min(tenth)).unwrap_or(end_at);
        let delete_at = end_at.saturating_add(settings.delete_after).unwrap_or(end_at);
        Self { warn_at, end_at, delete_at }
    }
}

impl App {
    /// An order's dates, from its activation on.
    pub fn dates(&self, order: &Order) -> Option<Dates> {
        order.ends_at.map(|end_at| Dates::of(end_at, order.purchase.duration_hours, &self.settings.life))
    }

    /// How long after its end an order is deleted, in seconds.
    pub(super) fn delete_after_seconds(&self) -> f64 {
        self.settings.life.delete_after.as_secs_f64()
    }

    /// Takes the steps that are due until shutdown. Several instances may: each step is taken once.
    pub async fn live(self, shutdown: CancellationToken) {
        let mut every = tokio::time::interval(self.settings.life.sweep_every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut held = BTreeMap::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            match self.live_once().await {
                Ok(now) => tell_held(&mut held, now),
                Err(error) => tracing::warn!(error = %Chain(&error), "orders' steps are left for the next round"),
            }
        }
    }

    /// One round; what is held in it, by region.
    async fn live_once(&self) -> Result<BTreeMap<RegionCode, u64>, AppError> {
        let (store, after) = (&self.store, self.delete_after_seconds());
        store.warn_of_ends(self.settings.life.warn.as_secs_f64()).await?;
        for due in [Due::Stop, Due::Start, Due::DeleteAgain, Due::ApprovedDelete] {
            while !self.shutdown.is_cancelled() {
                let taken = store.take_steps(due, after).await?;
                let were_all = taken.len() < BATCH;
                self.publish(taken).await;
                if were_all {
                    break;
                }
            }
        }
        let held = store.deletes_held(after).await?;
        if held.is_empty() {
            return Ok(BTreeMap::new());
        }
        for (region, _) in held {
            self.publish(store.accept_deletes(&region, after).await?).await;
        }
        Ok(store.deletes_held(after).await?.into_iter().collect())
    }

    /// Publishes jobs that were accepted; those that cannot be are the relay's.
    pub(super) async fn publish(&self, taken: Vec<Taken>) {
        for Taken { job, order, verb, .. } in &taken {
            tracing::info!(%order, %job, verb = verb.as_str(), "the system makes a job");
        }
        let messages = futures::stream::iter(taken.into_iter().filter_map(|taken| taken.message));
        messages.for_each_concurrent(PUBLISHED_AT_ONCE, async |message| drop(self.run(&message, Wait::No).await)).await;
    }
}

/// Says it when deletes are held, once for each number of them.
fn tell_held(told: &mut BTreeMap<RegionCode, u64>, now: BTreeMap<RegionCode, u64>) {
    for (region, held) in &now {
        if told.get(region) != Some(held) {
            tracing::error!(
                %region,
                held,
                "more orders are to be deleted than a tenth of the region's: they wait for an operator's word"
            );
        }
    }
    *told = now;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(warn: u64, delete_after: u64) -> LifeSettings {
        let [warn, delete_after] = [warn, delete_after].map(Duration::from_secs);
        LifeSettings { warn, delete_after, sweep_every: Duration::from_secs(5) }
    }

    #[test]
    fn dates_follow_the_end() {
        let end_at: Timestamp = "2026-01-11T00:00:00Z".parse().unwrap();
        for (case, hours, warn, expected) in [
            ("a day before, of long ones", 1000, 86_400, "2026-01-10T00:00:00Z"),
            ("just as long", 240, 86_400, "2026-01-10T00:00:00Z"),
            ("a tenth before, of short ones", 10, 86_400, "2026-01-10T23:00:00Z"),
            ("a minute before", 1000, 60, "2026-01-10T23:59:00Z"),
        ] {
            let dates = Dates::of(end_at, hours, &settings(warn, 259_200));
            assert_eq!(dates.warn_at, expected.parse().unwrap(), "{case}");
            assert_eq!((dates.end_at, dates.delete_at), (end_at, "2026-01-14T00:00:00Z".parse().unwrap()), "{case}");
        }
    }

    proptest::proptest! {
        #[test]
        fn dates_are_in_order(second in -62_135_596_800_i64..253_402_207_200, hours: u32, warn: u32, after: u32) {
            let end_at = Timestamp::from_second(second).unwrap();
            let dates = Dates::of(end_at, hours, &settings(warn.into(), after.into()));
            proptest::prop_assert!(dates.warn_at <= end_at && end_at <= dates.delete_at);
            proptest::prop_assert!(end_at.duration_since(dates.warn_at).as_secs() <= i64::from(warn));
        }
    }
}
