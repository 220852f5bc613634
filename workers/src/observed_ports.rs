//! Which host ports of the region are in use, by pods of orders, by foreign pods and by the host, written for the api
//! when it changes and every minute (`design.md` §6).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use common::ledger::{Observed, ObservedPort};
use common::name::OrderId;
use common::port::HostPort;
use common::stream::HOSTPORTS;
use common::subject;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Facts, NodeSeen, PodSeen};
use crate::consume::Broker;
use crate::context::Context;
use crate::host_ports;
use crate::settings::PortSettings;

/// How often it is written even if nothing has changed.
const WRITE_EVERY: Duration = Duration::from_mins(1);
/// How often the host is looked at.
const SCAN_EVERY: Duration = Duration::from_secs(2);
/// How long to gather changes before they are written: a rollout makes several.
const GATHER: Duration = Duration::from_millis(50);

/// Sees which ports are in use.
#[derive(Debug)]
pub struct Observer {
    /// Where pods are seen.
    pub context: Arc<Context>,
    /// Where it is written.
    pub broker: Broker,
    /// Which nodes are of which region.
    pub facts: watch::Receiver<Facts>,
    /// What is never handed out, and whether the host is looked at.
    pub settings: PortSettings,
}

impl Observer {
    /// Writes what is in use until told to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut pods = self.context.mirrors.pods.changes();
        let mut tick = interval(SCAN_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut written: Option<(Vec<ObservedPort>, Instant)> = None;
        let mut revision = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                Ok(()) = pods.changed() => sleep(GATHER).await,
            }
            pods.mark_unchanged();
            // What is not seen must not be told: a port without its pod would soon be handed out.
            if !self.context.mirrors.pods.is_live() || !self.broker.is_connected() {
                continue;
            }
            let Some(ports) = self.look() else { continue };
            let known = written.as_ref().is_some_and(|(known, at)| *known == ports && at.elapsed() < WRITE_EVERY);
            if !known && self.write(&ports, &mut revision).await {
                written = Some((ports, Instant::now()));
            }
        }
    }

    fn look(&self) -> Option<Vec<ObservedPort>> {
        let host = if self.settings.scan_host {
            let scanned = host_ports::scan(Path::new("/proc"));
            scanned.inspect_err(|error| tracing::error!(%error, "the host's ports cannot be read")).ok()?
        } else {
            BTreeSet::new()
        };
        let pods = self.context.mirrors.pods.all();
        Some(in_use(&pods, &self.facts.borrow().nodes, self.context.region.as_str(), &host))
    }

    /// Writes the ports; true = they are written, by this worker or, in the same moment, by another of the region.
    async fn write(&self, ports: &[ObservedPort], revision: &mut u64) -> bool {
        let denied = self.settings.denied.clone();
        let observed = Observed { at: Timestamp::now(), ports: ports.to_vec(), denied };
        let Ok(body) = serde_json::to_vec(&observed) else { return false };
        let first = *revision == 0;
        match self.put(body.clone(), *revision).await {
            Ok(sequence) => {
                *revision = sequence;
                true
            }
            Err(error) => {
                let Some(current) = current_revision(&error) else {
                    tracing::warn!(error = &error as &dyn std::error::Error, "ports in use are not written");
                    return false;
                };
                // Another worker wrote: it sees the same pods. The first time it may have been long ago, and where there is
                // nothing, the bucket was made anew.
                *revision = current;
                (!first && current != 0)
                    || self.put(body, current).await.inspect(|sequence| *revision = *sequence).is_ok()
            }
        }
    }

    async fn put(&self, body: Vec<u8>, revision: u64) -> Result<u64, PublishError> {
        let subject = subject::bucket_subject(HOSTPORTS, &subject::observed_key(&self.context.region));
        let message = PublishMessage::build().payload(body.into()).expected_last_subject_sequence(revision);
        Ok(self.broker.jetstream.send_publish(subject, message).await?.await?.sequence)
    }
}

