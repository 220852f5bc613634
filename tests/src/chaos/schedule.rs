//! Breaks a system again and again: each fault in its turn, or several at once, in an order
//! that the seed says, until the time is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::faults::Fault;
use super::probe::Probe;
use super::report::say;
use super::world::World;

/// The longest that a system may take until it works again after a fault.
const RECOVERS_WITHIN: Duration = Duration::from_mins(2);
/// The pause between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 500..4000;

/// What came of one fault.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// How long the system took to work again, each time.
    pub recoveries: Vec<Duration>,
    /// How often it could not be injected, as there was nothing to do it to.
    pub skipped: usize,
    /// What went wrong.
    pub problems: Vec<String>,
}

/// What came of each fault, by its name.
pub type Records = BTreeMap<&'static str, Record>;

/// The record of faults that overlap.
const MIXED: &str = "(mixed)";
/// How many faults overlap at most.
const MIXED_MOST: usize = 3;

/// Breaks the system until this time, with one fault at a time or with several.
pub async fn run(
    world: &mut World,
    faults: &mut [Box<dyn Fault>],
    mixed: bool,
    probe: &mut Probe,
    random: &mut StdRng,
    until: Instant,
) -> Result<Records> {
    let mut records = Records::new();
    loop {
        faults.shuffle(random);
        let most = if mixed { random.random_range(2..=MIXED_MOST) } else { 1 };
        for group in faults.chunks_mut(most) {
            if Instant::now() >= until {
                return Ok(records);
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE))).await;
            let name = group.first().filter(|_| !mixed).map_or(MIXED, |fault| fault.name());
            once(world, group, probe, random, records.entry(name).or_default()).await?;
        }
    }
}

/// Injects faults, heals them in the same order, and waits until the system works again.
async fn once(
    world: &mut World,
    group: &mut [Box<dyn Fault>],
    probe: &mut Probe,
    random: &mut StdRng,
    record: &mut Record,
) -> Result<()> {
    let journal = world.asking.journal.clone();
    let mut injected = Vec::new();
    for fault in group {
        let lasts = fault.lasts(random);
        match fault.inject(world, random).await {
            Ok(done) => {
                journal.fault(fault.name(), "injected", &done)?;
                injected.push((fault, done));
                tokio::time::sleep(lasts).await;
            }
            Err(error) => {
                record.skipped += 1;
                journal.fault(fault.name(), "skipped", &format!("{error:#}"))?;
            }
        }
    }
    let what: Vec<String> = injected.iter().map(|(fault, done)| format!("{} ({done})", fault.name())).collect();
    let what = what.join(", ");
    for (fault, done) in injected {
        if let Err(error) = fault.heal(world).await {
            record.problems.push(format!("{} ({done}): {error:#}", fault.name()));
        }
        journal.fault(fault.name(), "healed", &done)?;
    }
    if what.is_empty() {
        return Ok(());
    }
    let recovered = probe.works(world, RECOVERS_WITHIN).await?;
    let told = recovered.map_or("never".to_owned(), |time| format!("after {:.1} s", time.as_secs_f64()));
    journal.fault(&what, "recovered", &told)?;
    say(&format!("{what}: works again {told}"));
    if let Some(time) = recovered {
        record.recoveries.push(time);
        return Ok(());
    }
    record.problems.push(format!("{what}: the system does not work again by itself"));
    first_aid(world, probe).await
}

/// Starts all anew, so that the next fault meets a system that works.
async fn first_aid(world: &mut World, probe: &mut Probe) -> Result<()> {
    for part in world.parts() {
        world.process(part)?.kill().await?;
        world.spawn_again(part)?;
    }
    let works = probe.works(world, RECOVERS_WITHIN).await?;
    ensure!(
        works.is_some(),
        "it does not work either when all is started anew; the logs are in {}",
        world.system.folder().display()
    );
    Ok(())
}
