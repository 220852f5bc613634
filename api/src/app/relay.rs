//! Sees to it that every accepted job reaches the broker, and every cancelled one its end: what an instance could not
//! publish, or published into a broker that lost it, is published again under the same message id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::job::Job;
use common::name::RegionCode;
use common::telemetry::Chain;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::App;
use super::error::AppError;
use crate::bus::BusError;

/// How often the record is asked.
const EVERY: Duration = Duration::from_secs(2);
/// How old an accepted job is before the relay takes it for one that its own request did not publish.
const LEFT_AFTER_SECONDS: f64 = 3.0;
/// How far the clocks of PostgreSQL and NATS may be apart.
const CLOCKS_APART: Duration = Duration::from_mins(1);
/// The most jobs at once.
const BATCH: i64 = 100;

impl App {
    /// Publishes what was left or lost, until shutdown.
    pub async fn relay(self, shutdown: CancellationToken) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = BTreeMap::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            if let Err(error) = self.relay_once(&mut seen).await {
                tracing::warn!(error = %Chain(&error), "jobs are left for the next round");
            }
        }
    }

    /// One round. `seen` holds, for each region, which making of its queues the lost jobs were published to.
    async fn relay_once(&self, seen: &mut BTreeMap<RegionCode, Timestamp>) -> Result<(), AppError> {
        self.publish_again(self.store.jobs_left(LEFT_AFTER_SECONDS, BATCH).await?).await?;
        self.end_left_cancelled(self.store.jobs_cancelled(LEFT_AFTER_SECONDS, BATCH).await?).await;
        for region in self.bus.regions.known() {
            let Some(made_at) = self.bus.queues_made_at(&region) else { continue };
            if seen.get(&region) == Some(&made_at) {
                continue;
            }
            let before = made_at.saturating_add(CLOCKS_APART).unwrap_or(made_at);
            let lost = self.store.jobs_lost(&region, before, BATCH).await?;
            let were_all = lost.len() < usize::try_from(BATCH).unwrap_or_default();
            if self.publish_again(lost).await? && were_all {
                seen.insert(region, made_at);
            }
        }
        Ok(())
    }

    /// Publishes jobs, and tells whether all went out. A region that takes none holds up no other, and a job that cannot be
    /// published none of its region.
    async fn publish_again(&self, jobs: Vec<Job>) -> Result<bool, AppError> {
        let (mut closed, mut published_jobs, mut were_all) = (BTreeSet::new(), Vec::new(), true);
        for job in jobs {
            if closed.contains(&job.region) {
                continue;
            }
            match self.bus.publish_job(&job, true).await {
                Ok(sequence) => {
                    tracing::info!(job = %job.id, order = %job.order, "job published by the relay");
                    published_jobs.push((job.id, sequence));
                }
                Err(error) => {
                    tracing::warn!(job = %job.id, region = %job.region, error = %Chain(&error), "job not published");
                    were_all = false;
                    if !matches!(error, BusError::TooLarge | BusError::Refused { .. }) {
                        closed.insert(job.region);
                    }
                }
            }
        }
        self.store.jobs_published(&published_jobs).await?;
        Ok(were_all)
    }
}
