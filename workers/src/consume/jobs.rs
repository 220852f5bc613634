//! One job from its delivery to its acknowledgement. The order of things at the end is the whole point: the result is
//! stored, then whoever waits is told, then the job is acknowledged (`design.md` §4.6).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use common::fail_point::FailPoint;
use common::failure::{Failure, Reason};
use common::job::{JOB_VERSION, Job, JobResult, JobStarted, Outcome, Progress};
use common::name::{Instance, JobId, OrderId};
use common::stream::JOB_ACK_WAIT;
use common::telemetry;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::pull::Handle;
use super::results::{self, Published};
use super::settle::{Attempt, Settle, settle};
use super::{Broker, InFlight, answer};
use crate::context::Context;
use crate::operations::{OperationError, RetryCause, run_job, stands};
use crate::slot::Slot;

/// What a job may take besides waiting for its rollout, before it counts as hung.
const WORK_TIMEOUT: Duration = Duration::from_mins(2);

/// How long a job that is given back stays at the broker: longer than this worker's last request for jobs stands there.
const GIVEN_BACK_FOR: Duration = Duration::from_secs(3);

/// Runs jobs.
#[derive(Debug)]
pub struct Jobs {
    /// What operations work with.
    pub context: Arc<Context>,
    /// Where results go.
    pub broker: Broker,
    /// Who runs them.
    pub worker: Instance,
    /// Counts them.
    pub in_flight: InFlight,
    /// When it is cancelled, jobs in hand are given back.
    pub abort: CancellationToken,
}

/// As much of a job as is needed to end it.
#[derive(Debug, Deserialize)]
struct Stub {
    id: JobId,
    order: OrderId,
}

impl Handle for Jobs {
    async fn handle(&self, message: Message, slot: Slot) {
        let _in_hand = self.in_flight.enter();
        let span = tracing::info_span!("job.process", region = %self.context.region);
        telemetry::continue_trace(&span, message.headers.as_ref());
        Box::pin(self.process(&message, slot)).instrument(span).await;
    }

    fn is_able(&self) -> bool {
        let mirrors = &self.context.mirrors;
        mirrors.pods.is_live() && mirrors.deployments.is_live()
    }
}

impl Jobs {
    async fn process(&self, message: &Message, slot: Slot) {
        let started_at = Timestamp::now();
        let attempts = message.info().map_or(1, |info| u32::try_from(info.delivered).unwrap_or(1));
        let inbox = answer::inbox(message);
        let stub = match serde_json::from_slice::<Stub>(&message.payload) {
            Ok(stub) => stub,
            Err(error) => {
                tracing::error!(subject = %message.subject, error = %error, "a job without a readable id is dropped");
                tell(message, AckKind::Term).await;
                return;
            }
        };
        FailPoint::JobTaken.reached();
        let trace = telemetry::trace_id(&tracing::Span::current());
        tracing::debug!(job.id = %stub.id, order.id = %stub.order, attempts, "job begins");
        let began = Instant::now();
        let attempted = match self.read(message) {
            Ok(job) => {
                let started = JobStarted { id: stub.id, attempts, started_at };
                answer::tell(&self.broker, inbox.as_ref(), &Progress::Started(started)).await;
                let Some(attempted) = self.run(message, &job, slot).await else {
                    tracing::info!(job.id = %stub.id, "job is given back at shutdown");
                    tell(message, AckKind::Nak(Some(GIVEN_BACK_FOR))).await;
                    return;
                };
                attempted
            }
            Err(failure) if stands(&self.context, stub.id, &stub.order) => Err(OperationError::Unready(failure)),
            Err(failure) => Err(OperationError::Refused(failure)),
        };
        let took = began.elapsed();
        let cause = attempted.as_ref().err().map(chain);
        match settle(attempted, Attempt(attempts)) {
            Settle::Again(after) => {
                let (job, order) = (stub.id, stub.order);
                tracing::warn!(job.id = %job, order.id = %order, attempts, ?took, ?after, trace, cause, "job is tried again");
                tell(message, AckKind::Nak(Some(after))).await;
            }
            Settle::Finish(outcome) => {
                let finished_at = Timestamp::now();
                let (Stub { id, order }, state) = (stub, state(&outcome));
                tracing::info!(job.id = %id, order.id = %order, attempts, ?took, trace, state, cause, "job ended");
                let worker = self.worker.clone();
                let result = JobResult { id, order, outcome, attempts, started_at, finished_at, worker };
                self.finish(message, inbox.as_ref(), result).await;
            }
        }
    }

