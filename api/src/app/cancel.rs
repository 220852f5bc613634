//! A job that no worker has begun is cancelled by a newer one, whose target is what the order was to be before it: whatever
//! becomes of the race with a worker, the order ends as it was. The job's message is taken out of the queue and its end is
//! published here, or by the relay, so that it does not wait for a region that is away. Costs three statements more than a step.

use std::collections::BTreeSet;

use common::fail_point::FailPoint;
use common::failure::Reason;
use common::job::{JobResult, Outcome, Verb};
use common::name::{JobId, Sequence};
use common::telemetry::Chain;
use jiff::Timestamp;
use tokio::time::{Duration, Instant, sleep};
use tracing::Instrument as _;

use super::App;
use super::change::{ChangeRequest, Wait, expect_nothing, key_reused, takes_no_changes};
use super::error::AppError;
use crate::bus::{BusError, Withdrawn};
use crate::store::acceptance::{Acceptance, Accepted};
use crate::store::digest::Digest;
use crate::store::jobs::{Job, JobState};
use crate::store::orders::Order;

/// How long the mark of a job that was published a moment ago may take.
const MARKED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the end that a worker told meanwhile may take to be on record.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);

impl App {
    /// Cancels a job: it ends superseded. One that was cancelled before stays so. The answer is the job as it stands.
    ///
    /// # Errors
    /// [`Reason::NotFound`]; [`Reason::JobBegun`] when it has begun or ended, or is not the order's newest;
    /// [`Reason::OrderEnded`] when its order takes no more changes.
    pub async fn cancel(
        &self,
        order: Order,
        earlier: Option<Job>,
        id: &str,
        request: ChangeRequest<'_>,
    ) -> Result<Job, AppError> {
        let digest = self.request_digest(&format!("cancel {id}"), request.body);
        if let Some(canceller) = earlier {
            return self.cancelled_before(&order, id, &canceller, &digest).await;
        }
        expect_nothing(request.body)?;
        let job = self.job(&order, id).await?;
        if job.state == JobState::Superseded {
            return Ok(job);
        }
        let idempotency = request.idempotency_key.map(|key| (key, &digest.current));
        let acceptance = Acceptance { order: &order.id, region: &job.region, job: JobId::new(), idempotency };
        let canceller = match self.store.accept_cancel(&acceptance, job.id).await? {
            Accepted::Yes(canceller) => canceller,
            Accepted::KeyTaken => {
                let key = request.idempotency_key.unwrap_or_default();
                let canceller = self.store.job_by_key(&order.id, key).await?;
                let canceller = canceller.ok_or_else(|| AppError::internal("a taken idempotency key names a job"))?;
                return self.cancelled_before(&order, id, &canceller, &digest).await;
            }
            Accepted::No => return self.not_cancelled(&order, id).await,
        };
        tracing::info!(job = %job.id, order = %order.id, by = %canceller.id, "job cancelled");
        // From here on it goes on to its end, whoever hangs up.
        let as_it_was = job.clone();
        let (app, span) = (self.clone(), tracing::Span::current());
        let ending = self.tasks.spawn(async move { app.carry_out_cancel(job, &canceller).await }.instrument(span));
        Ok(ending.await.unwrap_or(as_it_was))
    }

    /// Ends a job that was cancelled, and sends its canceller on its way. What cannot be done now is the relay's.
    async fn carry_out_cancel(&self, job: Job, canceller: &Job) -> Job {
        let ended = self.end_cancelled(job, canceller.sequence).await;
        let pod = match canceller.revision {
            Some(_) => self.pod_of(canceller).await.map(Some),
            None => Ok(None),
        };
        match pod.and_then(|pod| Ok(canceller.message(pod)?)) {
            Ok(message) => drop(self.run(&message, Wait::No).await),
            Err(error) => tracing::warn!(job = %canceller.id, error = %Chain(&error), "job left to the relay"),
        }
        ended
    }

    /// The answer to a request whose idempotency key has made a job before: the cancelled job as it stands.
    async fn cancelled_before(
        &self,
        order: &Order,
        id: &str,
        canceller: &Job,
        digest: &Digest,
    ) -> Result<Job, AppError> {
        if !canceller.request_digest.as_deref().is_some_and(|kept| digest.is(kept)) {
            return Err(key_reused());
        }
        self.job(order, id).await
    }

