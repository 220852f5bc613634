//! Jobs: each ends, each once, whatever was asked twice is one, and answers say so in their form.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::chaos::evidence::{Evidence, JobRecord, SeenResult};
use crate::chaos::journal::{Answered, Begun, Event};

/// I2.
pub(super) fn one_result_each(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::new("I2", "every accepted job has one result, which never changes, and nothing else has one");
    let mut results: BTreeMap<&str, Vec<&SeenResult>> = BTreeMap::new();
    for result in &evidence.results {
        results.entry(&result.job).or_default().push(result);
    }
    let jobs: BTreeMap<&str, &JobRecord> = evidence.jobs.iter().map(|job| (job.id.as_str(), job)).collect();
    for (id, job) in jobs.iter().filter(|(_, job)| job.is_finished()) {
        let of_job = results.get(id).map(Vec::as_slice).unwrap_or_default();
        finding.look(wrong_results(job, of_job, evidence.results_streams.len() > 1));
    }
    for (id, seen) in results.iter().filter(|(id, _)| !jobs.contains_key(*id)) {
        finding.look(Some(format!("job {id} was never accepted and has the result {:?}", seen.first())));
    }
    for answered in answers(evidence) {
        let Some(id) = &answered.job else { continue };
        let is_lost = !jobs.contains_key(id.as_str());
        finding.look(is_lost.then(|| format!("job {id} was accepted by operation {} and is lost", answered.operation)));
    }
    finding
}

fn wrong_results(job: &JobRecord, results: &[&SeenResult], may_be_lost: bool) -> Option<String> {
    let JobRecord { id, verb, order, outcome, .. } = job;
    if results.is_empty() && !may_be_lost {
        return Some(format!("{verb} {id} of {order} ended with {outcome} and has no result"));
    }
    let streams: BTreeSet<&str> = results.iter().map(|result| result.stream.as_str()).collect();
    if streams.len() < results.len() {
        return Some(format!("{verb} {id} of {order} has several results: {results:?}"));
    }
    let other = results.iter().find(|result| result.outcome != *outcome)?;
    Some(format!("{verb} {id} of {order} ended with {outcome} on record and with {other:?}"))
}

/// I3.
pub(super) fn all_end(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I3", "all that is accepted ends in time once faults stop");
    for job in &evidence.jobs {
        let JobRecord { id, verb, order, state, .. } = job;
        finding.look((!job.is_finished()).then(|| format!("{verb} {id} of {order} is still {state}")));
    }
    finding.look(evidence.settled.is_none().then(|| "the system did not come to rest in time".to_owned()));
    finding
}

/// I6.
pub(super) fn one_job_a_key(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("I6", "the same key is the same job");
    let mut begun: BTreeMap<u64, &Begun> = BTreeMap::new();
    for entry in &evidence.journal {
        if let Event::Begun(operation) = &entry.what {
            begun.insert(operation.operation, operation);
        }
    }
    let mut told: BTreeMap<(&str, &str), Vec<&Answered>> = BTreeMap::new();
    for answered in answers(evidence) {
        let Some(operation) = begun.get(&answered.operation) else { continue };
        if let Some(key) = &operation.key {
            told.entry((&operation.order, key)).or_default().push(answered);
        }
    }
    for ((order, key), answers) in told {
        let jobs: BTreeSet<&str> = answers.iter().filter_map(|answer| answer.job.as_deref()).collect();
        if jobs.len() > 1 {
            finding.look(Some(format!("key {key} of {order} is the jobs {jobs:?}")));
            continue;
        }
        let accepted = answers.iter().position(|answer| answer.job.is_some());
        let after = accepted.and_then(|first| answers.get(first + 1..)).unwrap_or_default();
        let refused = after.iter().find(|answer| {
            answer.job.is_none() && (400..500).contains(&answer.status) && ![408, 429].contains(&answer.status)
        });
        finding.look(refused.map(|refused| format!("key {key} of {order} is job {jobs:?}, and later {refused:?}")));
    }
    finding
}

/// F.
pub(super) fn answers_have_their_form(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("F", "answers have the form of the contract");
    for answered in answers(evidence) {
        let malformed = answered.malformed.as_ref();
        finding.look(malformed.map(|problem| format!("operation {}: {problem}", answered.operation)));
    }
    finding
}

fn answers(evidence: &Evidence) -> impl Iterator<Item = &Answered> {
    evidence.journal.iter().filter_map(|entry| match &entry.what {
        Event::Answered(answered) => Some(answered),
        _ => None,
    })
}