/// The key's revision, from the server's words about a wrong one: a worker may not read the bucket.
fn current_revision(error: &PublishError) -> Option<u64> {
    if error.kind() != PublishErrorKind::WrongLastSequence {
        return None;
    }
    let words = std::error::Error::source(error)?.to_string();
    let (_, number) = words.split_once("wrong last sequence: ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Each port in use, once for each holder. Pods on nodes of other regions, or that wait for one, hold none of ours, and a listener on a port
/// that an order's pod holds is what makes that port reachable.
fn in_use(pods: &[Arc<PodSeen>], nodes: &[NodeSeen], region: &str, host: &BTreeSet<HostPort>) -> Vec<ObservedPort> {
    let elsewhere: BTreeSet<&str> =
        nodes.iter().filter(|node| node.region.as_deref() != Some(region)).map(|node| node.name.as_str()).collect();
    let here = |pod: &&Arc<PodSeen>| match (pod.node.as_deref(), pod.region.as_deref()) {
        _ if pod.finished => false,
        (Some(node), _) => !elsewhere.contains(node),
        (None, wanted) => wanted.is_none_or(|wanted| wanted == region),
    };
    let mut holders: BTreeMap<HostPort, BTreeSet<Option<OrderId>>> = BTreeMap::new();
    for pod in pods.iter().filter(here) {
        for port in &pod.ports {
            holders.entry(*port).or_default().insert(pod.order.clone());
        }
    }
    for port in host {
        holders.entry(*port).or_insert_with(|| BTreeSet::from([None]));
    }
    let each = holders.into_iter().flat_map(|(host, orders)| {
        orders.into_iter().map(move |order| ObservedPort { protocol: host.protocol, port: host.port, order })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Seen as _;
    use crate::kubernetes::LABEL_ORDER;
    use serde_json::json;

    fn pod(namespace: &str, node: &str, port: u16, phase: &str) -> Arc<PodSeen> {
        let order = namespace.strip_prefix("vkube-").unwrap_or("none");
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "namespace": namespace, "labels": { LABEL_ORDER: order } },
            "spec": { "nodeName": node, "containers": [{ "ports": [{ "containerPort": 80, "hostPort": port }] }] },
            "status": { "phase": phase } });
        Arc::new(PodSeen::from_object(serde_json::from_value(pod).unwrap()))
    }

    /// A pod that has no node yet, and wants one of a region.
    fn waiting(namespace: &str, region: &str, port: u16) -> Arc<PodSeen> {
        let order = namespace.strip_prefix("vkube-").unwrap_or("none");
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "namespace": namespace, "labels": { LABEL_ORDER: order } },
            "spec": { "nodeSelector": { "region": region },
                "containers": [{ "ports": [{ "containerPort": 80, "hostPort": port }] }] },
            "status": { "phase": "Pending" } });
        Arc::new(PodSeen::from_object(serde_json::from_value(pod).unwrap()))
    }

    fn node(name: &str, region: &str) -> NodeSeen {
        let region = Some(region.to_owned());
        NodeSeen {
            name: name.to_owned(),
            region,
            ready: true,
            cordoned: false,
            cpu: String::new(),
            memory: String::new(),
        }
    }

    #[test]
    fn each_port_in_use_is_told_with_its_holder() {
        let pods = [
            pod("vkube-a", "n1", 1, "Running"),
            pod("default", "n1", 2, "Pending"),
            pod("vkube-a", "n1", 3, "Failed"),
            pod("vkube-a", "n2", 4, "Running"),
            pod("vkube-b", "n9", 5, "Running"),
            pod("vkube-b", "n1", 1, "Running"),
            waiting("vkube-c", "ausrine", 7),
            waiting("vkube-c", "vakarine", 8),
        ];
        let host =
            [6, 1].map(|port| HostPort { protocol: common::port::Protocol::Tcp, port: port.try_into().unwrap() });
        let nodes = [node("n1", "ausrine"), node("n2", "vakarine")];
        let told = in_use(&pods, &nodes, "ausrine", &BTreeSet::from(host));
        let told: Vec<_> =
            told.iter().map(|p| format!("{} {:?}", p.port, p.order.as_ref().map(OrderId::as_str))).collect();
        assert_eq!(told, ["1 Some(\"a\")", "1 Some(\"b\")", "2 None", "5 Some(\"b\")", "6 None", "7 Some(\"c\")"]);
    }
}
