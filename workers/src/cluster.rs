//! The cluster as the worker sees it. The only user of `kube::Client`: every call has a deadline, a bounded number of
//! calls is in flight, and what the apiserver answers is classified here and nowhere else.

mod call;
pub mod classify;
mod deployments;
pub mod fence;
mod kubelet;
pub mod log_lines;
mod log_stream;
mod logs;
pub mod managers;
mod metrics;
mod mirror;
mod nodes;
mod object;
pub mod objects;
mod pods;
mod resources;
mod summary;
mod take_over;
mod usage;

pub use call::{Cluster, ClusterError, ConnectError, Expect};
pub use deployments::DeploymentSeen;
pub use log_lines::Lines;
pub use log_stream::{LogRange, LogSource};
pub use logs::Log;
pub use mirror::{Mirror, Scope, Seen};
pub use nodes::{Facts, NodeSeen};
pub use object::Object;
pub use pods::{ContainerSeen, PodSeen, Run, Terminated, Waiting};
pub use usage::{ContainerUsage, PodUsage};

use fence::FenceSeen;
use futures::future::join_all;
use kube::core::{ApiResource, GroupVersionKind};
use objects::Objects;
use tokio_util::sync::CancellationToken;

use crate::kubernetes::{Kind, LABEL_ORDER};

/// What the worker follows all the time: a status costs no request, and a change is seen when it happens.
#[derive(Debug)]
pub struct Mirrors {
    /// Every pod of the cluster: foreign ones hold ports too.
    pub pods: Mirror<PodSeen>,
    /// The orders' Deployments.
    pub deployments: Mirror<DeploymentSeen>,
    /// The orders' other objects, by kind.
    pub objects: Objects,
    /// The orders' fences.
    pub fences: Mirror<FenceSeen>,
}

impl Default for Mirrors {
    fn default() -> Self {
        let (pods, deployments, fences) = (Mirror::default(), Mirror::default(), Mirror::default());
        Self { pods, deployments, objects: objects::mirrors(), fences }
    }
}

impl Mirrors {
    /// Whether all of them show how things are.
    pub fn are_live(&self) -> bool {
        let others = self.objects.values().all(Mirror::is_live) && self.fences.is_live();
        self.pods.is_live() && self.deployments.is_live() && others
    }

    /// Keeps all of them up to date until told to stop; fences are in the namespace of that name.
    pub async fn follow(&self, cluster: &Cluster, fences: &str, stop: &CancellationToken) {
        let pods = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Pod"), "pods");
        let pods = Scope { resource: pods, namespace: None, label: None, metadata_only: false };
        let of_orders = |kind: Kind, metadata_only: bool| Scope {
            resource: kind.resource(),
            namespace: None,
            label: Some(LABEL_ORDER),
            metadata_only,
        };
        let deployments = of_orders(Kind::Deployment, false);
        let fences = Scope { namespace: Some(fences.to_owned()), ..of_orders(Kind::Lease, true) };
        let objects = self.objects.iter().map(async |(kind, mirror)| {
            mirror.follow(cluster, &of_orders(*kind, true), stop).await;
        });
        futures::join!(
            self.pods.follow(cluster, &pods, stop),
            self.deployments.follow(cluster, &deployments, stop),
            self.fences.follow(cluster, &fences, stop),
            join_all(objects),
        );
    }
}