    /// The job, if this worker is able to honour all of it.
    fn read(&self, message: &Message) -> Result<Job, Failure> {
        let job = serde_json::from_slice::<Job>(&message.payload).ok();
        let job = job.filter(|job| job.version == JOB_VERSION && job.region == self.context.region);
        job.ok_or_else(|| {
            tracing::error!(subject = %message.subject, "a job of another form is refused; update this worker");
            Failure::new(
                Reason::UnsupportedJob,
                "the region's worker is too old for this; its operator has to update it",
            )
        })
    }

    /// Runs a job and keeps telling the broker that it is in good hands. None = told to give it back.
    async fn run(&self, message: &Message, job: &Job, slot: Slot) -> Option<Result<(), OperationError>> {
        let work = AssertUnwindSafe(run_job(&self.context, job, slot)).catch_unwind();
        tokio::pin!(work);
        let hung = sleep(self.context.rollout_timeout + WORK_TIMEOUT);
        tokio::pin!(hung);
        let every = JOB_ACK_WAIT / 3;
        let mut sign_of_life = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                biased;
                () = self.abort.cancelled() => return None,
                done = &mut work => {
                    return Some(done.unwrap_or(Err(OperationError::Retry(RetryCause::Panicked))));
                }
                () = &mut hung => return Some(Err(OperationError::Retry(RetryCause::TimedOut))),
                _ = sign_of_life.tick() => {
                    if let Err(error) = message.ack_with(AckKind::Progress).await {
                        tracing::warn!(job.id = %job.id, error = %error, "the broker does not hear of a job's progress");
                    }
                }
            }
        }
    }

    async fn finish(&self, message: &Message, inbox: Option<&async_nats::Subject>, result: JobResult) {
        let id = result.id;
        // Publishing may take about as long as the broker has patience.
        if let Err(error) = message.ack_with(AckKind::Progress).await {
            tracing::debug!(job.id = %id, %error, "the broker does not hear of a job's end");
        }
        let published = results::publish(&self.broker, &self.context.region, &result).await;
        FailPoint::ResultPublished.reached();
        match published {
            Ok(Published::Ours) => answer::tell(&self.broker, inbox, &Progress::Ended(result)).await,
            Ok(Published::Before) => tracing::info!(job.id = %id, "the job had ended before; that end holds"),
            Ok(Published::Unsure) => {
                tracing::info!(job.id = %id, "the job has ended; nobody is told, as it may have otherwise");
            }
            Err(error) => {
                tracing::warn!(job.id = %id, error = &error as &dyn std::error::Error, "result cannot be published; the job is tried again");
                tell(message, AckKind::Nak(Some(Duration::from_secs(2)))).await;
                return;
            }
        }
        FailPoint::EndTold.reached();
        let acknowledged = message.double_ack().await;
        FailPoint::JobAcknowledged.reached();
        if let Err(error) = acknowledged {
            // It is delivered once more, finds its result there, and is acknowledged then.
            tracing::warn!(job.id = %id, error = %error, "job is not acknowledged");
        }
    }
}

/// Tells the broker what becomes of a job that has no result. What it does not hear is delivered again after its patience.
async fn tell(message: &Message, kind: AckKind) {
    if let Err(error) = message.double_ack_with(kind).await {
        tracing::warn!(subject = %message.subject, %error, "the broker does not hear what becomes of a job");
    }
}

/// An error with all that caused it, in one line.
fn chain(error: &OperationError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn state(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed(_) => "failed",
        Outcome::Unready(_) => "unready",
        Outcome::Superseded { .. } => "superseded",
        Outcome::Overtaken { .. } => "overtaken",
    }
}
