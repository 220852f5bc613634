//! One run: a system is broken while customers use it, comes to rest, and is judged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use futures::future::{join, try_join_all};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::process::Command;

use super::checker::{Finding, check};
use super::faults::{self, Fault};
use super::figures;
use super::journal::{self, Journal};
use super::probe::Probe;
use super::report::{counts, held, say, verdict, violations, watched};
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
/// How long a binary may take to say its version.
const PROBED_WITHIN: Duration = Duration::from_secs(10);
/// A run of so long has time for faults that take long.
const LONG: Duration = Duration::from_mins(15);

/// What is wanted of a run.
#[derive(Debug, Args)]
pub struct Wanted {
    /// What all that is random follows from
    #[arg(long, value_name = "N")]
    seed: u64,
    /// How long the system is broken
    #[arg(long = "minutes", value_name = "M", value_parser = of_minutes)]
    length: Duration,
    /// Only this fault, or these; else all that there is time for. A wrong name tells all of them
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<String>,
    /// How often each is to be done: the run ends when all were, if its time is not over before
    #[arg(long, value_name = "N")]
    pub(super) times: Option<usize>,
    /// Let faults overlap
    #[arg(long)]
    pub(super) mixed: bool,
    /// How many customers there are, each with one order at a time
    #[arg(long, value_name = "N", default_value_t = 10)]
    customers: usize,
    /// How many NATS servers there are: several are a cluster, which keeps as many copies of each stream
    #[arg(long, value_name = "1|3|5", default_value = "1", value_parser = servers)]
    nats_servers: usize,
    /// Where the journal is kept; else with the logs, which a run in which all is well does not leave
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

fn of_minutes(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(60.0 * text.parse::<f64>()?)?)
}

fn servers(text: &str) -> Result<usize> {
    text.parse().ok().filter(|count| [1, 3, 5].contains(count)).context("it must be 1, 3 or 5")
}

/// Runs. How many violations there were.
pub async fn run(wanted: &Wanted) -> Result<usize> {
    let faults = chosen(wanted)?;
    fail_points_are_there(&faults).await?;
    say(&format!("seed {}", wanted.seed));
    crate::test::remove_old().await?;
    let logs = Stack::get()?.folder.parent().context("the logs have a folder")?.to_owned();
    let file = wanted.journal.clone().unwrap_or_else(|| logs.join(format!("chaos-{}.jsonl", wanted.seed)));
    let journal = Journal::create(&file)?;
    say(&format!("the journal is {}", journal.path().display()));
    let mut world = World::start(journal, wanted.nats_servers).await?;
    let mut random = StdRng::seed_from_u64(wanted.seed);
    let mut probe = Probe::new(world.asking.clone(), world.system.region.as_str()).await?;
    ensure!(probe.works(&mut world, STARTS_WITHIN).await?.is_some(), "the system does not even work unbroken");
    let going = Arc::new(AtomicBool::new(true));
    let customers = world.customers(wanted.customers, &mut random, &going).await?;
    let broken = async {
        tokio::time::sleep(UNBROKEN_FOR).await;
        let before = resources::measure(&mut world).await?;
        say("now it is broken");
        let mut order = StdRng::seed_from_u64(random.random());
        let until = Instant::now() + wanted.length;
        let outcome = schedule::run(&mut world, faults, wanted, &mut probe, &mut order, until).await;
        going.store(false, Ordering::Relaxed);
        Ok::<_, anyhow::Error>((before, outcome?))
    };
    let (broken, customers) = join(Box::pin(broken), try_join_all(customers)).await;
    let (before, outcome) = broken?;
    let owned = customers?.into_iter().flatten().chain([probe.owned]).chain(world.provoker.owned.clone());
    let orders: Vec<Order> = owned.map(|owned| owned.order).collect();

    say("nothing is broken any more");
    let settled = settle(&world, &orders).await;
    say(&settled.map_or("it does not come to rest".to_owned(), |time| format!("at rest after {time:.1?}")));
    let mut findings = judged(&mut world, &orders, settled, &before).await?;
    findings.push(Finding {
        name: "R",
        says: "whatever stops is healed without a person, and nothing ends by itself",
        checked: outcome.waits,
        violations: outcome.problems.iter().chain(&world.crashes).cloned().collect(),
    });
    let count = violations(&findings);
    let done = figures::of(&[journal::read(world.asking.journal.path())?]);
    let tables = format!("\n{}\n{}", figures::table(&done), verdict(&findings));
    let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), tables.as_bytes());
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
    let all = faults::all(wanted.length >= LONG || !wanted.faults.is_empty(), wanted.nats_servers > 1);
    for name in &wanted.faults {
        let names: Vec<&str> = all.iter().map(|fault| fault.name()).collect();
        ensure!(names.contains(&name.as_str()), "there is no fault {name}; there are {}", names.join(", "));
    }
    let is_wanted = |name: &str| wanted.faults.is_empty() || wanted.faults.iter().any(|wanted| wanted == name);
    Ok(all.into_iter().filter(|fault| is_wanted(fault.name())).collect())
}

/// Fails where fail points are wanted of binaries that have none: each would only seem to be tried.
async fn fail_points_are_there(faults: &[Box<dyn Fault>]) -> Result<()> {
    let stack = Stack::get()?;
    let wanted = |part: &str| faults.iter().find(|fault| fault.needs_fail_points() && fault.name().starts_with(part));
    for (part, binary) in [("api-", &stack.api_binary), ("worker-", &stack.worker_binary)] {
        let Some(fault) = wanted(part) else { continue };
        let has = has_fail_points(binary).await?;
        let (fault, binary) = (fault.name(), binary.display());
        ensure!(
            has,
            "{fault} needs fail points, and {binary} has none: build it with --features api/failpoints,workers/failpoints"
        );
    }
    Ok(())
}

/// Whether a binary reads what its fail points are to do: then it refuses nonsense.
async fn has_fail_points(binary: &Path) -> Result<bool> {
    let mut command = Command::new(binary);
    command.arg("--version").env("FAILPOINTS", "nonsense");
    let output = tokio::time::timeout(PROBED_WITHIN, command.output()).await??;
    Ok(!output.status.success())
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
    let told = [counts(&evidence), watched(&evidence.looks), held(&evidence.resources)].join("\n        ");
    Ok((told, check(&evidence)))
}
