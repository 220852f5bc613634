use common::presence::Drift;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::*;
use crate::cluster::objects::KINDS;
use crate::kubernetes::{ANNOTATION_JOB, ANNOTATION_OBJECTS, ANNOTATION_SEQUENCE, FIELD_MANAGER, LABEL_ORDER};

const JOBS: [&str; 2] = ["01920000-0000-7000-8000-000000000001", "01920000-0000-7000-8000-000000000002"];

/// An order's objects as a worker sees them.
struct Cluster {
    mirrors: Mirrors,
    secrets: Secrets,
    memory: Memory,
}

/// An object as the job of this sequence wrote it, with what others set of it.
fn object(kind: Kind, name: &str, sequence: usize, others: &Value) -> DynamicObject {
    let mut managers = vec![json!({ "manager": FIELD_MANAGER, "operation": "Apply",
        "fieldsV1": { "f:spec": { "f:a": {}, "f:b": {} } } })];
    managers.extend(others.as_array().cloned().unwrap_or_default());
    let annotations = json!({ ANNOTATION_JOB: JOBS[sequence - 1], ANNOTATION_SEQUENCE: sequence.to_string(),
        ANNOTATION_OBJECTS: "NetworkPolicy/pod ConfigMap/config-r1 PersistentVolumeClaim/data" });
    let meta = json!({ "name": name, "namespace": "vkube-a", "labels": { LABEL_ORDER: "a" },
        "annotations": annotations, "managedFields": managers });
    serde_json::from_value(json!({ "apiVersion": "v1", "kind": kind.as_str(), "metadata": meta })).unwrap()
}

fn edit() -> Value {
    json!([{ "manager": "kubectl-edit", "operation": "Update", "fieldsV1": { "f:spec": { "f:a": {} } } }])
}

impl Cluster {
    /// One in which the job of this sequence has written all.
    fn after(sequence: usize) -> Self {
        let cluster = Self { mirrors: Mirrors::default(), secrets: Secrets::default(), memory: Memory::default() };
        for kind in KINDS {
            cluster.show(kind, Vec::new());
        }
        cluster.all_of(sequence);
        cluster
    }

    fn all_of(&self, sequence: usize) {
        let none = Value::Null;
        self.mirrors.deployments.show(vec![object(Kind::Deployment, "a", sequence, &none)]);
        self.show(Kind::NetworkPolicy, vec![object(Kind::NetworkPolicy, "pod", sequence, &none)]);
        self.show(Kind::ConfigMap, vec![object(Kind::ConfigMap, "config-r1", sequence, &none)]);
        self.show(Kind::PersistentVolumeClaim, vec![object(Kind::PersistentVolumeClaim, "data", 1, &none)]);
    }

    fn show(&self, kind: Kind, objects: Vec<DynamicObject>) {
        self.mirrors.objects[&kind].show(objects);
    }

    /// What is told of at the next look, while the order's fence is at this sequence; none = at a job that was refused.
    fn look(&mut self, fence: impl Into<Option<u64>>) -> Vec<Drift> {
        let order = OrderThere {
            order: "a".parse().unwrap(),
            namespace: "vkube-a".to_owned(),
            sequence: fence.into().map(|sequence| sequence.try_into().unwrap()),
            deployment: self.mirrors.deployments.get("vkube-a", "a"),
        };
        self.memory.look(&self.mirrors, &self.secrets, &[order])
    }

    /// What is told of at the look after the next.
    fn told(&mut self, fence: impl Into<Option<u64>> + Copy) -> Vec<String> {
        assert_eq!(self.look(fence), [], "what is seen once may be a job's work");
        self.look(fence).into_iter().flat_map(|drift| drift.objects.into_iter().chain(drift.volumes)).collect()
    }
}

#[test]
fn what_is_as_its_job_wrote_it_is_not_told_of() {
    let mut cluster = Cluster::after(1);
    assert!(cluster.told(1).is_empty());
    cluster.all_of(2);
    assert!(cluster.told(2).is_empty());
}

#[test]
fn what_is_missing_or_changed_is_told_of_from_the_second_look_on() {
    let mut cluster = Cluster::after(1);
    assert!(cluster.told(1).is_empty());
    cluster.show(Kind::NetworkPolicy, Vec::new());
    cluster.show(Kind::ConfigMap, vec![object(Kind::ConfigMap, "config-r1", 1, &edit())]);
    assert_eq!(cluster.told(1), ["NetworkPolicy/pod is missing", "ConfigMap/config-r1 was changed by kubectl-edit"]);
    cluster.all_of(1);
    assert!(cluster.told(1).is_empty());
    cluster.mirrors.deployments.show(Vec::new());
    assert_eq!(cluster.told(1), ["Deployment/a is missing"]);
}

#[test]
fn a_field_that_was_removed_is_told_of_until_a_job_writes_it() {
    let mut cluster = Cluster::after(1);
    assert!(cluster.told(1).is_empty());
    let mut less = object(Kind::NetworkPolicy, "pod", 1, &Value::Null);
    let managers = less.metadata.managed_fields.as_mut().unwrap();
    managers[0].fields_v1.as_mut().unwrap().0["f:spec"].as_object_mut().unwrap().remove("f:b");
    cluster.show(Kind::NetworkPolicy, vec![less]);
    assert_eq!(cluster.told(1), ["NetworkPolicy/pod lacks a field"]);
    assert_eq!(cluster.look(1).len(), 1, "it is told of all the time");
    cluster.all_of(2);
    assert!(cluster.told(2).is_empty());
}

#[test]
fn what_a_job_has_left_undone_is_told_of_and_what_was_refused_is_not_waited_for() {
    let mut cluster = Cluster::after(1);
    cluster.show(Kind::NetworkPolicy, Vec::new());
    assert_eq!(cluster.told(2), ["Deployment/a is of an older job"]);
    assert_eq!(cluster.told(None), ["NetworkPolicy/pod is missing"]);
}

#[test]
fn a_volume_that_is_gone_is_told_of_apart() {
    let mut cluster = Cluster::after(1);
    cluster.show(Kind::PersistentVolumeClaim, vec![object(Kind::PersistentVolumeClaim, "data", 1, &edit())]);
    assert!(cluster.told(1).is_empty(), "it may be larger than it was");
    cluster.show(Kind::PersistentVolumeClaim, Vec::new());
    cluster.look(1);
    let [drift] = cluster.look(1).try_into().unwrap();
    assert_eq!((drift.objects, drift.volumes), (vec![], vec!["PersistentVolumeClaim/data is missing".to_owned()]));
}

#[test]
fn a_copy_of_a_deployment_is_nothing_to_the_order() {
    let mut cluster = Cluster::after(1);
    let none = Value::Null;
    let copy = object(Kind::Deployment, "zzz", 1, &edit());
    cluster.mirrors.deployments.show(vec![object(Kind::Deployment, "a", 1, &none), copy]);
    assert!(cluster.told(1).is_empty());
}

#[test]
fn of_too_many_orders_each_is_told_of_in_turn() {
    let mut memory = Memory::default();
    let mirrors = Mirrors::default();
    let orders: Vec<OrderThere> = (0..=2 * MAX_DRIFTED)
        .map(|n| OrderThere {
            order: format!("order-{n}").parse().unwrap(),
            namespace: format!("vkube-order-{n}"),
            sequence: None,
            deployment: None,
        })
        .collect();
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let drifted = memory.look(&mirrors, &Secrets::default(), &orders);
        assert!(drifted.len() <= MAX_DRIFTED);
        told.extend(drifted.into_iter().map(|drift| drift.order));
    }
    assert_eq!(told.len(), orders.len());
}
