//! Jobs: shown, listed and waited for.

use common::fail_point::FailPoint;
use common::failure::Reason;
use common::job::{self, JobResult};
use common::name::{JobId, Sequence};
use common::telemetry::Chain;
use tokio::time::{Duration, Instant, timeout};

use super::App;
use super::change::Wait;
use super::error::AppError;
use crate::bus::BusError;
use crate::store::Page;
use crate::store::jobs::Job;
use crate::store::orders::Order;

/// How long a request waits for the broker to take its job, before the job is left to the relay.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// How often the record is asked for a job that has ended but is not yet recorded.
const RECORD_POLL: Duration = Duration::from_millis(20);

/// How long an end may take to be on record before it is answered without.
const RECORD_WITHIN: Duration = Duration::from_secs(2);

impl App {
    /// A job of an order.
    ///
    /// # Errors
    /// [`Reason::NotFound`], also for a job of another order.
    pub async fn job(&self, order: &Order, id: &str) -> Result<Job, AppError> {
        let job = match id.parse::<JobId>() {
            Ok(id) => self.store.job(&order.id, id).await?,
            Err(_) => None,
        };
        job.ok_or_else(|| AppError::new(Reason::NotFound, "the order has no job with this id"))
    }

    /// The order's jobs, newest first.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn jobs(&self, order: &Order, after: Option<Sequence>, limit: usize) -> Result<Page<Job>, AppError> {
        Ok(self.store.jobs(&order.id, after, limit).await?)
    }

    /// Waits for the end of a job that another request, maybe to another instance, has made.
    pub(super) async fn wait_for(&self, job: Job, wait: Wait) -> Job {
        let Wait::For(time) = wait else { return job };
        if job.outcome.is_some() {
            return job;
        }
        let result = tokio::select! {
            result = self.bus.wait_result(&job.region, job.id, time) => result,
            () = self.shutdown.cancelled() => None,
        };
        match result {
            Some(result) => self.recorded(job, result).await,
            None => job,
        }
    }

    /// The job once its end is on record, which follows the result within moments; if it does not, or the record does not
    /// answer, the result itself is the end.
    pub(super) async fn recorded(&self, job: Job, result: JobResult) -> Job {
        let until = Instant::now() + RECORD_WITHIN;
        while Instant::now() < until {
            match self.store.job(&job.order, job.id).await {
                Ok(Some(ended)) if ended.outcome.is_some() => return ended,
                _ => tokio::time::sleep(RECORD_POLL).await,
            }
        }
        job.ended(result)
    }

    /// Publishes an accepted job and waits for its end, if the client wants to: as long as it says, the publish included. None = it has not ended in time, or this
    /// instance is shutting down; the relay and the results' consumer see to the rest.
    pub(super) async fn run(&self, job: &job::Job, wait: Wait) -> Option<JobResult> {
        tracing::Span::current().record("job.id", tracing::field::display(job.id));
        FailPoint::JobAccepted.reached();
        let waiter = match wait {
            Wait::For(time) => Some((self.bus.expect_progress(job.id), Instant::now() + time)),
            Wait::No => None,
        };
        let publishing = timeout(PUBLISH_WAIT, self.bus.publish_job(job, true)).await;
        FailPoint::JobPublished.reached();
        match publishing.unwrap_or(Err(BusError::Timeout)) {
            // A mark that finds no room is made by the relay, which publishes again under the same id.
            Ok(sequence) => drop(self.published.try_send((job.id, sequence))),
            Err(error) => tracing::warn!(job = %job.id, error = %Chain(&error), "job left to the relay"),
        }
        let (mut waiter, deadline) = waiter?;
        let result = tokio::select! {
            result = waiter.ended(deadline.saturating_duration_since(Instant::now())) => result,
            () = self.shutdown.cancelled() => None,
        };
        FailPoint::EndHeard.reached();
        result
    }
}
