//! Changes asked of a region and their ends. A job is refused by a worker that does not know all of its fields; a result
//! is read with whatever fields are known.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ingress::Exposure;
use crate::name::{Instance, JobId, OrderId, RegionCode, Revision, Sequence};
use crate::pod::Pod;

/// The version of the job's form. A worker refuses any other.
pub const JOB_VERSION: u32 = 1;

/// One change of one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// [`JOB_VERSION`].
    pub version: u32,
    /// The job's id, also its `Nats-Msg-Id`.
    pub id: JobId,
    /// Whose pod is changed.
    pub order: OrderId,
    /// Where it runs.
    pub region: RegionCode,
    /// The job's place among the order's jobs: a worker never lets an older one undo a newer one.
    pub sequence: Sequence,
    /// What to do.
    pub change: Change,
}

/// What a job does. All but a delete carry the order's whole target, and make the region equal to it: whichever job is the
/// last to run, the region is as it was last asked to be, however many before it were overtaken. The verb says what was
/// asked, and so what the job waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Makes the order's pod equal to a new revision.
    Deploy(Target),
    /// Replaces the pod by one of the same revision.
    Restart(Target),
    /// Ends the pod; ports, volume, configuration and domains are kept.
    Stop(Target),
    /// Makes the pod of a stopped order again, of the same revision.
    Start(Target),
    /// Binds and unbinds domains; the pod is left alone.
    Expose(Target),
    /// Takes back a job that had not begun: the target is the one before it.
    Cancel(Target),
    /// Writes all objects anew, as somebody changed them by hand; a pod that is as it should be is left alone.
    Repair(Target),
    /// Removes all that the order has in the region, its volume included.
    Delete(Delete),
}

impl Change {
    /// The change's verb.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Deploy(_) => Verb::Deploy,
            Self::Restart(_) => Verb::Restart,
            Self::Stop(_) => Verb::Stop,
            Self::Start(_) => Verb::Start,
            Self::Expose(_) => Verb::Expose,
            Self::Cancel(_) => Verb::Cancel,
            Self::Repair(_) => Verb::Repair,
            Self::Delete(_) => Verb::Delete,
        }
    }

    /// The change of this verb. A job that is taken back before the order had anything in its region leaves nothing there; any
    /// other verb but a delete needs a target: None without one.
    pub fn new(verb: Verb, target: Option<Target>) -> Option<Self> {
        let target = match (verb, target) {
            (Verb::Delete, _) | (Verb::Cancel, None) => return Some(Self::Delete(Delete {})),
            (_, target) => target?,
        };
        Some(match verb {
            Verb::Deploy => Self::Deploy(target),
            Verb::Restart => Self::Restart(target),
            Verb::Stop => Self::Stop(target),
            Verb::Start => Self::Start(target),
            Verb::Expose => Self::Expose(target),
            Verb::Cancel => Self::Cancel(target),
            Verb::Repair => Self::Repair(target),
            Verb::Delete => Self::Delete(Delete {}),
        })
    }
}

/// The verbs of jobs: last token of a job's subject, `verb` of a job in REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// See [`Change::Deploy`].
    Deploy,
    /// See [`Change::Restart`].
    Restart,
    /// See [`Change::Stop`].
    Stop,
    /// See [`Change::Start`].
    Start,
    /// See [`Change::Expose`].
    Expose,
    /// See [`Change::Cancel`].
    Cancel,
    /// See [`Change::Repair`].
    Repair,
    /// See [`Change::Delete`].
    Delete,
}

impl Verb {
    /// Every verb there is.
    pub const ALL: [Self; 8] =
        [Self::Deploy, Self::Restart, Self::Stop, Self::Start, Self::Expose, Self::Cancel, Self::Repair, Self::Delete];

    /// The verb as it stands in subjects, in PostgreSQL and in REST.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Expose => "expose",
            Self::Cancel => "cancel",
            Self::Repair => "repair",
            Self::Delete => "delete",
        }
    }
}

impl FromStr for Verb {
    type Err = UnknownVerb;

    fn from_str(text: &str) -> Result<Self, UnknownVerb> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or(UnknownVerb)
    }
}

/// A text that is no verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a verb of a job")]
pub struct UnknownVerb;

