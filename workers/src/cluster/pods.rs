//! A pod as the worker remembers it: what its rules need, and, for an order's pod, the JSON that customers see.

use common::name::{JobId, OrderId, Revision};
use common::port::{HostPort, Protocol};
use common::presence::Resources;
use jiff::Timestamp;
use kube::core::DynamicObject;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::Seen;
use super::resources::requests;
use crate::kubernetes::{ANNOTATION_JOB, ANNOTATION_REVISION, LABEL_ORDER, order_of};

/// One pod.
#[derive(Debug)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The order it runs; none = a foreign pod.
    pub order: Option<OrderId>,
    /// The revision it runs.
    pub revision: Option<Revision>,
    /// The job that made it.
    pub job: Option<JobId>,
    /// When it was made: seconds since 1970.
    pub created: i64,
    /// Whether it is about to be gone.
    pub terminating: bool,
    /// Whether all of its containers have ended for good.
    pub finished: bool,
    /// The node it is on.
    pub node: Option<String>,
    /// The region whose nodes it wants; none = any.
    pub region: Option<String>,
    /// The ports of the node that it holds.
    pub ports: Vec<HostPort>,
    /// What it requests of its node.
    pub requests: Resources,
    /// Why it finds no node, in the scheduler's words.
    pub unschedulable: Option<String>,
    /// Whether all of its containers are ready.
    pub ready: bool,
    /// Its containers, in the order of its spec.
    pub containers: Vec<ContainerSeen>,
    /// Its JSON; none for a foreign pod.
    pub raw: Option<RawPod>,
}

/// The parts of an order's pod that are shown as they are.
#[derive(Debug)]
pub struct RawPod {
    /// `metadata.annotations`.
    pub annotations: Box<RawValue>,
    /// `spec`.
    pub spec: Box<RawValue>,
    /// `status`.
    pub status: Box<RawValue>,
}

/// One container of a pod.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ContainerSeen {
    /// Its name.
    pub name: String,
    /// Why it does not run yet, or again.
    pub waiting: Option<Waiting>,
    /// How it last ended.
    pub ended: Option<Terminated>,
    /// How often it was started again.
    pub restarts: i64,
    /// The run whose log is the container's log now.
    pub run: Option<Run>,
    /// The runtime's id of the run before, whose log may still be there.
    pub previous_run: Option<String>,
}

/// One run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The runtime's id: `containerd://<hex>`.
    pub id: String,
    /// Whether it goes on.
    pub live: bool,
    /// When it began: seconds since 1970.
    pub started: Option<i64>,
}

/// Why a container does not run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Kubernetes' word: `ImagePullBackOff`.
    pub reason: String,
    /// Its explanation.
    pub message: String,
}

/// How a container ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Terminated {
    /// Kubernetes' word: `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// Its explanation.
    pub message: String,
    /// The process's exit code.
    pub exit_code: i64,
}

