//! A job that no worker has begun is cancelled by a newer one, whose target is what the order was to be before it: whatever
//! becomes of the race with a worker, the order ends as it was. The job's message is taken out of the queue and its end is
//! published here, so that it does not wait for a region that is away. Costs three statements more than a step.

use common::failure::Reason;
use common::job::{JobResult, Outcome};
use common::name::JobId;
use common::telemetry::Chain;
use jiff::Timestamp;

use super::App;
use super::change::{ChangeRequest, Wait, expect_nothing, key_reused};
use super::error::AppError;
use crate::store::acceptance::{Acceptance, Accepted};
use crate::store::jobs::{Job, JobState};
use crate::store::orders::Order;

impl App {
    /// Cancels a job: it ends superseded. One that was cancelled before stays so. The answer is the job as it stands.
    ///
    /// # Errors
    /// [`Reason::NotFound`]; [`Reason::JobBegun`] when it has begun or ended, or is not the order's newest.
    pub async fn cancel(
        &self,
        order: Order,
        earlier: Option<Job>,
        id: &str,
        request: ChangeRequest<'_>,
    ) -> Result<Job, AppError> {
        let digest = self.request_digest(&format!("cancel {id}"), request.body);
        if earlier.is_some_and(|job| job.request_digest.as_deref() != Some(&digest)) {
            return Err(key_reused());
        }
        expect_nothing(request.body)?;
        let job = self.job(&order, id).await?;
        if job.state == JobState::Superseded {
            return Ok(job);
        }
        let idempotency = request.idempotency_key.map(|key| (key, &digest));
        let acceptance = Acceptance { order: &order.id, region: &job.region, job: JobId::new(), idempotency };
        let canceller = match self.store.accept_cancel(&acceptance, job.id).await? {
            Accepted::Yes(canceller) => canceller,
            Accepted::KeyTaken => return self.job(&order, id).await,
            Accepted::No => return Err(self.not_cancelled(&order, id).await),
        };
        tracing::info!(job = %job.id, order = %order.id, by = %canceller.id, "job cancelled");
        let ended = self.end_cancelled(&job, &canceller).await;
        let pod = match canceller.revision {
            Some(_) => Some(self.pod_of(&canceller).await?),
            None => None,
        };
        self.run(&canceller.message(pod), Wait::No).await;
        Ok(ended)
    }

    /// Takes the job out of the queue and ends it. If that cannot be done now, the worker ends it when it comes to it.
    async fn end_cancelled(&self, job: &Job, canceller: &Job) -> Job {
        if let Some(sequence) = job.stream_sequence
            && let Err(error) = self.bus.withdraw_job(&job.region, job.id, sequence).await
        {
            tracing::warn!(job = %job.id, error = %Chain(&error), "a cancelled job stays in its queue");
        }
        let now = Timestamp::now();
        let result = JobResult {
            id: job.id,
            order: job.order.clone(),
            outcome: Outcome::Superseded { by: canceller.sequence },
            attempts: job.attempts,
            started_at: now,
            finished_at: now,
            worker: self.bus.instance().clone(),
        };
        match self.bus.publish_result(&job.region, &result).await {
            Ok(true) => job.clone().ended(result),
            Ok(false) => job.clone(),
            Err(error) => {
                tracing::warn!(job = %job.id, error = %Chain(&error), "a cancelled job's end is left to its worker");
                job.clone()
            }
        }
    }

    async fn not_cancelled(&self, order: &Order, id: &str) -> AppError {
        let job = match self.job(order, id).await {
            Ok(job) => job,
            Err(error) => return error,
        };
        let why = match job.state {
            JobState::Queued => "is not the order's newest: cancel or wait for those after it",
            JobState::Running => "has begun",
            JobState::Succeeded | JobState::Failed | JobState::Superseded => "has ended",
        };
        AppError::new(Reason::JobBegun, format!("the job cannot be cancelled: it {why}"))
    }
}
