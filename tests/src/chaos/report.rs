//! What a person reads of a run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::checker::Finding;
use super::evidence::Evidence;
use super::journal::Event;
use super::schedule::Records;

/// How many violations of one invariant are shown whole.
const SHOWN: usize = 10;

/// Prints a line, with the time since the first one.
pub fn say(text: &str) {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let seconds = BEGUN.elapsed().as_secs_f64();
    let _ = writeln!(std::io::stdout().lock(), "{seconds:7.1} {text}");
}

/// How much was asked and done.
pub fn counts(evidence: &Evidence) -> String {
    let (mut begun, mut answered, mut unknown) = (0, 0, 0);
    for entry in &evidence.journal {
        match entry.what {
            Event::Begun(_) => begun += 1,
            Event::Answered(_) => answered += 1,
            Event::Unknown { .. } => unknown += 1,
            Event::Fault { .. } => {}
        }
    }
    let (jobs, results) = (evidence.jobs.len(), evidence.results.len());
    format!("{begun} operations, {answered} answered, {unknown} unknown; {jobs} jobs accepted, {results} results seen")
}

/// The tables of a run.
pub fn tables(records: &Records, findings: &[Finding]) -> String {
    let mut text = String::from("\n| fault | times | skipped | p50 s | p99 s | max s |\n|---|---|---|---|---|---|\n");
    for (name, record) in records {
        let mut times = record.recoveries.clone();
        times.sort_unstable();
        let of = |hundredths: usize| seconds(percentile(&times, hundredths));
        let (count, skipped) = (times.len(), record.skipped);
        let _ = writeln!(text, "| {name} | {count} | {skipped} | {} | {} | {} |", of(50), of(99), of(100));
    }
    text.push_str("\n| invariant | says | checked | violations |\n|---|---|---|---|\n");
    for finding in findings {
        let Finding { name, says, checked, violations } = finding;
        let _ = writeln!(text, "| {name} | {says} | {checked} | {} |", violations.len());
    }
    for finding in findings.iter().filter(|finding| !finding.violations.is_empty()) {
        for violation in finding.violations.iter().take(SHOWN) {
            let _ = writeln!(text, "\n{}: {violation}", finding.name);
        }
        let more = finding.violations.len().saturating_sub(SHOWN);
        if more > 0 {
            let _ = writeln!(text, "\n{}: and {more} more", finding.name);
        }
    }
    text
}

/// How many violations there are in all.
pub fn violations(findings: &[Finding]) -> usize {
    findings.iter().map(|finding| finding.violations.len()).sum()
}

/// The time that this share (in hundredths) of the times did not exceed; none of none.
fn percentile(sorted: &[Duration], hundredths: usize) -> Option<Duration> {
    let place = (sorted.len() * hundredths).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied()
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.2}", time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::schedule::Record;

    #[test]
    fn a_run_is_told_in_tables_and_all_that_is_wrong_is_counted() {
        let record =
            Record { recoveries: (1..=100).map(Duration::from_secs).collect(), skipped: 2, problems: Vec::new() };
        let records = Records::from([("nats-kill", record)]);
        let violations = (0..12).map(|number| format!("job {number} has no result")).collect();
        let findings = [Finding { name: "I2", says: "one result", checked: 40, violations }];
        let text = tables(&records, &findings);
        assert!(text.contains("| nats-kill | 100 | 2 | 50.00 | 99.00 | 100.00 |"), "{text}");
        assert!(text.contains("| I2 | one result | 40 | 12 |"), "{text}");
        assert!(text.contains("I2: job 9 ") && text.contains("I2: and 2 more") && !text.contains("job 10"), "{text}");
        assert_eq!(super::violations(&findings), 12);
    }
}
