//! Breaks a system again and again: each fault in its turn, or several at once, in an order
//! that the seed says, until the time is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::faults::Fault;
use super::journal::Event;
use super::probe::Probe;
use super::report::say;
use super::run::Wanted;
use super::world::World;

/// The longest that a system may take until it works again after a fault.
const RECOVERS_WITHIN: Duration = Duration::from_mins(2);
/// The pause between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 500..4000;

/// What came of breaking a system.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often it was waited until it worked again.
    pub waits: usize,
    /// What went wrong.
    pub problems: Vec<String>,
    /// How often each fault was done.
    done: HashMap<&'static str, usize>,
}

/// How many faults overlap at most.
const MIXED_MOST: usize = 3;

/// Breaks the system until this time, or until each fault was done as often as is wanted, with one fault at a time or with several.
pub async fn run(
    world: &mut World,
    mut faults: Vec<Box<dyn Fault>>,
    wanted: &Wanted,
    probe: &mut Probe,
    random: &mut StdRng,
    until: Instant,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while !faults.is_empty() {
        faults.shuffle(random);
        let most = if wanted.mixed { random.random_range(2..=MIXED_MOST) } else { 1 };
        for group in faults.chunks_mut(most) {
            if Instant::now() >= until {
                return Ok(outcome);
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE))).await;
            once(world, group, probe, random, &mut outcome).await?;
        }
        if let Some(times) = wanted.times {
            faults.retain(|fault| outcome.done.get(fault.name()).is_none_or(|done| *done < times));
        }
    }
    Ok(outcome)
}

/// Injects faults, heals them in the same order, and waits until the system works again.
async fn once(
    world: &mut World,
    group: &mut [Box<dyn Fault>],
    probe: &mut Probe,
    random: &mut StdRng,
    outcome: &mut Outcome,
) -> Result<()> {
    let journal = world.asking.journal.clone();
    let mut injected = Vec::new();
    for fault in group {
        let lasts = fault.lasts(random);
        let name = fault.name().to_owned();
        match fault.inject(world, random).await {
            Ok(what) => {
                let (times, is_by_hand) = (fault.times(), fault.is_by_hand());
                *outcome.done.entry(fault.name()).or_default() += times;
                journal.add(Event::Injected { fault: name, what: what.clone(), times, is_by_hand })?;
                world.whole_since = None;
                injected.push((fault, what));
                tokio::time::sleep(lasts).await;
            }
            Err(error) => journal.add(Event::Skipped { fault: name, problem: format!("{error:#}") })?,
        }
    }
    let told: Vec<String> = injected.iter().map(|(fault, what)| format!("{} ({what})", fault.name())).collect();
    let told = told.join(", ");
    let faults: Vec<String> = injected.iter().map(|(fault, _)| fault.name().to_owned()).collect();
    for (fault, what) in injected {
        if let Err(error) = fault.heal(world).await {
            outcome.problems.push(format!("{} ({what}): {error:#}", fault.name()));
        }
        journal.add(Event::Healed { fault: fault.name().to_owned() })?;
    }
    if faults.is_empty() {
        return Ok(());
    }
    world.whole_since = Some(Instant::now());
    outcome.waits += 1;
    let recovered = probe.works(world, RECOVERS_WITHIN).await?;
    let milliseconds = recovered.map(|time| u64::try_from(time.as_millis())).transpose()?;
    journal.add(Event::Recovered { faults, milliseconds })?;
    if let Some(time) = recovered {
        say(&format!("{told}: works again after {:.1} s", time.as_secs_f64()));
        return Ok(());
    }
    say(&format!("{told}: does not work again"));
    outcome.problems.push(format!("{told}: the system does not work again by itself"));
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
