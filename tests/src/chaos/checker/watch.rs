//! The watch: what nobody saw nobody can judge.

use super::Finding;
use crate::chaos::evidence::Evidence;

/// What is looked at for a whole run.
const WATCHED: [&str; 4] = ["results", "ledger", "cluster", "record"];

/// W.
pub(super) fn all_was_watched(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("W", "what is judged was seen");
    for what in WATCHED {
        let looks = evidence.looks.get(what).cloned().unwrap_or_default();
        finding.look((looks.done == 0).then(|| format!("nobody ever saw {what}: {:?}", looks.problem)));
        for unreadable in looks.unreadable {
            finding.look(Some(format!("{what} cannot be read: {unreadable}")));
        }
    }
    let deploys = evidence.jobs.iter().filter(|job| job.verb == "deploy");
    let (accepted, done) = (deploys.clone().count(), deploys.filter(|job| job.stands()).count());
    let blind = |what: &str, jobs: usize, is_empty: bool| {
        (jobs > 0 && is_empty).then(|| format!("{jobs} deploys, and nobody saw {what}"))
    };
    finding.look(blind("a change of the ledger", accepted, evidence.ledger_history.is_empty()));
    finding.look(blind("a pod", done, evidence.pods.iter().all(|at| at.pods.is_empty())));
    finding.look(blind("a namespace", done, evidence.namespaces.is_empty()));
    finding.look(blind("an end on record", done, evidence.ends.is_empty()));
    finding.look(blind("a result", done, evidence.results.is_empty()));
    finding
}
