//! A kubelet's `/stats/summary`, reduced to the figures of orders' pods. Network figures are counters: a rate is what they
//! grew by since the answer before, so each answer keeps what it needs of the one before it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::{ContainerUsage, PodUsage};
use crate::kubernetes::order_of;

/// A rate over more than this says nothing of now.
const WIDEST_WINDOW: Duration = Duration::from_mins(2);

/// What a kubelet last said, of orders' pods alone.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pods: HashMap<PodRef, Pod>,
}

#[derive(Debug)]
struct Pod {
    usage: PodUsage,
    now: Option<Counters>,
    before: Option<Counters>,
}

/// Bytes since the pod's network was made.
#[derive(Debug, Clone, Copy)]
struct Counters {
    /// By the kubelet's clock, in whole seconds.
    counted: Timestamp,
    /// By ours.
    heard: Instant,
    received: u64,
    sent: u64,
}

#[derive(Deserialize)]
struct Answer {
    pods: Option<Vec<PodStats>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    containers: Option<Vec<ContainerStats>>,
    network: Option<NetworkStats>,
    volume: Option<Vec<VolumeStats>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
struct PodRef {
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ContainerStats {
    name: String,
    cpu: Option<CpuStats>,
    memory: Option<MemoryStats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CpuStats {
    usage_nano_cores: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MemoryStats {
    working_set_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkStats {
    time: Timestamp,
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeStats {
    /// The claim; none = a volume that is not kept.
    pvc_ref: Option<serde::de::IgnoredAny>,
    used_bytes: Option<u64>,
}

impl Summary {
    /// What the next answer says, heard now.
    pub(super) fn next(&self, answer: &[u8], heard: Instant) -> Result<Self, serde_json::Error> {
        let answer: Answer = serde_json::from_slice(answer)?;
        let pods = answer.pods.unwrap_or_default().into_iter();
        let ours = pods.filter(|pod| order_of(&pod.pod_ref.namespace).is_some());
        let pods = ours.map(|stats| {
            let now = stats.network.as_ref().and_then(|network| Counters::read(network, heard));
            let before = self.pods.get(&stats.pod_ref).and_then(|pod| match (pod.now, now) {
                // Some kubelets count every ten seconds only, and say the same until then.
                (Some(last), Some(now)) if last.counted == now.counted => pod.before,
                (last, _) => last,
            });
            (stats.pod_ref.clone(), Pod { usage: usage(stats), now, before })
        });
        Ok(Self { pods: pods.collect() })
    }

    /// What a pod uses.
    pub(super) fn usage(&self, namespace: &str, name: &str) -> PodUsage {
        let Some(pod) = self.pod(namespace, name) else { return PodUsage::default() };
        let (download, upload) = pod.rates().unzip();
        PodUsage { download, upload, ..pod.usage.clone() }
    }

    /// Whether another answer would tell the rates of a pod.
    pub(super) fn wants_another(&self, namespace: &str, name: &str) -> bool {
        self.pod(namespace, name).is_some_and(|pod| pod.now.is_some() && pod.rates().is_none())
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.get(&PodRef { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl Pod {
    /// Bits per second, received and sent.
    fn rates(&self) -> Option<(u64, u64)> {
        self.before?.rates_until(&self.now?)
    }
}

impl Counters {
    fn read(network: &NetworkStats, heard: Instant) -> Option<Self> {
        Some(Self { counted: network.time, heard, received: network.rx_bytes?, sent: network.tx_bytes? })
    }

    /// None when nothing can be told: no time between them, too much of it, or a network that was made anew.
    fn rates_until(&self, later: &Self) -> Option<(u64, u64)> {
        let (ours, theirs) = (later.heard - self.heard, later.counted.duration_since(self.counted));
        let theirs = Duration::try_from(theirs).ok()?;
        // Ours is finer, and is right where the kubelet counted when it was asked.
        let window = if ours.abs_diff(theirs) < Duration::from_secs(1) { ours } else { theirs };
        if window.is_zero() || window > WIDEST_WINDOW {
            return None;
        }
        let rate = |bytes: u64| u64::try_from(u128::from(bytes) * 8000 / window.as_millis().max(1)).ok();
        Some((rate(later.received.checked_sub(self.received)?)?, rate(later.sent.checked_sub(self.sent)?)?))
    }
}

/// What is known without the answer before.
fn usage(stats: PodStats) -> PodUsage {
    let container = |stats: ContainerStats| {
        let nano_cores = stats.cpu.and_then(|cpu| cpu.usage_nano_cores);
        let usage = ContainerUsage {
            cores: nano_cores.map(|nano| nano / 1e9),
            memory: stats.memory.and_then(|memory| memory.working_set_bytes),
        };
        (stats.name, usage)
    };
    let claimed = stats.volume.into_iter().flatten().filter(|volume| volume.pvc_ref.is_some());
    PodUsage {
        containers: stats.containers.into_iter().flatten().map(container).collect(),
        storage: claimed.filter_map(|volume| volume.used_bytes).reduce(u64::saturating_add),
        ..PodUsage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// As a kubelet of Kubernetes 1.36 printed it: a pod of two containers, one of them busy, with a claimed volume.
    const SAMPLE: &str = include_str!("../../samples/kubelet-summary.json");

    fn at(seconds: f64) -> Instant {
        // One instant for all of a test's.
        static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        *BEGAN + Duration::from_secs_f64(seconds)
    }

    /// An answer of one pod with these counters at this second.
    fn answer(second: u32, received: u64, sent: u64) -> Vec<u8> {
        let network = json!({ "time": format!("2026-11-25T09:{:02}:{:02}Z", second / 60, second % 60),
            "rxBytes": received, "txBytes": sent });
        let pod = json!({ "podRef": { "namespace": "vkube-a", "name": "p" }, "network": network });
        json!({ "node": {}, "pods": [pod] }).to_string().into_bytes()
    }

    fn rates(answers: &[(f64, Vec<u8>)]) -> (Option<u64>, Option<u64>) {
        let next = |summary: Summary, (heard, answer): &(f64, Vec<u8>)| summary.next(answer, at(*heard)).unwrap();
        let usage = answers.iter().fold(Summary::default(), next).usage("vkube-a", "p");
        (usage.download, usage.upload)
    }

    #[test]
    fn a_kubelets_own_answer_is_read() {
        let summary = Summary::default().next(SAMPLE.as_bytes(), at(0.0)).unwrap();
        let usage = summary.usage("vkube-a", "p");
        assert_eq!(usage.containers.keys().collect::<Vec<_>>(), ["busy", "idle"]);
        let seen = usage.containers["busy"];
        assert!(seen.cores.is_some_and(|cores| (0.8..1.1).contains(&cores)), "{seen:?}");
        assert!(seen.memory.is_some_and(|bytes| bytes > 1 << 16), "{seen:?}");
        assert_eq!(usage.storage, Some(35_200_786_432), "of the claim alone");
        assert_eq!((usage.download, usage.upload), (None, None), "one answer tells no rate");
        assert!(summary.wants_another("vkube-a", "p") && !summary.wants_another("vkube-a", "gone"));
        assert_eq!(summary.usage("vkube-a", "gone"), PodUsage::default());
    }

    #[test]
    fn what_is_missing_is_not_known() {
        for (case, stats) in [
            ("nothing", json!({})),
            ("null lists", json!({ "containers": null, "volume": null })),
            ("no counters", json!({ "network": { "time": "2026-11-25T09:00:00Z", "name": "" } })),
            ("a volume that is no claim", json!({ "volume": [{ "name": "tmp", "usedBytes": 1 }] })),
            ("a claim that is not measured", json!({ "volume": [{ "name": "d", "pvcRef": { "name": "d" } }] })),
        ] {
            let mut pod = stats;
            pod["podRef"] = json!({ "namespace": "vkube-a", "name": "p" });
            let summary = Summary::default().next(json!({ "pods": [pod] }).to_string().as_bytes(), at(0.0)).unwrap();
            assert_eq!(summary.usage("vkube-a", "p"), PodUsage::default(), "{case}");
            assert!(!summary.wants_another("vkube-a", "p"), "{case}");
        }
        let container = json!([{ "name": "web", "cpu": {}, "memory": null },
            { "name": "large", "cpu": { "usageNanoCores": 64_000_000_000_u64 } }]);
        let pod = json!({ "podRef": { "namespace": "vkube-a", "name": "p" }, "containers": container });
        let summary = Summary::default().next(json!({ "pods": [pod] }).to_string().as_bytes(), at(0.0)).unwrap();
        let containers = summary.usage("vkube-a", "p").containers;
        assert_eq!(containers["web"], ContainerUsage::default());
        assert_eq!(containers["large"], ContainerUsage { cores: Some(64.0), memory: None });
        assert!(Summary::default().next(b"{\"pods\": null}", at(0.0)).is_ok());
        assert!(Summary::default().next(b"<html>", at(0.0)).is_err());
    }

    #[test]
    fn a_rate_is_what_counters_grew_by_over_the_time_between() {
        for (case, answers, expected) in [
            ("one answer", vec![(0.0, answer(0, 0, 0))], None),
            ("by our clock", vec![(0.2, answer(0, 0, 100)), (5.7, answer(5, 5500, 1200))], Some((8000, 1600))),
            ("by theirs", vec![(0.0, answer(0, 0, 0)), (5.0, answer(10, 1000, 10))], Some((800, 8))),
            (
                "counted again only later",
                vec![(0.0, answer(0, 0, 0)), (10.0, answer(10, 1000, 10)), (15.0, answer(10, 1000, 10))],
                Some((800, 8)),
            ),
            (
                "of the last two",
                vec![(0.0, answer(0, 0, 0)), (10.0, answer(10, 9999, 9999)), (20.0, answer(20, 9999, 9999))],
                Some((0, 0)),
            ),
            ("a network made anew", vec![(0.0, answer(0, 500, 500)), (5.0, answer(5, 100, 900))], None),
            (
                "once more after that",
                vec![(0.0, answer(0, 500, 500)), (5.0, answer(5, 0, 0)), (7.0, answer(7, 250, 500))],
                Some((1000, 2000)),
            ),
            ("too long ago", vec![(0.0, answer(0, 0, 0)), (121.0, answer(121, 1, 1))], None),
            ("a clock set back", vec![(0.0, answer(9, 0, 0)), (5.0, answer(4, 1, 1))], None),
        ] {
            assert_eq!(rates(&answers), expected.unzip(), "{case}");
        }
    }

    #[test]
    fn pods_that_are_no_orders_or_gone_are_not_kept() {
        let mut pods: Value = serde_json::from_slice(&answer(0, 0, 0)).unwrap();
        pods["pods"][0]["podRef"]["namespace"] = "kube-system".into();
        let summary = Summary::default().next(&answer(0, 0, 0), at(0.0)).unwrap();
        assert_eq!(summary.pods.len(), 1);
        assert!(summary.next(pods.to_string().as_bytes(), at(5.0)).unwrap().pods.is_empty());
    }
}
