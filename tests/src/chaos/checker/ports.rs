//! Host ports: no two orders have the same, at no time and nowhere, and the ledger says what orders have.

use std::collections::{BTreeMap, BTreeSet};

use common::ledger::PortState;
use common::port::HostPort;
use jiff::SignedDuration;

use super::Finding;
use crate::chaos::evidence::{Evidence, LedgerEntry, PodSeen, PodsAt};

/// By how much the times of what was seen in the cluster and in the ledger may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(3);

/// The changes of one key, in order; each with whether all changes of the key since the one before it were seen.
type History<'a> = Vec<(&'a LedgerEntry, bool)>;

/// The changes of each key. A change that was not seen was followed by another of the same key, which was: so a gap makes
/// uncertain only what was a key's between two of its changes.
fn histories(evidence: &Evidence) -> BTreeMap<&str, History<'_>> {
    let mut histories: BTreeMap<&str, History<'_>> = BTreeMap::new();
    let (mut last, mut gaps) = (None, 0);
    let mut gaps_before: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &evidence.ledger_history {
        let follows =
            last.is_some_and(|last: &LedgerEntry| last.stream == entry.stream && last.sequence + 1 == entry.sequence);
        gaps += usize::from(!follows);
        last = Some(entry);
        let is_known = gaps_before.insert(&entry.key, gaps) == Some(gaps);
        histories.entry(&entry.key).or_default().push((entry, is_known));
    }
    histories
}

/// I1.
pub(super) fn no_port_for_two(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I1", "no port for two live orders");
    let histories = histories(evidence);
    ledger_history(&histories, &mut finding);
    record(evidence, &mut finding);
    for pods in &evidence.pods {
        finding.look(two_pods(pods));
        for pod in &pods.pods {
            finding.look(pod_without_its_port(&histories, pods, pod));
        }
    }
    finding
}

/// In the ledger a port goes from one order to another only by being free, or cool, in between.
fn ledger_history(histories: &BTreeMap<&str, History<'_>>, finding: &mut Finding) {
    for (key, history) in histories {
        for pair in history.windows(2) {
            let [(before, _), (after, true)] = pair else { continue };
            let (Some(from), Some(to)) = (&before.state, &after.state) else { continue };
            let taken = from.order() != to.order() && !matches!(from, PortState::Cooling { .. });
            finding.look(taken.then(|| format!("{key} went from {from:?} to {to:?} at {}", after.at)));
        }
    }
}

/// In the record no two live orders have one port.
fn record(evidence: &Evidence, finding: &mut Finding) {
    let mut holders: BTreeMap<HostPort, &str> = BTreeMap::new();
    for (id, order) in evidence.orders.iter().filter(|(_, order)| !order.has_ended) {
        for port in &order.ports {
            let other = holders.insert(*port, id);
            finding.look(other.map(|other| format!("port {port} is on record for {other} and for {id}")));
        }
    }
}

fn two_pods(at: &PodsAt) -> Option<String> {
    let mut holders: BTreeMap<HostPort, &PodSeen> = BTreeMap::new();
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
fn pod_without_its_port(histories: &BTreeMap<&str, History<'_>>, at: &PodsAt, pod: &PodSeen) -> Option<String> {
    pod.ports.iter().find_map(|port| {
        let suffix = format!(".{port}");
        let (_, history) = histories.iter().find(|(key, _)| key.ends_with(&suffix))?;
        let first = history.iter().rposition(|(entry, _)| entry.at <= at.from - SKEW)?;
        let until = history.iter().position(|(entry, _)| entry.at > at.to + SKEW).unwrap_or(history.len());
        // What came until the next change is known by that one.
        let is_known =
            history.get(first + 1..=until.min(history.len() - 1)).is_none_or(|all| all.iter().all(|(_, known)| *known));
        let held = history.get(first..until).filter(|_| is_known)?;
        let holders: BTreeSet<Option<&str>> =
            held.iter().map(|(entry, _)| entry.state.as_ref().map(|state| state.order().as_str())).collect();
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
    let holders: BTreeMap<HostPort, &str> =
        live.flat_map(|(id, order)| order.ports.iter().map(|port| (*port, id.as_str()))).collect();
    let ports: BTreeSet<HostPort> = evidence.ledger.keys().chain(holders.keys()).copied().collect();
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
