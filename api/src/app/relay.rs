//! Sees to it that every accepted job reaches the broker, and every cancelled one its end: what an instance could not
//! publish, or published into a broker that lost it, is published again under the same message id. Nothing is concluded from
//! times: a job that is not in its queue and has no end there was lost, whether the stream, its store or the message was.

use std::collections::BTreeSet;
use std::time::Duration;

use common::job;
use common::name::{JobId, RegionCode};
use common::telemetry::Chain;
use tokio_util::sync::CancellationToken;

use super::App;
use super::error::AppError;
use crate::bus::BusError;
use crate::store::jobs::Job;

/// How often the record is asked.
const EVERY: Duration = Duration::from_secs(2);
/// How old an accepted job is before the relay takes it for one that its own request did not publish.
const LEFT_AFTER_SECONDS: f64 = 3.0;
/// How long nothing is heard of a job that the broker has, before it is looked for there.
const UNHEARD_AFTER_SECONDS: f64 = 20.0;
/// The most jobs at once.
const BATCH: i64 = 100;

impl App {
    /// Publishes what was left or lost, until shutdown.
    pub async fn relay(self, shutdown: CancellationToken) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            if let Err(error) = self.relay_once().await {
                tracing::warn!(error = %Chain(&error), "jobs are left for the next round");
            }
        }
    }

    async fn relay_once(&self) -> Result<(), AppError> {
        self.publish_left(self.store.jobs_left(LEFT_AFTER_SECONDS, BATCH).await?).await?;
        self.end_left_cancelled(self.store.jobs_cancelled(LEFT_AFTER_SECONDS, BATCH).await?).await;
        self.look_for(self.store.jobs_unheard(UNHEARD_AFTER_SECONDS, BATCH).await?).await
    }

    /// Publishes jobs that may never have been. A region that takes none holds up no other, and a job that cannot be published
    /// none of its region.
    async fn publish_left(&self, jobs: Vec<job::Job>) -> Result<(), AppError> {
        let (mut closed, mut published) = (BTreeSet::new(), Vec::new());
        for job in jobs {
            if closed.contains(&job.region) {
                continue;
            }
            match self.bus.publish_job(&job, true).await {
                Ok(place) => {
                    tracing::info!(job = %job.id, order = %job.order, "job published by the relay");
                    published.push((job.id, place));
                }
                // It went through the queue, and only the mark was not made.
                Err(BusError::Repeated) => drop(self.record_if_ended(&job.region, job.id).await?),
                Err(error) => {
                    tracing::warn!(job = %job.id, region = %job.region, error = %Chain(&error), "job not published");
                    if !matches!(error, BusError::TooLarge | BusError::Refused { .. }) {
                        closed.insert(job.region);
                    }
                }
            }
        }
        Ok(self.store.jobs_published(&published).await?)
    }

    /// Looks for jobs that the broker had, and notes where they are now. One that cannot be looked for is looked for again after
    /// as long as the others.
    async fn look_for(&self, jobs: Vec<Job>) -> Result<(), AppError> {
        let mut found = Vec::new();
        for job in jobs {
            match self.find(&job).await {
                Ok(place) => found.extend(place.map(|place| (job.id, place))),
                Err(error) => {
                    tracing::warn!(job = %job.id, region = %job.region, error = %Chain(&error), "a job is not looked for");
                    if !self.bus.is_connected() {
                        break;
                    }
                    found.push((job.id, job.stream_sequence.unwrap_or_default()));
                }
            }
        }
        Ok(self.store.jobs_published(&found).await?)
    }

    /// Where a job is in its queue. One that is not there has ended, which goes on record, or was lost by the broker, and is
    /// published again. None = it has ended, or cannot be published again yet.
    async fn find(&self, job: &Job) -> Result<Option<u64>, AppError> {
        let place = job.stream_sequence.unwrap_or_default();
        if self.bus.is_queued(&job.region, job.id, place).await? {
            return Ok(Some(place));
        }
        if self.record_if_ended(&job.region, job.id).await? {
            return Ok(None);
        }
        let pod = match job.revision {
            Some(_) => Some(self.pod_of(job).await?),
            None => None,
        };
        match self.bus.publish_job(&job.message(pod)?, true).await {
            Ok(place) => {
                tracing::warn!(job = %job.id, order = %job.order, "a job that the broker lost is published again");
                Ok(Some(place))
            }
            Err(BusError::Repeated) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Records a job's end, if it was told. Harmless when another instance does.
    async fn record_if_ended(&self, region: &RegionCode, job: JobId) -> Result<bool, AppError> {
        match self.bus.result(region, job).await? {
            Some(result) => self.record(region, &result).await.map(|()| true),
            None => Ok(false),
        }
    }
}
