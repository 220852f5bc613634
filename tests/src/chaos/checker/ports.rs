//! Host ports: no two orders have the same, at no time and nowhere, and the ledger says what orders have.

use std::collections::{BTreeMap, BTreeSet};

use common::ledger::PortState;
use jiff::SignedDuration;

use super::Finding;
use crate::chaos::evidence::{Evidence, LedgerEntry, PodSeen, PodsAt};

/// By how much the times of what was seen in the cluster and in the ledger may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(3);

/// I1.
pub(super) fn no_port_for_two(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I1", "no port for two live orders");
    ledger_history(evidence, &mut finding);
    record(evidence, &mut finding);
    for pods in &evidence.pods {
        finding.look(two_pods(pods));
        for pod in &pods.pods {
            finding.look(pod_without_its_port(evidence, pods, pod));
        }
    }
    finding
}

/// In the ledger a port goes from one order to another only by being free, or cool, in between.
fn ledger_history(evidence: &Evidence, finding: &mut Finding) {
    let mut held: BTreeMap<&str, &LedgerEntry> = BTreeMap::new();
    let mut last: Option<&LedgerEntry> = None;
    for entry in &evidence.ledger_history {
        let follows = last.is_some_and(|last| last.stream == entry.stream && last.sequence + 1 == entry.sequence);
        if !follows {
            // What came between was not seen.
            held.clear();
        }
        last = Some(entry);
        let Some(state) = &entry.state else {
            held.remove(entry.key.as_str());
            continue;
        };
        let before = held.insert(&entry.key, entry).and_then(|before| before.state.as_ref());
        let taken = before
            .is_some_and(|before| before.order() != state.order() && !matches!(before, PortState::Cooling { .. }));
        finding.look(taken.then(|| format!("{} went from {before:?} to {state:?} at {}", entry.key, entry.at)));
    }
}

/// In the record no two live orders have one port.
fn record(evidence: &Evidence, finding: &mut Finding) {
    let mut holders: BTreeMap<u16, &str> = BTreeMap::new();
    for (id, order) in evidence.orders.iter().filter(|(_, order)| !order.has_ended) {
        for port in &order.ports {
            let other = holders.insert(*port, id);
            finding.look(other.map(|other| format!("port {port} is on record for {other} and for {id}")));
        }
    }
}

fn two_pods(at: &PodsAt) -> Option<String> {
    let mut holders: BTreeMap<u16, &PodSeen> = BTreeMap::new();
    for pod in &at.pods {
        for port in &pod.ports {
            if let Some(other) = holders.insert(*port, pod).filter(|other| other.order != pod.order) {
                let (one, two) = (&other.order, &pod.order);
                return Some(format!("pods of {one} and of {two} have port {port} from {} to {}", at.from, at.to));
            }
        }
    }
    None
}

/// Whether a port of a pod was another order's for all the time that the pod was seen, by the ledger.
fn pod_without_its_port(evidence: &Evidence, at: &PodsAt, pod: &PodSeen) -> Option<String> {
    let (from, to) = (at.from - SKEW, at.to + SKEW);
    pod.ports.iter().find_map(|port| {
        let suffix = format!(".tcp.{port}");
        let of_port = |entry: &&LedgerEntry| entry.key.ends_with(&suffix);
        let before = evidence.ledger_history.iter().rev().find(|entry| entry.at <= from && of_port(entry));
        let during = evidence.ledger_history.iter().filter(|entry| entry.at > from && entry.at <= to);
        let states = before.into_iter().chain(during.filter(of_port));
        let holders: BTreeSet<Option<&str>> =
            states.map(|entry| entry.state.as_ref().map(|state| state.order().as_str())).collect();
        let mut holders = holders.into_iter();
        match (holders.next(), holders.next()) {
            (Some(Some(holder)), None) if holder != pod.order => Some(format!(
                "pod {} of {} has port {port} from {} to {}, which is {holder}'s by the ledger",
                pod.name, pod.order, at.from, at.to
            )),
            _ => None,
        }
    })
}

/// I5.
pub(super) fn ledger_is_as_orders_are(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I5", "the ledger is the ports of live orders");
    let live = evidence.orders.iter().filter(|(_, order)| !order.has_ended);
    let holders: BTreeMap<u16, &str> =
        live.flat_map(|(id, order)| order.ports.iter().map(|port| (*port, id.as_str()))).collect();
    let ports: BTreeSet<u16> = evidence.ledger.keys().chain(holders.keys()).copied().collect();
    for port in ports {
        let (state, holder) = (evidence.ledger.get(&port), holders.get(&port));
        let is_right = match state {
            None | Some(PortState::Cooling { .. }) => holder.is_none(),
            Some(PortState::Bound { order, .. }) => holder.is_some_and(|holder| order.as_str() == *holder),
            Some(PortState::Reserved { .. }) => false,
        };
        finding.look((!is_right).then(|| format!("port {port} of {holder:?} is {state:?} in the ledger")));
    }
    for (port, order) in &evidence.observed {
        let Some(order) = order else { continue };
        let is_right = holders.get(port).is_some_and(|holder| holder == order);
        finding.look((!is_right).then(|| format!("workers see port {port} in use by {order}, which does not have it")));
    }
    finding
}