impl Seen for PodSeen {
    fn from_object(object: DynamicObject) -> Self {
        let DynamicObject { metadata, data, .. } = object;
        let namespace = metadata.namespace.unwrap_or_default();
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_ORDER));
        let order = order_of(&namespace).filter(|order| label.is_some_and(|label| label == order.as_str()));
        let annotations = metadata.annotations.unwrap_or_default();
        let annotation = |key: &str| annotations.get(key).map(String::as_str);
        let (spec, status) = (data.get("spec").unwrap_or(&Value::Null), data.get("status").unwrap_or(&Value::Null));
        let raw = order.as_ref().and_then(|_| {
            Some(RawPod {
                annotations: to_raw_value(&annotations).ok()?,
                spec: to_raw_value(spec).ok()?,
                status: to_raw_value(status).ok()?,
            })
        });
        Self {
            revision: annotation(ANNOTATION_REVISION).and_then(|text| text.parse().ok()),
            job: annotation(ANNOTATION_JOB).and_then(|text| text.parse().ok()),
            created: metadata.creation_timestamp.map_or(0, |at| at.0.as_second()),
            terminating: metadata.deletion_timestamp.is_some(),
            finished: matches!(text(status, "phase"), "Succeeded" | "Failed"),
            node: Some(text(spec, "nodeName")).filter(|node| !node.is_empty()).map(str::to_owned),
            region: spec.pointer("/nodeSelector/region").and_then(Value::as_str).map(str::to_owned),
            ports: host_ports(spec),
            requests: requests(spec),
            unschedulable: unschedulable(status),
            ready: list(status, "conditions").any(|c| text(c, "type") == "Ready" && text(c, "status") == "True"),
            containers: containers(spec, status),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            order,
            raw,
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Every port of its node that a pod holds: of init and sidecar containers too, and each port of a pod that uses the
/// node's own network.
fn host_ports(spec: &Value) -> Vec<HostPort> {
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    let containers = list(spec, "containers").chain(list(spec, "initContainers"));
    let read = |port: &Value| {
        let number = port.get("hostPort").and_then(Value::as_i64).filter(|port| *port > 0);
        let number = number.or_else(|| host_network.then(|| port.get("containerPort")?.as_i64())?)?;
        let protocol = match text(port, "protocol") {
            "" => Protocol::Tcp,
            other => other.parse().ok()?,
        };
        Some(HostPort { protocol, port: number.try_into().ok()? })
    };
    containers.flat_map(|container| list(container, "ports")).filter_map(read).collect()
}

fn unschedulable(status: &Value) -> Option<String> {
    let condition = list(status, "conditions")
        .find(|condition| text(condition, "type") == "PodScheduled" && text(condition, "status") == "False")?;
    (text(condition, "reason") == "Unschedulable").then(|| text(condition, "message").to_owned())
}

fn containers(spec: &Value, status: &Value) -> Vec<ContainerSeen> {
    let seen = |container: &Value| {
        let name = text(container, "name");
        let state = list(status, "containerStatuses").find(|status| text(status, "name") == name);
        let part = |pointer: &str| state.and_then(|status| status.pointer(pointer));
        let waiting = part("/state/waiting")
            .map(|w| Waiting { reason: text(w, "reason").to_owned(), message: text(w, "message").to_owned() });
        let ended = part("/state/terminated").or_else(|| part("/lastState/terminated")).map(|t| Terminated {
            reason: text(t, "reason").to_owned(),
            message: text(t, "message").to_owned(),
            exit_code: t.get("exitCode").and_then(Value::as_i64).unwrap_or_default(),
        });
        let restarts = part("/restartCount").and_then(Value::as_i64).unwrap_or_default();
        let (run, previous_run) = state.map(runs).unwrap_or_default();
        ContainerSeen { name: name.to_owned(), waiting, ended, restarts, run, previous_run }
    };
    list(spec, "containers").map(seen).collect()
}

/// The run whose log the kubelet shows, and the one that it shows as the previous: by its own rule
/// (`validateContainerLogStatus`).
fn runs(status: &Value) -> (Option<Run>, Option<String>) {
    let id = |pointer: &str| {
        let id = status.pointer(pointer).and_then(Value::as_str).filter(|id| !id.is_empty());
        id.map(str::to_owned)
    };
    let run = |id: String, live, state: &str| {
        let started = status.pointer(&format!("{state}/startedAt")).and_then(Value::as_str);
        let started = started.and_then(|at| at.parse::<Timestamp>().ok()).map(Timestamp::as_second);
        Run { id, live, started }
    };
    let last = id("/lastState/terminated/containerID");
    if status.pointer("/state/running").is_some() {
        return (id("/containerID").map(|id| run(id, true, "/state/running")), last);
    }
    match id("/state/terminated/containerID") {
        Some(ended) => (Some(run(ended, false, "/state/terminated")), last),
        None => (last.clone().map(|id| run(id, false, "/lastState/terminated")), last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_of_the_host_are_found_in_every_kind_of_container() {
        for (case, spec, expected) in [
            ("none", json!({"containers": [{"ports": [{"containerPort": 80}]}]}), &[][..]),
            (
                "host port",
                json!({"containers": [{"ports": [{"containerPort": 80, "hostPort": 2999, "protocol": "TCP"}]}]}),
                &["TCP 2999"],
            ),
            (
                "sidecar",
                json!({"containers": [], "initContainers": [{"ports": [{"containerPort": 53, "hostPort": 53, "protocol": "UDP"}]}]}),
                &["UDP 53"],
            ),
            (
                "host network",
                json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 9100}]}]}),
                &["TCP 9100"],
            ),
            (
                "neither TCP nor UDP",
                json!({"containers": [{"ports": [{"containerPort": 1, "hostPort": 1, "protocol": "SCTP"}]}]}),
                &[],
            ),
        ] {
            let ports: Vec<_> = host_ports(&spec).iter().map(|p| format!("{} {}", p.protocol, p.port)).collect();
            assert_eq!(ports, expected, "{case}");
        }
    }

    #[test]
    fn the_log_is_that_of_the_run_that_the_kubelet_shows() {
        let ended = |id: &str| json!({ "terminated": { "containerID": id, "startedAt": "1970-01-01T00:00:07Z" } });
        let running = json!({ "running": { "startedAt": "1970-01-01T00:00:08Z" } });
        for (case, status, run, previous) in [
            ("never ran", json!({ "state": { "waiting": {} } }), None, None),
            ("runs", json!({ "containerID": "a", "state": running }), Some(("a", true)), None),
            (
                "runs again",
                json!({ "containerID": "b", "state": running, "lastState": ended("a") }),
                Some(("b", true)),
                Some("a"),
            ),
            (
                "has ended again",
                json!({ "containerID": "b", "state": ended("b"), "lastState": ended("a") }),
                Some(("b", false)),
                Some("a"),
            ),
            (
                "waits to run again",
                json!({ "containerID": "a", "state": { "waiting": {} }, "lastState": ended("a") }),
                Some(("a", false)),
                Some("a"),
            ),
            ("could not begin", json!({ "state": ended(""), "lastState": ended("a") }), Some(("a", false)), Some("a")),
        ] {
            let started = |live| Some(if live { 8 } else { 7 });
            let run = run.map(|(id, live)| Run { id: id.to_owned(), live, started: started(live) });
            assert_eq!(runs(&status), (run, previous.map(str::to_owned)), "{case}");
        }
    }

    #[test]
    fn a_pod_belongs_to_an_order_by_its_namespace_and_its_label() {
        for (case, namespace, label, order) in [
            ("ours", "vkube-a", json!("a"), Some("a")),
            ("another's label", "vkube-a", json!("b"), None),
            ("no label", "vkube-a", Value::Null, None),
            ("another's namespace", "default", json!("a"), None),
        ] {
            let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": namespace },
                "spec": {"futureField": 1}, "status": {} });
            if !label.is_null() {
                pod["metadata"]["labels"] = json!({ LABEL_ORDER: label });
            }
            let seen = PodSeen::from_object(serde_json::from_value(pod).unwrap());
            assert_eq!(seen.order.as_ref().map(OrderId::as_str), order, "{case}");
            assert_eq!(seen.raw.map(|raw| raw.spec.to_string()), order.map(|_| r#"{"futureField":1}"#.to_owned()));
        }
    }
}