/// What an order is to be in its region. Making it so is harmless when repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The revision's number.
    pub revision: Revision,
    /// When a job that makes a pod has succeeded.
    pub until: Until,
    /// The revision's contents.
    pub pod: Pod,
    /// Whether the pod runs.
    #[serde(default, skip_serializing_if = "Run::is_running")]
    pub run: Run,
    /// The job that made the pod, or last had it made anew: while it stays the same, the pod is left alone. None = this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_job: Option<JobId>,
    /// By which domains it is reached.
    #[serde(default, skip_serializing_if = "Exposure::is_never")]
    pub exposure: Exposure,
}

/// Whether an order's pod runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// There is a pod.
    #[default]
    Running,
    /// There is none; all else that belongs to the order is kept.
    Stopped,
}

impl Run {
    /// Whether there is a pod.
    pub fn is_running(&self) -> bool {
        *self == Self::Running
    }
}

/// When a job that makes a pod has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// All objects are accepted and the pod was made.
    #[default]
    Created,
    /// The rollout is complete: every container is ready.
    Available,
}

/// Removes all that the order has in the region. Harmless when repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {}

/// A job's one terminal end, as published to RESULTS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// Which job.
    pub id: JobId,
    /// Of which order.
    pub order: OrderId,
    /// How it ended.
    pub outcome: Outcome,
    /// How many deliveries the broker made of the job up to its end.
    pub attempts: u32,
    /// When the worker began the attempt that ended it.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Which worker ended it.
    pub worker: Instance,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// It did what was asked.
    Succeeded,
    /// It did not, and never will. What was there before it is there still.
    Failed(Failure),
    /// It did not come up in time, but what it wrote stands in the cluster, or may: the order goes on holding its ports.
    Unready(Failure),
    /// A newer job of the order had begun; this one changed nothing that lasts.
    Superseded {
        /// The newer job's sequence.
        by: Sequence,
    },
    /// A newer job of the order had begun while what this one wrote stood in the cluster. Should the newer one write
    /// nothing, it stands still: until that one's end is known, the order goes on holding this one's ports.
    Overtaken {
        /// The newer job's sequence.
        by: Sequence,
    },
}

/// Tells a waiting api that a worker has begun a job. May be lost: nothing depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStarted {
    /// Which job.
    pub id: JobId,
    /// The broker's count of its deliveries.
    pub attempts: u32,
    /// When it began.
    pub started_at: Timestamp,
}

/// What a worker tells the inbox of the api that accepted a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The job has begun.
    Started(JobStarted),
    /// The job has ended: a copy of what stands in RESULTS.
    Ended(JobResult),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Committed samples: what was once sent must still decode, and print as it was.
    #[test]
    fn committed_samples_of_jobs_and_results_still_decode() {
        fn same<T: serde::de::DeserializeOwned + Serialize>(sample: &str) {
            let read: T = serde_json::from_str(sample).unwrap();
            let printed = serde_json::to_value(&read).unwrap();
            assert_eq!(printed, serde_json::from_str::<serde_json::Value>(sample).unwrap());
        }
        same::<Job>(include_str!("../samples/job-deploy.json"));
        same::<Job>(include_str!("../samples/job-stop.json"));
        same::<Job>(include_str!("../samples/job-delete.json"));
        same::<JobResult>(include_str!("../samples/result-succeeded.json"));
        same::<JobResult>(include_str!("../samples/result-failed.json"));
        same::<JobResult>(include_str!("../samples/result-unready.json"));
        same::<JobResult>(include_str!("../samples/result-superseded.json"));
        same::<JobResult>(include_str!("../samples/result-overtaken.json"));
    }

    #[test]
    fn a_job_with_an_unknown_field_is_refused_and_a_result_with_one_is_read() {
        let mut job: serde_json::Value = serde_json::from_str(include_str!("../samples/job-delete.json")).unwrap();
        job["change"]["delete"]["force"] = true.into();
        assert!(serde_json::from_value::<Job>(job).is_err());

        let sample = include_str!("../samples/result-succeeded.json");
        let mut result: serde_json::Value = serde_json::from_str(sample).unwrap();
        result["energy"] = 7.into();
        assert!(serde_json::from_value::<JobResult>(result).is_ok());
    }

    #[test]
    fn every_verb_prints_as_it_is_serialized() {
        for verb in Verb::ALL {
            assert_eq!(serde_json::to_value(verb).unwrap(), verb.as_str());
            assert_eq!(verb.as_str().parse(), Ok(verb));
        }
    }
}
