//! What a pod uses. The kubelet of its node knows best and costs the apiserver nothing; where it does not answer, the
//! metrics API knows CPU and memory; where there is none, nothing is known, which is no failure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Cluster;

/// What one pod uses; what is not known is none.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct PodUsage {
    /// Its containers that run, by name.
    pub containers: BTreeMap<String, ContainerUsage>,
    /// What it receives, in bits per second.
    pub download: Option<u64>,
    /// What it sends, in bits per second.
    pub upload: Option<u64>,
    /// What its claimed volumes hold, in bytes.
    pub storage: Option<u64>,
}

/// What one container uses.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct ContainerUsage {
    /// CPU, in cores.
    pub cores: Option<f64>,
    /// Memory without caches that the kernel can drop, in bytes.
    pub memory: Option<u64>,
}

impl Cluster {
    /// What a pod on the node of this address uses. Costs no request to the apiserver while the kubelet answers, and at
    /// most one.
    pub async fn usage(&self, node: IpAddr, namespace: &str, pod: &str) -> PodUsage {
        if let Some(kubelets) = &self.kubelets
            && let Some(usage) = kubelets.usage(node, namespace, pod).await
        {
            return usage;
        }
        self.metrics(namespace, pod).await.unwrap_or_else(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "use of a pod is not known");
            PodUsage::default()
        })
    }
}
