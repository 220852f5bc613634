//! One run: a system is broken while customers use it, comes to rest, and is judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::{join, try_join_all};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::checker::{Finding, check};
use super::faults::{self, Fault};
use super::journal::Journal;
use super::probe::Probe;
use super::report::{counts, say, tables, violations};
use super::schedule;
use super::settle::{gather, settle};
use super::world::World;
use super::{resources, resources::Amounts};
use crate::order::Order;
use crate::stack::Stack;

/// How long a system that nobody breaks may take until it works.
const STARTS_WITHIN: Duration = Duration::from_mins(1);
/// How long customers use it before it is broken.
const UNBROKEN_FOR: Duration = Duration::from_secs(10);
/// How long cluster, ledger and connections may take to follow the last job's end.
const FOLLOWS_WITHIN: Duration = Duration::from_mins(1);
/// A run of so long has time for faults that take long.
const LONG: Duration = Duration::from_mins(15);

/// What is wanted of a run.
#[derive(Debug)]
pub struct Wanted {
    /// What all that is random follows from.
    pub seed: u64,
    /// How long the system is broken.
    pub length: Duration,
    /// Which faults; none = all that there is time for.
    pub faults: Vec<String>,
    /// Whether they overlap.
    pub mixed: bool,
}

/// Runs. How many violations there were.
pub async fn run(wanted: &Wanted) -> Result<usize> {
    let mut faults = chosen(wanted)?;
    say(&format!("seed {}", wanted.seed));
    crate::test::remove_old().await?;
    let logs = Stack::get()?.folder.parent().context("the logs have a folder")?.to_owned();
    let journal = Journal::create(&logs.join(format!("chaos-{}.jsonl", wanted.seed)))?;
    say(&format!("the journal is {}", journal.path().display()));
    let mut world = World::start(journal).await?;
    let mut random = StdRng::seed_from_u64(wanted.seed);
    let mut probe = Probe::new(world.asking.clone(), world.system.region.as_str()).await?;
    ensure!(probe.works(&mut world, STARTS_WITHIN).await?.is_some(), "the system does not even work unbroken");
    let going = Arc::new(AtomicBool::new(true));
    let customers = world.customers(&mut random, &going).await?;
    let broken = async {
        tokio::time::sleep(UNBROKEN_FOR).await;
        let before = resources::measure(&mut world).await?;
        say("now it is broken");
        let mut order = StdRng::seed_from_u64(random.random());
        let until = Instant::now() + wanted.length;
        let records = schedule::run(&mut world, &mut faults, wanted.mixed, &mut probe, &mut order, until).await;
        going.store(false, Ordering::Relaxed);
        Ok::<_, anyhow::Error>((before, records?))
    };
    let (broken, customers) = join(Box::pin(broken), try_join_all(customers)).await;
    let (before, records) = broken?;
    let owned = customers?.into_iter().flatten().chain([probe.owned]);
    let orders: Vec<Order> = owned.map(|owned| owned.order).collect();

    say("nothing is broken any more");
    let settled = settle(&world).await;
    say(&settled.map_or("it does not come to rest".to_owned(), |time| format!("at rest after {time:.1?}")));
    let mut findings = judged(&mut world, &orders, settled, &before).await?;
    findings.push(Finding {
        name: "R",
        says: "whatever stops is healed without a person, and nothing ends by itself",
        checked: records.values().map(|record| record.recoveries.len() + record.problems.len()).sum(),
        violations: records.values().flat_map(|record| &record.problems).chain(&world.crashes).cloned().collect(),
    });
    let count = violations(&findings);
    let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), tables(&records, &findings).as_bytes());
    if count > 0 {
        let all: Vec<&String> = findings.iter().flat_map(|finding| &finding.violations).collect();
        let file = logs.join(format!("chaos-{}.violations.json", wanted.seed));
        std::fs::write(&file, serde_json::to_vec_pretty(&all)?)?;
        say(&format!("all violations are in {}", file.display()));
        say(&format!("the logs are in {}", world.system.folder().display()));
    }
    Ok(count)
}

/// The faults that are wanted.
fn chosen(wanted: &Wanted) -> Result<Vec<Box<dyn Fault>>> {
    let all = faults::all(wanted.length >= LONG || !wanted.faults.is_empty());
    for name in &wanted.faults {
        let names: Vec<&str> = all.iter().map(|fault| fault.name()).collect();
        ensure!(names.contains(&name.as_str()), "there is no fault {name}; there are {}", names.join(", "));
    }
    let is_wanted = |name: &str| wanted.faults.is_empty() || wanted.faults.iter().any(|wanted| wanted == name);
    Ok(all.into_iter().filter(|fault| is_wanted(fault.name())).collect())
}

/// Judges again until nothing is wrong, as the cluster and the ledger follow the record, or until it is too late.
async fn judged(
    world: &mut World,
    orders: &[Order],
    settled: Option<Duration>,
    before: &Amounts,
) -> Result<Vec<Finding>> {
    let begun = Instant::now();
    loop {
        let judged = judge(world, orders, settled, before).await;
        let is_right = judged.as_ref().is_ok_and(|(_, findings)| violations(findings) == 0);
        if is_right || begun.elapsed() > FOLLOWS_WITHIN {
            let (told, findings) = judged?;
            say(&told);
            return Ok(findings);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn judge(
    world: &mut World,
    orders: &[Order],
    settled: Option<Duration>,
    before: &Amounts,
) -> Result<(String, Vec<Finding>)> {
    let mut evidence = gather(world, orders, settled).await?;
    evidence.resources = resources::compared(before, &resources::measure(world).await?);
    Ok((counts(&evidence), check(&evidence)))
}
