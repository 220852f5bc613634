//! What a worker says of itself and its region every few seconds, under a key of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::name::Instance;
use common::port::PortRange;
use common::presence::{Drift, Node, PRESENCE_EVERY, Presence, Resources};
use common::stream::REGIONS;
use common::subject;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Facts, NodeSeen, PodSeen};
use crate::consume::{Broker, InFlight};
use crate::context::Context;

/// How often to look whether there is something new to say.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often it is said at first, and for how long.
const EAGER_EVERY: Duration = Duration::from_secs(1);
/// See [`EAGER_EVERY`].
const EAGER_FOR: Duration = Duration::from_secs(30);

/// Says that a worker is there.
#[derive(Debug)]
pub struct Herald {
    /// What is said of the region.
    pub context: Arc<Context>,
    /// Where it is said.
    pub broker: Broker,
    /// Who says it.
    pub worker: Instance,
    /// What is known of the cluster.
    pub facts: watch::Receiver<Facts>,
    /// Where assigned ports come from.
    pub random_ports: PortRange,
    /// What is in hand.
    pub in_flight: InFlight,
    /// Which orders were changed by hand.
    pub drifted: watch::Receiver<Vec<Drift>>,
}

impl Herald {
    /// Says it until told to stop, and then, once more, that no work is taken any longer.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        let (mut facts, mut drifted) = (self.facts.clone(), self.drifted.clone());
        let begun = Instant::now();
        let mut said: Option<(Instant, bool)> = None;
        loop {
            let news = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = look.tick() => false,
                Ok(()) = facts.changed() => true,
                Ok(()) = drifted.changed() => true,
            };
            let ready = self.is_ready();
            // At first the bucket may not be there yet, and nobody says that a word was lost.
            let every = if begun.elapsed() < EAGER_FOR { EAGER_EVERY } else { PRESENCE_EVERY };
            if news || said.is_none_or(|(at, was)| was != ready || at.elapsed() >= every) {
                self.say(ready).await;
                said = Some((Instant::now(), ready));
            }
        }
        self.say(false).await;
    }

    /// Whether jobs would be taken. The streams of a new region are made only after it was heard of: they do not count.
    fn is_ready(&self) -> bool {
        let mirrors = &self.context.mirrors;
        self.facts.borrow().is_current() && mirrors.pods.is_live() && mirrors.deployments.is_live()
    }

    async fn say(&self, ready: bool) {
        // Without a connection it would be kept, and told when it is no longer true.
        if !self.broker.is_connected() {
            return;
        }
        let facts = self.facts.borrow().clone();
        let region = &self.context.region;
        let ours = facts.nodes.into_iter().filter(|node| node.region.as_deref() == Some(region.as_str()));
        let ours: Vec<NodeSeen> = ours.collect();
        let pods = &self.context.mirrors.pods;
        let presence = Presence {
            at: Timestamp::now(),
            ready,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_version: facts.version,
            public_key: self.context.keys.public_key(),
            random_ports: self.random_ports,
            capacity: Some(ours.iter().filter(|node| node.takes_pods()).map(NodeSeen::capacity).sum()),
            requests: pods.is_complete().then(|| requested(&pods.all(), &ours)),
            nodes: ours
                .into_iter()
                .map(|n| Node { ready: n.takes_pods(), name: n.name, cpu: n.cpu, memory: n.memory })
                .collect(),
            in_flight: self.in_flight.count(),
            drifted: self.drifted.borrow().clone(),
        };
        let subject = subject::bucket_subject(REGIONS, &subject::presence_key(region, &self.worker));
        let Ok(body) = serde_json::to_vec(&presence) else { return };
        if let Err(error) = self.broker.client.publish(subject, body.into()).await {
            tracing::warn!(error = %error, "presence is not told");
        }
    }
}

/// What the pods on these nodes have requested, whoever's they are. A pod that has ended requests nothing.
fn requested(pods: &[Arc<PodSeen>], nodes: &[NodeSeen]) -> Resources {
    let nodes: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let here = |pod: &&Arc<PodSeen>| !pod.finished && pod.node.as_deref().is_some_and(|node| nodes.contains(node));
    pods.iter().filter(here).map(|pod| pod.requests).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Seen as _;
    use serde_json::json;

    fn pod(node: Option<&str>, phase: &str) -> Arc<PodSeen> {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "default" },
            "spec": { "nodeName": node, "containers": [{ "resources": { "requests": { "cpu": "1", "memory": "1Ki" } } }] },
            "status": { "phase": phase } });
        Arc::new(PodSeen::from_object(serde_json::from_value(pod).unwrap()))
    }

    #[test]
    fn only_pods_that_take_room_on_the_regions_nodes_are_counted() {
        let pods = [
            pod(Some("ours"), "Running"),
            pod(Some("ours"), "Pending"),
            pod(Some("ours"), "Succeeded"),
            pod(Some("theirs"), "Running"),
            pod(None, "Pending"),
        ];
        let node = |name: &str| NodeSeen {
            name: name.to_owned(),
            region: None,
            ready: true,
            cordoned: false,
            cpu: "4".to_owned(),
            memory: "1Gi".to_owned(),
        };
        let expected = Resources { cpu_millis: 2000, memory_bytes: 2048 };
        assert_eq!(requested(&pods, &[node("ours"), node("another")]), expected);
        assert_eq!(node("ours").capacity(), Resources { cpu_millis: 4000, memory_bytes: 1 << 30 });
    }
}
