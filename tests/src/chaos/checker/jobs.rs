//! Jobs: each ends, each once, whatever was asked twice is one, and answers say so in their form.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Finding;
use crate::agreement::at;
use crate::chaos::evidence::{Evidence, JobRecord, SeenEnd, SeenResult};
use crate::chaos::journal::{Answered, Begun, Event};

/// How long after a result was lost its stream may be made anew, the time included in which nobody saw the result.
const REMADE_WITHIN: SignedDuration = SignedDuration::from_secs(45);
/// How long after an end was told it may not be on record yet.
const RECORDED_WITHIN: SignedDuration = SignedDuration::from_secs(2);
/// By how much clocks and the order of things may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(2);

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
        finding.look(wrong_results(evidence, job, of_job));
    }
    for end in &evidence.ends {
        finding.look(other_end(jobs.get(end.job.as_str()), end));
    }
    for (id, seen) in results.iter().filter(|(id, _)| !jobs.contains_key(*id)) {
        finding.look(Some(format!("job {id} was never accepted and has the result {:?}", seen.first())));
    }
    let begun = begun(evidence);
    for (answered, at) in answers_at(evidence) {
        let Some(id) = &answered.job else { continue };
        let is_lost = !jobs.contains_key(id.as_str());
        finding.look(is_lost.then(|| format!("job {id} was accepted by operation {} and is lost", answered.operation)));
        let call = begun.get(&answered.operation).map_or("", |operation| &operation.call);
        let other = told_otherwise(call, answered, &jobs).filter(|_| !is_set_back_soon(evidence, at));
        finding.look(other);
    }
    finding
}

/// An end on record that is another, or none, later on.
fn other_end(job: Option<&&JobRecord>, end: &SeenEnd) -> Option<String> {
    let SeenEnd { job: id, outcome } = end;
    let Some(job) = job else {
        return Some(format!("job {id} ended with {outcome} on record and is not there any more"));
    };
    let is_other = serde_json::from_str::<Value>(outcome).ok().as_ref() != Some(&job.outcome);
    is_other.then(|| format!("job {id} ended with {outcome} on record and then with {}", job.outcome))
}

/// Whether a result of this time may have been lost with its stream before anybody saw it.
fn may_be_lost(evidence: &Evidence, finished_at: Option<Timestamp>) -> bool {
    let makings: Vec<Timestamp> = evidence.results_streams.values().map(|making| making.at).collect();
    let first = makings.iter().min();
    finished_at.is_some_and(|ended| {
        makings.iter().any(|made| Some(made) != first && *made >= ended - SKEW && *made <= ended + REMADE_WITHIN)
    })
}

fn wrong_results(evidence: &Evidence, job: &JobRecord, results: &[&SeenResult]) -> Option<String> {
    let JobRecord { id, verb, order, outcome, finished_at, .. } = job;
    if results.is_empty() && !may_be_lost(evidence, *finished_at) {
        return Some(format!("{verb} {id} of {order} ended with {outcome} and has no result"));
    }
    let streams: BTreeSet<&str> = results.iter().map(|result| result.stream.as_str()).collect();
    if streams.len() < results.len() {
        return Some(format!("{verb} {id} of {order} has several results: {results:?}"));
    }
    let other = results.iter().find(|result| result.outcome != *outcome && !is_set_apart(evidence, job, result))?;
    Some(format!("{verb} {id} of {order} ended with {outcome} on record and with {other:?}"))
}

/// Whether a store that was set back lies between a result and the record: the end was on record by then, and the job was
/// brought again and came to something else; or the result was lost before anybody recorded it.
fn is_set_apart(evidence: &Evidence, job: &JobRecord, result: &SeenResult) -> bool {
    let makings = &evidence.results_streams;
    let (Some(ended), Some(own)) = (job.finished_at, makings.get(&result.stream)) else { return false };
    let comes_again = own.is_set_back && ended < own.at + SKEW;
    let set_back = makings.values().filter(|later| later.is_set_back && later.at > own.at);
    comes_again || set_back.into_iter().any(|later| ended > later.at - SKEW)
}

/// A success that a client was told of, and that is none on record.
fn told_otherwise(call: &str, answered: &Answered, jobs: &BTreeMap<&str, &JobRecord>) -> Option<String> {
    let job = jobs.get(answered.job.as_deref()?)?;
    // Whoever cancels a job is told what became of it.
    let is_success = answered.status == 200 && !call.starts_with("DELETE ");
    let is_other = is_success && at(&job.outcome, "/state") != "succeeded";
    is_other.then(|| format!("operation {} was told that {} succeeded: {}", answered.operation, job.id, job.outcome))
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
    let begun = begun(evidence);
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

/// Every operation, by its number.
fn begun(evidence: &Evidence) -> BTreeMap<u64, &Begun> {
    let operations = evidence.journal.iter().filter_map(|entry| match &entry.what {
        Event::Begun(operation) => Some((operation.operation, operation)),
        _ => None,
    });
    operations.collect()
}

/// Whether the store was set back so soon after this time that no end which was told by then need be on record.
fn is_set_back_soon(evidence: &Evidence, told: Timestamp) -> bool {
    let makings = evidence.results_streams.values().filter(|making| making.is_set_back);
    makings.into_iter().any(|making| making.at >= told - SKEW && making.at <= told + RECORDED_WITHIN)
}

fn answers_at(evidence: &Evidence) -> impl Iterator<Item = (&Answered, Timestamp)> {
    evidence.journal.iter().filter_map(|entry| match &entry.what {
        Event::Answered(answered) => Some((answered, entry.at)),
        _ => None,
    })
}

fn answers(evidence: &Evidence) -> impl Iterator<Item = &Answered> {
    answers_at(evidence).map(|(answered, _)| answered)
}
