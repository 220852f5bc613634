//! The cluster's nodes, for presence, and to tell whose region a pod's node belongs to.

use std::time::Duration;

use common::presence::Resources;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::call::{Cluster, ClusterError, LIST_TIMEOUT};
use super::resources::amount;

/// More nodes than this are not looked at: the answer is bounded.
const MAX_NODES: u32 = 1000;

/// How often the cluster is asked, and how soon again when it did not answer.
const ASK_EVERY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_secs(5));
/// What is known of the cluster after this long without an answer is no longer known.
const FACTS_STALE_AFTER: Duration = Duration::from_secs(150);

/// What is known of the cluster as a whole.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `v1.36.3`, once it has answered.
    pub version: Option<String>,
    /// All of its nodes.
    pub nodes: Vec<NodeSeen>,
    /// When it last answered.
    pub answered: Option<Instant>,
    /// Whether it answered when it was last asked.
    pub answers: bool,
}

impl Facts {
    /// Whether the cluster can be worked with.
    pub fn is_current(&self) -> bool {
        self.answers && self.answered.is_some_and(|at| at.elapsed() < FACTS_STALE_AFTER)
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its name.
    pub name: String,
    /// The region that its label names.
    pub region: Option<String>,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// Whether it is to take no new pods.
    pub cordoned: bool,
    /// CPU that pods can have, as a Kubernetes quantity.
    pub cpu: String,
    /// Memory that pods can have, as a Kubernetes quantity.
    pub memory: String,
}

impl NodeSeen {
    /// Whether it takes new pods.
    pub fn takes_pods(&self) -> bool {
        self.ready && !self.cordoned
    }

    /// What pods can have on it.
    pub fn capacity(&self) -> Resources {
        amount(&self.cpu, &self.memory)
    }
}

#[derive(Deserialize)]
struct List {
    items: Vec<Value>,
}

impl Cluster {
    /// Keeps the facts up to date until told to stop.
    pub async fn follow_facts(&self, facts: &watch::Sender<Facts>, stop: &CancellationToken) {
        loop {
            let asked = async { Ok::<_, ClusterError>((self.version().await?, self.nodes().await?)) };
            let pause = match asked.await {
                Ok((version, nodes)) => {
                    let answered = Some(Instant::now());
                    facts.send_replace(Facts { version: Some(version), nodes, answered, answers: true });
                    ASK_EVERY.0
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the cluster does not answer");
                    facts.send_modify(|facts| facts.answers = false);
                    ASK_EVERY.1
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// All nodes of the cluster.
    pub async fn nodes(&self) -> Result<Vec<NodeSeen>, ClusterError> {
        let what = "list nodes";
        let request = Request::new("/api/v1/nodes").list(&ListParams::default().limit(MAX_NODES));
        let request = request.map_err(|error| ClusterError::request(what, error))?;
        let answer = self.call(what, LIST_TIMEOUT, request).await?;
        let list: List =
            serde_json::from_str(&answer).map_err(|error| ClusterError::kube(what, kube::Error::SerdeError(error)))?;
        Ok(list.items.iter().map(node).collect())
    }
}

fn node(node: &Value) -> NodeSeen {
    let text = |pointer: &str| node.pointer(pointer).and_then(Value::as_str);
    let owned = |pointer: &str| text(pointer).unwrap_or_default().to_owned();
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is = |condition: &Value, key: &str, value: &str| condition.get(key).is_some_and(|found| found == value);
    let mut conditions = conditions;
    NodeSeen {
        name: owned("/metadata/name"),
        region: text("/metadata/labels/region").map(str::to_owned),
        ready: conditions.any(|c| is(c, "type", "Ready") && is(c, "status", "True")),
        cordoned: node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false),
        cpu: owned("/status/allocatable/cpu"),
        memory: owned("/status/allocatable/memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_takes_pods_if_it_is_ready_and_not_cordoned() {
        for (case, cordoned, status, ready, takes_pods) in [
            ("ready", json!(null), "True", true, true),
            ("cordoned", json!(true), "True", true, false),
            ("lost", json!(false), "Unknown", false, false),
        ] {
            let conditions =
                json!([{ "type": "DiskPressure", "status": "True" }, { "type": "Ready", "status": status }]);
            let seen = node(&json!({ "spec": { "unschedulable": cordoned }, "status": { "conditions": conditions } }));
            assert_eq!((seen.ready, seen.takes_pods()), (ready, takes_pods), "{case}");
        }
    }
}
