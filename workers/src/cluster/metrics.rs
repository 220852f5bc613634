//! CPU and memory of a pod from the metrics API, which a cluster need not have.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::GetParams;
use kube::core::Request;
use serde::Deserialize;

use super::call::{Cluster, ClusterError};
use super::{ContainerUsage, PodUsage};

/// Short: a kubelet may have been waited for before.
const METRICS_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct PodMetrics {
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, String>,
}

impl Cluster {
    /// CPU and memory of a pod's containers; the rest is not known here.
    pub(super) async fn metrics(&self, namespace: &str, pod: &str) -> Result<PodUsage, ClusterError> {
        let what = "read pod metrics";
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        let request = Request::new(path).get(pod, &GetParams::default());
        let request = request.map_err(|error| ClusterError::request(what, error))?;
        let answer = self.call_once(what, METRICS_TIMEOUT, request).await?;
        let metrics: PodMetrics =
            serde_json::from_str(&answer).map_err(|error| ClusterError::kube(what, kube::Error::SerdeError(error)))?;
        Ok(PodUsage { containers: metrics.containers.into_iter().map(container).collect(), ..PodUsage::default() })
    }
}

fn container(metrics: ContainerMetrics) -> (String, ContainerUsage) {
    let figure = |key: &str| quantity(metrics.usage.get(key)?);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "memory is positive and below 2^53")]
    let memory = figure("memory").map(|bytes| bytes as u64);
    let usage = ContainerUsage { cores: figure("cpu"), memory };
    (metrics.name, usage)
}

/// A Kubernetes quantity: `12345n`, `250m`, `1`, `4Mi`.
fn quantity(text: &str) -> Option<f64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        _ => return None,
    };
    number.parse::<f64>().ok().filter(|number| *number >= 0.0 && number.is_finite()).map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_prints_them() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("250m", Some(0.25)),
            ("2", Some(2.0)),
            ("500000000n", Some(0.5)),
            ("4Mi", Some(4_194_304.0)),
            ("1536Ki", Some(1_572_864.0)),
            ("", None),
            ("-1", None),
            ("inf", None),
            ("1e3", None),
            ("1Xi", None),
        ] {
            let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
            let read = quantity(text);
            assert!(read.zip(expected).map_or(read == expected, |(a, b)| close(a, b)), "{text}: {read:?}");
        }
    }

    #[test]
    fn a_container_without_a_figure_is_still_named() {
        let metrics = r#"{"containers": [{"name": "web", "usage": {"cpu": "1500m"}}, {"name": "side"}]}"#;
        let metrics: PodMetrics = serde_json::from_str(metrics).unwrap();
        let containers: Vec<_> = metrics.containers.into_iter().map(container).collect();
        let web = ContainerUsage { cores: Some(1.5), memory: None };
        assert_eq!(containers, [("web".to_owned(), web), ("side".to_owned(), ContainerUsage::default())]);
    }
}
