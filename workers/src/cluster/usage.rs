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

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// A way to a cluster whose apiserver answers every request so, where no kubelet may be asked.
    fn cluster(status: u16, body: &'static str) -> Cluster {
        let service = tower::service_fn(move |request: Request<Body>| async move {
            assert_eq!(request.uri().path(), "/apis/metrics.k8s.io/v1beta1/namespaces/vkube-a/pods/p");
            Ok::<_, std::io::Error>(
                Response::builder().status(status).body(Body::from(body.as_bytes().to_vec())).unwrap(),
            )
        });
        Cluster::new(kube::Client::new(service, "default"))
    }

    #[tokio::test]
    async fn without_a_kubelet_the_metrics_api_tells_what_it_knows() {
        let web = ContainerUsage { cores: Some(0.25), memory: Some(4 << 20) };
        let known = PodUsage { containers: [("web".to_owned(), web)].into(), ..PodUsage::default() };
        for (case, status, body, expected) in [
            ("it knows", 200, r#"{"containers":[{"name":"web","usage":{"cpu":"250m","memory":"4Mi"}}]}"#, known),
            ("not there", 404, "404 page not found", PodUsage::default()),
            ("away", 503, r#"{"kind":"Status","code":503,"reason":"ServiceUnavailable"}"#, PodUsage::default()),
            ("something else", 200, "[]", PodUsage::default()),
        ] {
            let usage = cluster(status, body).usage(IpAddr::from([10, 0, 0, 2]), "vkube-a", "p").await;
            assert_eq!(usage, expected, "{case}");
        }
    }
}
