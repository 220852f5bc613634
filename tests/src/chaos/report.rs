//! What a person reads of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use super::checker::Finding;
use super::evidence::{Evidence, Looks, Resource};
use super::journal::Event;

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
            _ => {}
        }
    }
    let (jobs, results) = (evidence.jobs.len(), evidence.results.len());
    format!("{begun} operations, {answered} answered, {unknown} unknown; {jobs} jobs accepted, {results} results seen")
}

/// How often each thing was looked at, and how often in vain.
pub fn watched(looks: &BTreeMap<&'static str, Looks>) -> String {
    let one = |(what, looks): (&&str, &Looks)| {
        let why = looks.problem.as_ref().map(|problem| format!(", at last: {problem}")).unwrap_or_default();
        format!("{what} was looked at {} times and {} times in vain{why}", looks.done, looks.failed)
    };
    looks.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What processes and servers held.
pub fn held(resources: &[Resource]) -> String {
    let one = |resource: &Resource| {
        let Resource { what, before, after, most } = resource;
        format!("{what} {before} -> {after} (at most {most})")
    };
    resources.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What was checked and found.
pub fn verdict(findings: &[Finding]) -> String {
    let mut text = String::from("| invariant | says | checked | violations |\n|---|---|---|---|\n");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_counted_and_the_first_of_it_shown() {
        let violations = (0..12).map(|number| format!("job {number} has no result")).collect();
        let findings = [Finding { name: "I2", says: "one result", checked: 40, violations }];
        let text = verdict(&findings);
        assert!(text.contains("| I2 | one result | 40 | 12 |"), "{text}");
        assert!(text.contains("I2: job 9 ") && text.contains("I2: and 2 more") && !text.contains("job 10"), "{text}");
        assert_eq!(super::violations(&findings), 12);
    }
}
