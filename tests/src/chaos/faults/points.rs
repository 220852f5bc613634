//! Processes that end after a step of a change or of a read, as by a power cut: a fault for each fail point (`docs/RELIABILITY.md`).

use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use common::fail_point::FailPoint;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;

use super::{Fault, Step};
use crate::chaos::links::Part;
use crate::chaos::world::World;

/// How long a process may take until it comes to the step.
const REACHED_WITHIN: Duration = Duration::from_secs(25);
/// How often the step is passed first, at most.
const PASSED: u32 = 4;
/// How often something is done that leads there.
const PROVOKED_EVERY: Duration = Duration::from_millis(100);

/// How often all instances are to end at the step, and not only one.
const EVERYBODY: f64 = 0.75;
/// How often they end there in turn: what is started again comes to the step with what the end before has left.
const ROUNDS: RangeInclusive<u32> = 1..=4;

/// The end of processes at a step.
#[derive(Debug)]
struct Ends {
    at: FailPoint,
    victims: Vec<Part>,
    /// Who stands still meanwhile.
    paused: Vec<Part>,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    FailPoint::ALL
        .into_iter()
        .map(|at| -> Box<dyn Fault> { Box::new(Ends { at, victims: Vec::new(), paused: Vec::new() }) })
        .collect()
}

impl Fault for Ends {
    fn name(&self) -> &'static str {
        self.at.name()
    }

    fn needs_fail_points(&self) -> bool {
        true
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(0..2000))
    }

    fn times(&self) -> usize {
        self.victims.len()
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            self.victims.clear();
            let is_of_worker = self.at.name().starts_with("worker-");
            let (mut armed, others): (Vec<Part>, Vec<Part>) =
                world.parts().into_iter().partition(|part| matches!(part, Part::Worker(_)) == is_of_worker);
            if !random.random_bool(EVERYBODY) {
                armed = armed.choose(random).copied().into_iter().collect();
            }
            // A job that is begun cannot be withdrawn any more.
            if self.at == FailPoint::JobWithdrawn {
                for part in others {
                    world.process(part)?.pause().await?;
                    self.paused.push(part);
                }
            }
            let passed: Vec<u32> = (0..random.random_range(ROUNDS)).map(|_| random.random_range(0..PASSED)).collect();
            let done = self.end_again_and_again(world, &armed, &passed).await;
            if done.is_err() || self.victims.is_empty() {
                self.resume(world)?;
                // None goes on that is to end at the step.
                armed.iter().try_for_each(|part| world.spawn_again(*part))?;
            }
            let problems = done?;
            ensure!(!self.victims.is_empty(), "{}", problems.join(", "));
            Ok(format!("{:?}, after {passed:?} others", self.victims))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            self.resume(world)?;
            for victim in &self.victims {
                // Another fault may have had it started again meanwhile.
                if world.process(*victim)?.ended()?.is_some() {
                    world.spawn_again(*victim)?;
                }
            }
            Ok(())
        }
        .boxed_local()
    }
}

impl Ends {
    /// Starts them anew so that they end at the step, and has them come to it, as often as there are numbers of times that the
    /// step is passed first. What became of the others.
    async fn end_again_and_again(&mut self, world: &mut World, armed: &[Part], passed: &[u32]) -> Result<Vec<String>> {
        for passed in passed {
            let points = format!("{}={passed}*off->return", self.at.name());
            for part in armed {
                let process = world.process(*part)?;
                if process.ended()?.is_none() {
                    process.kill().await?;
                }
                world.spawn_again_with(*part, &[("FAILPOINTS", &points)])?;
            }
            let problems = self.all_end(world, armed.to_vec()).await?;
            if !problems.is_empty() {
                return Ok(problems);
            }
        }
        Ok(Vec::new())
    }

    /// Has them come to the step, and takes note of those that end there. What became of the others.
    async fn all_end(&mut self, world: &mut World, mut armed: Vec<Part>) -> Result<Vec<String>> {
        let (until, mut problems) = (Instant::now() + REACHED_WITHIN, Vec::new());
        while !armed.is_empty() && Instant::now() < until {
            world.provoker.provoke(self.at).await?;
            let mut going = Vec::new();
            for part in armed {
                match world.process(part)?.ended()? {
                    None => going.push(part),
                    Some(status) if status.signal() == Some(Signal::ABORT.as_raw()) => self.victims.push(part),
                    Some(status) => {
                        world.ended_by_itself(part, status)?;
                        world.spawn_again(part)?;
                        problems.push(format!("{part:?} ended with {status} before it came to it"));
                    }
                }
            }
            armed = going;
            tokio::time::sleep(PROVOKED_EVERY).await;
        }
        for part in armed {
            world.process(part)?.kill().await?;
            world.spawn_again(part)?;
            problems.push(format!("{part:?} did not come to it"));
        }
        Ok(problems)
    }

    fn resume(&mut self, world: &mut World) -> Result<()> {
        std::mem::take(&mut self.paused).into_iter().try_for_each(|part| world.process(part)?.resume())
    }
}
