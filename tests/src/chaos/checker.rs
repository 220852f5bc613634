//! Judges the evidence of a run: each invariant with how much was looked at, and every violation.

mod cluster;
mod jobs;
mod ports;
mod rest;
#[cfg(test)]
mod tests;
mod watch;

pub use cluster::wrong_in_cluster;

use super::evidence::Evidence;

/// What was found of one invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name: I1 to I9 as in `docs/RELIABILITY.md`, F for the form of answers, D for repairs, W for what was watched.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    /// How many things were looked at.
    pub checked: usize,
    /// What violates it.
    pub violations: Vec<String>,
}

impl Finding {
    fn new(name: &'static str, says: &'static str) -> Self {
        Self { name, says, checked: 0, violations: Vec::new() }
    }

    /// Looks at one thing, which violates it if there is something to say.
    fn look(&mut self, violation: Option<String>) {
        self.checked += 1;
        self.violations.extend(violation);
    }
}

/// Judges all of it.
pub fn check(evidence: &Evidence) -> Vec<Finding> {
    vec![
        ports::no_port_for_two(evidence),
        jobs::one_result_each(evidence),
        jobs::all_end(evidence),
        cluster::cluster_is_as_accepted(evidence),
        ports::ledger_is_as_orders_are(evidence),
        jobs::one_job_a_key(evidence),
        rest::queues_are_empty(evidence),
        rest::nothing_grew(evidence),
        cluster::nothing_was_deleted(evidence),
        jobs::answers_have_their_form(evidence),
        rest::only_changes_by_hand_are_repaired(evidence),
        watch::all_was_watched(evidence),
    ]
}
