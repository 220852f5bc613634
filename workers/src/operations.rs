//! What each verb does, one file a verb. Every operation may run twice, at once or after a crash halfway, and ends the
//! same.

mod apply;
mod delete;
mod expose;
mod leftovers;
mod log;
mod log_stream;
mod overtaken;
mod reseal;
mod rollout;
mod status;
mod usage;
mod write;

pub use log_stream::{Listener, follow};

use std::sync::Arc;

use common::failure::{Failure, Reason};
use common::job::{Change, Job, Verb};
use common::name::{JobId, OrderId, Sequence};
use common::read::{Query, Read};

use crate::cluster::classify::Disposition;
use crate::cluster::fence::{FenceError, Mark};
use crate::cluster::{ClusterError, Mirrors, PodSeen};
use crate::context::Context;
use crate::kubernetes::namespace_of;
use crate::slot::Slot;

/// One verb.
pub trait Operation {
    /// What it is done to.
    type About: Sync;
    /// What comes of it.
    type Output;

    /// Does it. Dropped in the middle, it can be done again.
    fn run(
        &self,
        context: &Context,
        about: &Self::About,
    ) -> impl Future<Output = Result<Self::Output, OperationError>> + Send;
}

/// The job that an operation belongs to.
#[derive(Debug)]
pub struct AboutJob {
    /// Its id.
    pub id: JobId,
    /// What was asked.
    pub verb: Verb,
    /// Whose pod it changes.
    pub order: OrderId,
    /// Its place among the order's jobs.
    pub sequence: Sequence,
    /// Its place among the jobs in work, left when it only waits.
    pub slot: Slot,
}

/// Why an operation did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// A newer job of the order has begun; what it says holds.
    #[error("superseded by the job of sequence {by}")]
    Superseded {
        /// The newer job's sequence.
        by: Sequence,
    },
    /// A newer job of the order has begun, and what this one wrote stands still.
    #[error("overtaken by the job of sequence {by}")]
    Overtaken {
        /// The newer job's sequence.
        by: Sequence,
    },
    /// It never will.
    #[error("refused: {}", .0.message)]
    Refused(Failure),
    /// The Deployment is written and stands, but the pod does not come up, or what comes after it was refused.
    #[error("unready: {}", .0.message)]
    Unready(Failure),
    /// It may, later.
    #[error("not now")]
    Retry(#[source] RetryCause),
}

/// Why an operation is worth another try.
#[derive(Debug, thiserror::Error)]
pub enum RetryCause {
    /// The cluster did not answer, or something changed meanwhile.
    #[error(transparent)]
    Cluster(ClusterError),
    /// The order's fence could not be moved.
    #[error(transparent)]
    Fence(FenceError),
    /// What a delete removes is not gone yet.
    #[error("the order's namespace is still being removed")]
    NamespaceTerminating,
    /// An object was changed again and again.
    #[error("objects of the order change under us")]
    Contended,
    /// The cluster is not seen as it is.
    #[error("the watch of the cluster does not answer")]
    Blind,
    /// The operation ran into a fault of ours.
    #[error("the operation panicked")]
    Panicked,
    /// The operation ran for too long.
    #[error("the operation did not end in time")]
    TimedOut,
}

impl From<ClusterError> for OperationError {
    fn from(error: ClusterError) -> Self {
        match error.disposition {
            Disposition::Refused(reason) => {
                let answer = error.answer().map(|(_, message)| message);
                tracing::warn!(reason = ?reason, answer, error = %error, "the cluster refused");
                Self::Refused(refusal(reason, answer.unwrap_or_default()))
            }
            Disposition::Retry | Disposition::Missing | Disposition::Exists | Disposition::Changed => {
                Self::Retry(RetryCause::Cluster(error))
            }
        }
    }
}

impl From<FenceError> for OperationError {
    fn from(error: FenceError) -> Self {
        Self::Retry(RetryCause::Fence(error))
    }
}

