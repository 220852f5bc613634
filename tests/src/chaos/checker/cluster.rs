//! The cluster: it holds what was accepted last, and nothing of a live order ever went from it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Finding;
use crate::agreement::{Objects, at, disagreement};
use crate::chaos::evidence::{Evidence, JobRecord, NamespaceSeen, OrderRecord};

/// I4.
pub(super) fn cluster_is_as_accepted(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I4", "the cluster is as was accepted last, and nothing of ended orders is left");
    let mut newest: BTreeMap<&str, Vec<&JobRecord>> = BTreeMap::new();
    for job in &evidence.jobs {
        newest.entry(&job.order).or_default().push(job);
    }
    for (id, order) in &evidence.orders {
        let mut jobs = newest.remove(id.as_str()).unwrap_or_default();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.sequence));
        let standing = jobs.iter().find(|job| job.stands()).map_or(&Value::Null, |job| &job.target);
        let same = |target: &Value| ["/revision", "/run", "/pod_job"].iter().all(|p| at(target, p) == at(standing, p));
        let wrong = [&order.target, &order.deployed].into_iter().find(|target| !same(target));
        finding.look(wrong.map(|wrong| format!("{id} is {wrong} on record, and its jobs made it {standing}")));
        let objects = evidence.cluster.get(id).and_then(Option::as_ref);
        finding.look(wrong_in_cluster(order, objects).map(|wrong| format!("{id} should be {}: {wrong}", order.target)));
    }
    for namespace in &evidence.strange_namespaces {
        finding.look(Some(format!("{namespace} is no order's")));
    }
    finding
}

/// What is in the cluster of an order and should not be, or the other way round; `objects`: none = it has no namespace.
pub fn wrong_in_cluster(order: &OrderRecord, objects: Option<&Objects>) -> Option<String> {
    match objects {
        None if order.target.is_null() => None,
        None => Some("it has no namespace".to_owned()),
        Some(_) if order.target.is_null() => Some("its namespace is still there".to_owned()),
        Some(objects) => disagreement(objects, &order.target, &order.body, &order.ports),
    }
}

/// I9.
pub(super) fn nothing_was_deleted(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I9", "no namespace of a live order went or was made anew");
    let removed = evidence.jobs.iter().filter(|job| job.target.is_null()).map(|job| job.order.as_str());
    let removed: BTreeSet<&str> = removed.collect();
    let mut seen: BTreeMap<&str, Vec<&NamespaceSeen>> = BTreeMap::new();
    for namespace in &evidence.namespaces {
        seen.entry(&namespace.order).or_default().push(namespace);
    }
    for (id, order) in evidence.orders.iter().filter(|(id, order)| !order.has_ended && !removed.contains(id.as_str())) {
        let of_order = seen.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let wrong = of_order.len() > 1 || of_order.iter().any(|namespace| namespace.is_going);
        let lost = of_order.is_empty() && !order.deployed.is_null();
        finding.look((wrong || lost).then(|| format!("nobody ended {id}, and its namespace was {of_order:?}")));
    }
    finding
}
