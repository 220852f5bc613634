//! Rest: what is left once nobody asks for anything.

use super::Finding;
use crate::chaos::evidence::{Evidence, Queue, Resource};
use crate::chaos::journal::{Entry, Event};

/// I7.
pub(super) fn queues_are_empty(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I7", "queues are empty and nothing is pending");
    for queue in &evidence.queues {
        let Queue { left, pending, unsettled, problem, .. } = queue;
        let wrong = *left > 0 || *pending > 0 || *unsettled > 0 || problem.is_some();
        finding.look(wrong.then(|| format!("{queue:?}")));
    }
    finding
}

/// D.
pub(super) fn only_changes_by_hand_are_repaired(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("D", "what nobody changed by hand is not repaired");
    let by_hand = |entry: &Entry| matches!(&entry.what, Event::Injected { is_by_hand: true, .. });
    let was_changed = evidence.journal.iter().any(by_hand);
    for (order, wrong) in &evidence.repairs {
        finding.look((!was_changed).then(|| format!("order {order} was repaired: {wrong}")));
    }
    finding
}

/// I8.
pub(super) fn nothing_grew(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I8", "memory, descriptors and connections are back to what they were");
    for resource in &evidence.resources {
        let Resource { what, before, after, most } = resource;
        finding.look((after > most).then(|| format!("{what}: {before} before, {after} after, {most} at most")));
    }
    finding
}