/// A refusal in words for a customer. Of the apiserver's message only the own words of an admission policy or webhook are
/// theirs.
fn refusal(reason: Reason, answer: &str) -> Failure {
    let words = answer.split_once("denied request: ").or_else(|| answer.split_once("denied the request: "));
    let message = match (reason, words) {
        (Reason::QuotaExceeded, _) => {
            "the pod needs more than the order's units allow; ask for less memory or more units".to_owned()
        }
        (_, Some((_, words))) => format!("the region does not allow this pod: {}", words.trim()),
        _ => "the region's cluster does not accept this pod".to_owned(),
    };
    Failure::new(reason, message)
}

/// Runs a job's operation. What is refused is so for good: the fence remembers it, in case that the job is delivered again. Costs
/// two requests more then.
///
/// # Errors
/// See [`OperationError`].
pub async fn run_job(context: &Context, job: &Job, slot: Slot) -> Result<(), OperationError> {
    let verb = job.change.verb();
    let about = AboutJob { id: job.id, verb, order: job.order.clone(), sequence: job.sequence, slot };
    let (run, revision) = match &job.change {
        Change::Deploy(target)
        | Change::Restart(target)
        | Change::Stop(target)
        | Change::Start(target)
        | Change::Expose(target)
        | Change::Cancel(target)
        | Change::Repair(target) => (target.run(context, &about).await, Some(target.revision)),
        Change::Delete(delete) => (delete.run(context, &about).await, None),
    };
    let Err(OperationError::Refused(failure)) = run else { return run };
    if stands(context, job.id, &job.order) {
        return Err(OperationError::Unready(failure));
    }
    let mark = Mark { sequence: job.sequence, verb, revision, job: job.id, contents: String::new() };
    context.fences.refuse(&context.cluster, &job.order, &mark, &failure).await?;
    Err(OperationError::Refused(failure))
}

/// Whether the order's Deployment is what this job wrote: an earlier attempt, maybe another worker's, got as far.
pub fn stands(context: &Context, job: JobId, order: &OrderId) -> bool {
    let deployments = context.mirrors.deployments.of(&namespace_of(order));
    deployments.iter().any(|deployment| deployment.job == Some(job))
}

/// Answers a read.
///
/// # Errors
/// See [`OperationError`].
pub async fn run_read(context: &Context, read: &Read) -> Result<Vec<u8>, OperationError> {
    match &read.query {
        Query::Log(log) => log.run(context, &read.order).await,
        Query::Status(status) => status.run(context, &read.order).await,
        Query::Reseal(reseal) => reseal.run(context, &read.order).await,
        Query::Usage(usage) => usage.run(context, &read.order).await,
        Query::LogPage(page) => page.run(context, &read.order).await,
        // Its answer is a stream: see [`follow`].
        Query::LogFollow(_) => {
            Err(OperationError::Refused(Failure::new(Reason::UnsupportedJob, "a follow has no end")))
        }
    }
}

/// The pod that stands for an order: one that stays before one that goes, the newest revision, the youngest. One that ended
/// stays for a long time where Kubernetes wants none: it stands for nothing then.
fn pod_of(mirrors: &Mirrors, order: &OrderId) -> Result<Option<Arc<PodSeen>>, OperationError> {
    if !mirrors.pods.is_complete() {
        return Err(OperationError::Retry(RetryCause::Blind));
    }
    let namespace = namespace_of(order);
    let stopped = mirrors.deployments.of(&namespace).iter().any(|deployment| deployment.wanted == 0);
    let pods = mirrors.pods.of(&namespace);
    let ours = pods.into_iter().filter(|pod| pod.order.as_ref() == Some(order) && !(stopped && pod.finished));
    Ok(ours.max_by_key(|pod| (!pod.terminating, !pod.finished, pod.revision, pod.created)))
}

/// What is said of an order that has nothing in the region.
fn not_deployed() -> OperationError {
    OperationError::Refused(Failure::new(Reason::NotDeployed, "nothing is deployed for this order"))
}

#[cfg(test)]
mod tests;
