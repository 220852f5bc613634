//! What was done to systems and how soon they worked again, over one run or several: read from their journals.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use common::fail_point::FailPoint;

use super::journal::{Entry, Event};
use crate::percentile::percentile;

/// What recoveries from several faults at once are counted under.
const MIXED: &str = "(several at once)";

/// What came of one fault.
#[derive(Debug, Default)]
struct Fault {
    /// How often it was injected.
    times: usize,
    /// How often there was nothing to do it to.
    skipped: usize,
    /// How often the system did not work again in time.
    never: usize,
    /// How long it took else, once the fault was healed.
    recoveries: Vec<Duration>,
}

/// What was done and asked in some runs.
#[derive(Debug, Default)]
pub struct Figures {
    faults: BTreeMap<String, Fault>,
    asked: usize,
    answered: usize,
    unknown: usize,
    jobs: BTreeSet<String>,
}

/// The figures of runs, by their journals.
pub fn of(journals: &[Vec<Entry>]) -> Figures {
    let mut figures = Figures::default();
    for entry in journals.iter().flatten() {
        match &entry.what {
            Event::Begun(_) => figures.asked += 1,
            Event::Answered(answered) => {
                figures.answered += 1;
                figures.jobs.extend(answered.job.clone());
            }
            Event::Unknown { .. } => figures.unknown += 1,
            Event::Injected { fault, times, .. } => figures.fault(fault).times += times,
            Event::Skipped { fault, .. } => figures.fault(fault).skipped += 1,
            Event::Healed { .. } => {}
            Event::Recovered { faults, milliseconds } => {
                let [alone] = faults.as_slice() else {
                    figures.fault(MIXED).times += 1;
                    figures.fault(MIXED).recovered(*milliseconds);
                    continue;
                };
                figures.fault(alone).recovered(*milliseconds);
            }
        }
    }
    figures.faults.values_mut().for_each(|fault| fault.recoveries.sort_unstable());
    figures
}

impl Figures {
    fn fault(&mut self, name: &str) -> &mut Fault {
        self.faults.entry(name.to_owned()).or_default()
    }
}

impl Fault {
    fn recovered(&mut self, milliseconds: Option<u64>) {
        match milliseconds {
            Some(time) => self.recoveries.push(Duration::from_millis(time)),
            None => self.never += 1,
        }
    }
}

/// Whether this fault ends processes as a power cut does.
fn kills(fault: &str) -> bool {
    fault.contains("kill") || FailPoint::ALL.iter().any(|point| point.name() == fault)
}

/// A row for each fault, and what there was in all.
pub fn table(figures: &Figures) -> String {
    let mut text = String::from(
        "| fault | times | skipped | recoveries | p50 s | p99 s | max s | never |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (name, fault) in &figures.faults {
        let of = |hundredths| seconds(percentile(&fault.recoveries, hundredths));
        let Fault { times, skipped, never, recoveries } = fault;
        let (p50, p99, max, count) = (of(50), of(99), of(100), recoveries.len());
        let _ = writeln!(text, "| {name} | {times} | {skipped} | {count} | {p50} | {p99} | {max} | {never} |");
    }
    let kills: usize = figures.faults.iter().filter(|(name, _)| kills(name)).map(|(_, fault)| fault.times).sum();
    let Figures { asked, answered, unknown, jobs, .. } = figures;
    let jobs = jobs.len();
    let _ = writeln!(
        text,
        "\n{asked} operations, {answered} answered, {unknown} unknown; {jobs} jobs in answers; {kills} times processes were killed"
    );
    text
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn runs_are_counted_together_and_faults_that_overlap_apart() {
        let injected = |fault: &str, times| Event::Injected {
            fault: fault.to_owned(),
            what: String::new(),
            times,
            is_by_hand: false,
        };
        let recovered = |faults: &[&str], milliseconds| Event::Recovered {
            faults: faults.iter().map(|&fault| fault.to_owned()).collect(),
            milliseconds,
        };
        let skipped = Event::Skipped { fault: "nats-kill".to_owned(), problem: String::new() };
        let entry = |what| Entry { at: Timestamp::UNIX_EPOCH, what };
        let first = (1..=100)
            .flat_map(|seconds| [injected("nats-kill", 1), recovered(&["nats-kill"], Some(1000 * seconds))].map(entry));
        let second = [
            skipped,
            injected("nats-kill", 1),
            recovered(&["nats-kill"], None),
            injected("api-job-accepted", 2),
            injected("nats-slow", 1),
            recovered(&["api-job-accepted", "nats-slow"], Some(1500)),
        ];
        let text = table(&of(&[first.collect(), second.map(entry).into()]));
        for row in [
            "| nats-kill | 101 | 1 | 100 | 50.0 | 99.0 | 100.0 | 1 |",
            "| api-job-accepted | 2 | 0 | 0 | - | - | - | 0 |",
            "| (several at once) | 1 | 0 | 1 | 1.5 | 1.5 | 1.5 | 0 |",
            "103 times processes were killed",
        ] {
            assert!(text.contains(row), "{row}: {text}");
        }
    }
}
