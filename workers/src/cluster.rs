//! The cluster as the worker sees it. The only user of `kube::Client`: every call has a deadline, a bounded number of
//! calls is in flight, and what the apiserver answers is classified here and nowhere else.

mod call;
pub mod classify;
mod deployments;
pub mod fence;
mod kubelet;
mod log_lines;
mod log_stream;
mod logs;
mod metrics;
mod mirror;
mod nodes;
mod object;
mod pods;
mod resources;
mod summary;
mod usage;

pub use call::{Cluster, ClusterError, ConnectError, Expect};
pub use deployments::DeploymentSeen;
pub use log_lines::Lines;
pub use log_stream::{LogRange, LogSource};
pub use logs::Log;
pub use mirror::{Mirror, Seen};
pub use nodes::{Facts, NodeSeen};
pub use object::Object;
pub use pods::{ContainerSeen, PodSeen, Run, Terminated, Waiting};
pub use usage::{ContainerUsage, PodUsage};

/// What the worker follows all the time: a status costs no request, and a change is seen when it happens.
#[derive(Debug, Default)]
pub struct Mirrors {
    /// Every pod of the cluster: foreign ones hold ports too.
    pub pods: Mirror<PodSeen>,
    /// The orders' Deployments.
    pub deployments: Mirror<DeploymentSeen>,
}
