//! Questions asked of a region and the form of their answers. An answer is bytes: its head travels in headers, so that a
//! log is never wrapped, escaped or copied on its way.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::log::{Mark, RunId};
use crate::name::{ContainerName, OrderId, RegionCode, Revision};
use crate::sealed::{PublicKey, Sealed};
use crate::usage::UsageQuery;

/// The version of the read's form.
pub const READ_VERSION: u32 = 1;

/// The most bytes of one part of an answer; longer answers go in several messages (`design.md` §5).
pub const MAX_PART_BYTES: usize = 512 << 10;

/// How long an answer is waited for, unless the api is told otherwise.
pub const USUAL_DEADLINE: Duration = Duration::from_secs(10);

/// The most bytes of a log that one answer holds (`wire.md` §3).
pub const MAX_LOG_BYTES: usize = 1 << 20;

/// The most bytes of a whole answer that the api accepts from a region.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;

/// One question about one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// [`READ_VERSION`].
    pub version: u32,
    /// About which order.
    pub order: OrderId,
    /// Where it runs.
    pub region: RegionCode,
    /// What is asked.
    pub query: Query,
}

/// What a read asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Query {
    /// The log of one container: the answer is the log's own bytes.
    Log(LogQuery),
    /// The pod's state: the answer is a [`Status`].
    Status(StatusQuery),
    /// Sealed values of the order, sealed to another key: the answer is a list of [`Sealed`] in JSON.
    Reseal(ResealQuery),
    /// What the pod uses: the answer is a [`Usage`](crate::usage::Usage).
    Usage(UsageQuery),
    /// A part of a container's log: the answer is a [`PageHead`](crate::log::PageHead) and lines.
    LogPage(LogPageQuery),
    /// A container's log from now on: the answer is chunks of lines until the run ends or nobody listens.
    LogFollow(LogFollowQuery),
}

impl Query {
    /// The last token of the read's subject.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Status(_) => "status",
            Self::Reseal(_) => "reseal",
            Self::Usage(_) => "usage",
            Self::LogPage(_) => "log-page",
            Self::LogFollow(_) => "log-follow",
        }
    }
}

/// Which part of which log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// The container; none = the pod's only one.
    pub container: Option<ContainerName>,
    /// Only the last lines, counted.
    pub tail_lines: Option<u32>,
    /// Only what is younger than this many seconds.
    pub since_seconds: Option<u32>,
    /// The log of the container before its last restart.
    pub previous: bool,
    /// Whether each line begins with its time (RFC 3339).
    pub timestamps: bool,
}

/// Where a page of a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LogStart {
    /// With the first line that there is.
    Beginning,
    /// With the last lines, counted.
    Tail(u32),
    /// With the first line that is not older: seconds since 1970.
    Since(i64),
    /// With this line.
    At(Mark),
    /// After this line.
    After(Mark),
}

/// Which part of which run's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPageQuery {
    /// The container; none = the pod's only one.
    pub container: Option<ContainerName>,
    /// The run; none = the present one.
    pub run: Option<RunId>,
    /// Where it begins.
    pub from: LogStart,
}

/// Which run's log is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFollowQuery {
    /// The container.
    pub container: ContainerName,
    /// The run.
    pub run: RunId,
    /// After this line; none = from the first.
    pub after: Option<Mark>,
}

/// Asks for the pod's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {
    /// The order's newest accepted revision: tells a fresh pod from one that is about to be replaced.
    pub revision: Revision,
}

/// Asks for sealed values, readable by who asks: a customer's environment, when its customer wants to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResealQuery {
    /// Whom to seal them to.
    pub key: PublicKey,
    /// Values that were sealed to the region.
    pub values: Vec<Sealed>,
}

/// The pod's state as Kubernetes prints it: nothing renamed, nothing dropped (`wire.md` §3).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The pod's name; the Deployment's while there is no pod.
    pub name: String,
    /// The pod's `status`; `{}` while there is no pod.
    pub pod_status: Box<RawValue>,
    /// The pod's `spec`, or the Deployment's template's.
    pub pod_spec: Box<RawValue>,
    /// The pod's annotations, or the template's.
    pub annotations: Box<RawValue>,
    /// When the worker last heard of this from the cluster, RFC 3339.
    pub observed_at: String,
    /// Whether the pod may be otherwise by now: a newer revision was accepted than the one shown, or the worker's watch of the
    /// cluster is broken.
    pub stale: bool,
}

/// How the worker answers, told by the header `Vkube-Answer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// The body is what was asked for.
    Ok,
    /// The body is a [`Failure`](crate::failure::Failure) in JSON.
    Failure,
}

impl AnswerKind {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failure",
        }
    }

    /// Reads the header's value.
    pub fn from_header(text: &str) -> Option<Self> {
        [Self::Ok, Self::Failure].into_iter().find(|kind| kind.as_str() == text)
    }
}
