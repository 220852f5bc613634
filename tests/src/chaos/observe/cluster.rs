//! What goes on in the cluster: pods and namespaces of orders.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use jiff::Timestamp;

use super::{LIST_EVERY, Seen, lock};
use crate::agreement::{at, host_ports};
use crate::chaos::evidence::{NamespaceSeen, PodSeen, PodsAt};
use crate::cluster::Cluster;

pub(super) async fn watch(cluster: Cluster, seen: Arc<Mutex<Seen>>) {
    loop {
        let listed = list(&cluster, &seen).await;
        lock(&seen).looked("cluster", listed);
        tokio::time::sleep(LIST_EVERY).await;
    }
}

/// The order of a namespace, if it is an order's.
pub fn order_of(namespace: &str) -> Option<&str> {
    namespace.strip_prefix("vkube-").filter(|rest| *rest != "system")
}

async fn list(cluster: &Cluster, seen: &Mutex<Seen>) -> Result<()> {
    let mut pods = Vec::new();
    let now = Timestamp::now();
    for pod in cluster.list("/api/v1/pods").await? {
        let text = |pointer: &str| at(&pod, pointer).as_str().unwrap_or_default();
        let Some(order) = order_of(text("/metadata/namespace")) else { continue };
        if ["Succeeded", "Failed"].contains(&text("/status/phase")) {
            continue;
        }
        let ports = at(&pod, "/spec/containers").as_array().into_iter().flatten().flat_map(host_ports).collect();
        pods.push(PodSeen { order: order.to_owned(), name: text("/metadata/name").to_owned(), ports });
    }
    let mut namespaces = Vec::new();
    for namespace in cluster.list("/api/v1/namespaces").await? {
        let text = |pointer: &str| at(&namespace, pointer).as_str().unwrap_or_default();
        let Some(order) = order_of(text("/metadata/name")) else { continue };
        let is_going = !at(&namespace, "/metadata/deletionTimestamp").is_null();
        namespaces.push(NamespaceSeen { order: order.to_owned(), uid: text("/metadata/uid").to_owned(), is_going });
    }
    pods.sort();
    let mut seen = lock(seen);
    match seen.pods.last_mut().filter(|last| last.pods == pods) {
        Some(last) => last.to = now,
        None => seen.pods.push(PodsAt { from: now, to: now, pods }),
    }
    for namespace in namespaces {
        if !seen.namespaces.contains(&namespace) {
            seen.namespaces.push(namespace);
        }
    }
    Ok(())
}
