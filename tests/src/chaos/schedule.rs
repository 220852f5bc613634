//! Breaks a system again and again: each fault in its turn, in an order that the seed says, until the time is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
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

/// Breaks the system until this time.
pub async fn run(
    world: &mut World,
    faults: &mut [Box<dyn Fault>],
    probe: &mut Probe,
    random: &mut StdRng,
    until: Instant,
) -> Result<Records> {
    let mut records = Records::new();
    loop {
        faults.shuffle(random);
        for fault in &mut *faults {
            if Instant::now() >= until {
                return Ok(records);
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE))).await;
            let record = records.entry(fault.name()).or_default();
            once(world, fault.as_mut(), probe, random, record).await?;
        }
    }
}

/// Injects a fault, heals it, and waits until the system works again.
async fn once(
    world: &mut World,
    fault: &mut dyn Fault,
    probe: &mut Probe,
    random: &mut StdRng,
    record: &mut Record,
) -> Result<()> {
    let (name, journal) = (fault.name(), world.asking.journal.clone());
    let lasts = fault.lasts(random);
    let done = match fault.inject(world, random).await {
        Ok(done) => done,
        Err(error) => {
            record.skipped += 1;
            journal.fault(name, "skipped", &format!("{error:#}"))?;
            say(&format!("{name}: skipped: {error:#}"));
            return Ok(());
        }
    };
    journal.fault(name, "injected", &done)?;
    tokio::time::sleep(lasts).await;
    if let Err(error) = fault.heal(world).await {
        record.problems.push(format!("{name} ({done}): {error:#}"));
    }
    journal.fault(name, "healed", &done)?;
    let recovered = probe.works(RECOVERS_WITHIN).await?;
    let seconds = recovered.map_or_else(|| "never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
    journal.fault(name, "recovered", &seconds)?;
    say(&format!("{name}: {done}, for {:.1} s, works again after {seconds}", lasts.as_secs_f64()));
    match recovered {
        Some(time) => record.recoveries.push(time),
        None => record.problems.push(format!("{name} ({done}): the system does not work again by itself")),
    }
    for part in world.parts() {
        if let Err(error) = world.process(part)?.must_run() {
            record.problems.push(format!("{name} ({done}): {error:#}"));
            world.spawn_again(part)?;
        } else if recovered.is_none() {
            // First aid, so that the next fault meets a system that works.
            world.process(part)?.kill().await?;
            world.spawn_again(part)?;
        }
    }
    Ok(())
}