    /// Takes the job out of the queue and ends it. One that is not found there, or that cannot be ended now, is left to the
    /// worker that has it or comes to it, and to the relay: it is superseded all the same.
    async fn end_cancelled(&self, job: Job, by: Sequence) -> Job {
        match self.withdraw(&job).await {
            Ok(Some(withdrawn)) => {
                FailPoint::JobWithdrawn.reached();
                let result = self.superseded(&job, by);
                match self.bus.publish_result(&job.region, &result, &withdrawn).await {
                    Ok(true) => job.ended(result),
                    // A worker had it in its hands, and was quicker.
                    Ok(false) => self.wait_for(job, Wait::For(RECORDED_WITHIN)).await,
                    Err(error) => {
                        tracing::warn!(job = %job.id, error = %Chain(&error), "a cancelled job's end is left to the relay");
                        job
                    }
                }
            }
            Ok(None) => self.store.job(&job.order, job.id).await.ok().flatten().unwrap_or(job),
            Err(error) => {
                tracing::warn!(job = %job.id, error = %Chain(&error), "a cancelled job stays in its queue");
                job
            }
        }
    }

    /// Takes the job out of its queue. None = it is not there.
    async fn withdraw(&self, job: &Job) -> Result<Option<Withdrawn>, AppError> {
        match self.place_in_queue(job).await? {
            Some(place) => Ok(self.bus.withdraw_job(&job.region, job.id, place).await?),
            None => Ok(None),
        }
    }

    /// The end of a job that was cancelled.
    fn superseded(&self, job: &Job, by: Sequence) -> JobResult {
        let now = Timestamp::now();
        JobResult {
            id: job.id,
            order: job.order.clone(),
            outcome: Outcome::Superseded { by },
            attempts: job.attempts,
            started_at: now,
            finished_at: now,
            worker: self.bus.instance().clone(),
        }
    }

    /// Ends jobs that were cancelled, and that nobody ended. Harmless where somebody did: a second end is refused. A region whose
    /// queue cannot be asked holds up no other.
    pub(super) async fn end_left_cancelled(&self, jobs: Vec<(Job, Sequence)>) {
        let mut closed = BTreeSet::new();
        for (job, by) in jobs {
            if closed.contains(&job.region) {
                continue;
            }
            match self.end_left(&job, by).await {
                Ok(true) => tracing::info!(job = %job.id, order = %job.order, "a cancelled job ended by the relay"),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(job = %job.id, region = %job.region, error = %Chain(&error), "a cancelled job not ended");
                    closed.insert(job.region);
                }
            }
        }
    }

    /// Takes a cancelled job out of its queue, if it is there, and ends it. False = it has ended.
    async fn end_left(&self, job: &Job, by: Sequence) -> Result<bool, BusError> {
        let Some(place) = job.stream_sequence else { return Ok(false) };
        let withdrawn = self.bus.withdraw_job(&job.region, job.id, place).await?.unwrap_or_default();
        self.bus.publish_result(&job.region, &self.superseded(job, by), &withdrawn).await
    }

    /// Where the job is in its queue, once that is on record: the mark is made beside the request that published it. None = it
    /// was not published, or has ended.
    async fn place_in_queue(&self, job: &Job) -> Result<Option<u64>, AppError> {
        let until = Instant::now() + MARKED_WITHIN;
        loop {
            match self.store.job(&job.order, job.id).await? {
                Some(job) if job.outcome.is_none() && job.stream_sequence.is_none() && Instant::now() < until => {
                    sleep(LOOK_EVERY).await;
                }
                job => return Ok(job.filter(|job| job.outcome.is_none()).and_then(|job| job.stream_sequence)),
            }
        }
    }

    /// Why a job cannot be cancelled; one that is being cancelled is answered as it stands.
    async fn not_cancelled(&self, order: &Order, id: &str) -> Result<Job, AppError> {
        let job = self.job(order, id).await?;
        let newest = self.store.jobs(&order.id, None, 1).await?.items.pop();
        let being_cancelled = |newest: &Job| {
            newest.verb == Verb::Cancel && newest.sequence.get() == job.sequence.get() + 1 && job.verb != Verb::Cancel
        };
        let ended = takes_no_changes(&self.find_order(order.id.as_str()).await?);
        let why = match (job.state, ended) {
            (JobState::Superseded, _) => return Ok(job),
            (JobState::Queued, _) if newest.as_ref().is_some_and(being_cancelled) => return Ok(job),
            (JobState::Queued, Some(refusal)) => return Err(refusal),
            (JobState::Queued, None) if matches!(job.verb, Verb::Cancel | Verb::Delete) => {
                "is one that cannot be taken back"
            }
            (JobState::Queued, None) => "is not the order's newest: cancel or wait for those after it",
            (JobState::Running, _) => "has begun",
            (JobState::Succeeded | JobState::Failed, _) => "has ended",
        };
        Err(AppError::new(Reason::JobBegun, format!("the job cannot be cancelled: it {why}")))
    }
}
