//! What an order is to be in its region, as the columns `target` and `deployed` hold it. Beside what is here they say
//! `stopped_by: end` while nobody but the order's end has stopped it.

use common::ingress::Exposure;
use common::job::{Run, Target, Until};
use common::name::{JobId, Revision};
use common::pod::Pod;
use serde::{Deserialize, Serialize};

/// A [`Target`] without the pod, which the revision says, and without what its job waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTarget {
    /// The revision.
    pub revision: Revision,
    /// Whether its pod runs.
    pub run: Run,
    /// The job that made the pod, or last had it made anew.
    pub pod_job: JobId,
    /// By which domains it is reached.
    #[serde(default)]
    pub exposure: Exposure,
}

impl StoredTarget {
    /// The whole target of a job, for a worker.
    pub fn with(self, job: JobId, pod: Pod, until: Until) -> Target {
        let Self { revision, run, pod_job, exposure } = self;
        Target { revision, until, pod, run, pod_job: Some(pod_job).filter(|made_by| *made_by != job), exposure }
    }
}

/// A change that makes no revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What is laid over the target.
    pub patch: Patch,
    /// Whether the order must run.
    pub needs_run: bool,
    /// Whether the job makes the pod of an order that is stopped.
    pub revives: bool,
}

/// How a change turns the order's target into its job's: a JSON object that is laid over it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Patch {
    /// Whether the pod runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The job that makes the pod anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_job: Option<JobId>,
    /// By which domains it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
}
