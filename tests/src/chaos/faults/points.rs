//! Processes that end after a step of a change or of a read, as by a power cut: a fault for each fail point (`docs/RELIABILITY.md`).
//! They are skipped where the binaries were built without the feature `failpoints`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use common::fail_point::FailPoint;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{Fault, Step};
use crate::chaos::links::Part;
use crate::chaos::world::World;

/// How long a process may take until it comes to the step.
const REACHED_WITHIN: Duration = Duration::from_secs(25);
/// How often the step is passed first, at most.
const PASSED: u32 = 4;
/// How often it is looked whether the process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The end of a process at a step.
#[derive(Debug)]
struct Ends {
    at: FailPoint,
    victim: Option<Part>,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    FailPoint::ALL.into_iter().map(|at| -> Box<dyn Fault> { Box::new(Ends { at, victim: None }) }).collect()
}

impl Fault for Ends {
    fn name(&self) -> &'static str {
        self.at.name()
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(0..2000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let is_of_worker = self.at.name().starts_with("worker-");
            let parts = world.parts().into_iter();
            let candidates: Vec<Part> = parts.filter(|part| matches!(part, Part::Worker(_)) == is_of_worker).collect();
            let victim = *candidates.choose(random).context("somebody")?;
            let passed = random.random_range(0..PASSED);
            world.process(victim)?.kill().await?;
            world.spawn_again_with(victim, &[("FAILPOINTS", &format!("{}={passed}*off->return", self.at.name()))])?;
            let Some(status) = end_of(world, victim).await? else {
                world.process(victim)?.kill().await?;
                world.spawn_again(victim)?;
                bail!("{victim:?} did not come to it");
            };
            self.victim = Some(victim);
            ensure!(status.signal().is_some(), "{victim:?} ended with {status}");
            Ok(format!("{victim:?}, after {passed} others"))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            let victim = self.victim.take().context("it was not injected")?;
            // Another fault may have had it started again meanwhile.
            if world.process(victim)?.ended()?.is_some() { world.spawn_again(victim) } else { Ok(()) }
        }
        .boxed_local()
    }
}

/// How a process ended, if it does in time.
async fn end_of(world: &mut World, part: Part) -> Result<Option<ExitStatus>> {
    let until = Instant::now() + REACHED_WITHIN;
    while Instant::now() < until {
        if let Some(status) = world.process(part)?.ended()? {
            return Ok(Some(status));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(None)
}
