//! An order's Deployment as the worker remembers it: how far its rollout is.

use common::name::{JobId, Sequence};
use kube::core::DynamicObject;
use serde_json::Value;

use super::Seen;
use super::managers::Managers;
use crate::kubernetes::{ANNOTATION_OBJECTS, ANNOTATION_SEQUENCE, ObjectName, read_names};

/// One Deployment of an order.
#[derive(Debug, Default, Clone)]
pub struct DeploymentSeen {
    /// The job that last wrote it.
    pub job: Option<JobId>,
    /// That job's place among the order's jobs.
    pub sequence: Option<Sequence>,
    /// The objects of the order beside it.
    pub others: Vec<ObjectName>,
    /// Who set its fields.
    pub managers: Managers,
    /// How many pods it is to have; 0 = it is stopped.
    pub wanted: i64,
    /// The names of its pod's containers.
    pub containers: Vec<String>,
    /// Whether the Deployment controller has seen what was last written.
    pub observed: bool,
    /// How many pods it has, those that are ending aside.
    pub pods: i64,
    /// Why no pod is made: a quota, an admission policy.
    pub replica_failure: Option<String>,
    /// Whether Kubernetes has given up waiting for the pod.
    pub deadline_exceeded: bool,
    /// Whether the rollout is complete: the one pod is of the newest template, and available.
    pub complete: bool,
}

impl Seen for DeploymentSeen {
    fn after(&mut self, before: &Self) {
        self.managers.remember(&before.managers);
    }

    fn from_object(object: DynamicObject) -> Self {
        let DynamicObject { metadata, data, .. } = object;
        let status = data.get("status").unwrap_or(&Value::Null);
        let number = |key: &str| status.get(key).and_then(Value::as_i64).unwrap_or_default();
        let condition = |kind: &str| {
            let conditions = status.get("conditions").and_then(Value::as_array)?;
            conditions.iter().find(|condition| condition.get("type").is_some_and(|t| t == kind))
        };
        let says = |kind: &str, key: &str, value: &str| {
            condition(kind).and_then(|condition| condition.get(key)).is_some_and(|found| found == value)
        };
        let observed = number("observedGeneration") >= metadata.generation.unwrap_or_default();
        let wanted = data.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
        let containers = data.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten();
        let names = containers.filter_map(|container| container.get("name")?.as_str().map(str::to_owned));
        let replicas = ["updatedReplicas", "availableReplicas", "replicas"].map(number);
        let message = condition("ReplicaFailure").and_then(|condition| condition.get("message"));
        let managers = Managers::of(&metadata);
        let annotation = |key: &str| metadata.annotations.as_ref()?.get(key);
        Self {
            job: managers.job,
            sequence: annotation(ANNOTATION_SEQUENCE).and_then(|text| text.parse().ok()),
            others: annotation(ANNOTATION_OBJECTS).map(|words| read_names(words)).unwrap_or_default(),
            managers,
            wanted,
            containers: names.collect(),
            observed,
            pods: number("replicas"),
            replica_failure: says("ReplicaFailure", "status", "True")
                .then(|| message.and_then(Value::as_str).unwrap_or_default().to_owned()),
            deadline_exceeded: says("Progressing", "reason", "ProgressDeadlineExceeded"),
            complete: observed
                && says("Progressing", "reason", "NewReplicaSetAvailable")
                && replicas.iter().all(|count| *count == wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rollout_is_complete_when_the_newest_template_is_available() {
        let status = |observed: i64, reason: &str, updated: i64, available: i64| {
            json!({ "observedGeneration": observed, "replicas": 1, "updatedReplicas": updated,
                "availableReplicas": available,
                "conditions": [{ "type": "Progressing", "status": "True", "reason": reason }] })
        };
        for (case, status, complete) in [
            ("complete", status(2, "NewReplicaSetAvailable", 1, 1), true),
            ("not seen yet", status(1, "NewReplicaSetAvailable", 1, 1), false),
            ("still progressing", status(2, "ReplicaSetUpdated", 1, 1), false),
            ("old pod", status(2, "NewReplicaSetAvailable", 0, 1), false),
            ("not available", status(2, "NewReplicaSetAvailable", 1, 0), false),
            ("no status", json!({}), false),
        ] {
            let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "a", "generation": 2 }, "spec": { "replicas": 1 }, "status": status });
            let seen = DeploymentSeen::from_object(serde_json::from_value(object).unwrap());
            assert_eq!(seen.complete, complete, "{case}");
        }
    }
}
