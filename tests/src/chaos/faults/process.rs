//! Processes that are killed, stand still or are asked to end while there is work.

use std::ops::Range;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::Result;
use common::stream::JOB_ACK_WAIT;
use futures::FutureExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{Fault, Step, between};
use crate::chaos::links::Part;
use crate::chaos::world::World;
use crate::system::END_WITHIN;

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, until it is healed.
    Pause,
    /// SIGTERM.
    End,
    /// SIGTERM and a new start, for one process after another.
    Roll,
}

/// How many it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    One,
    All,
}

/// A fault of processes of the product.
#[derive(Debug)]
struct ProcessFault {
    name: &'static str,
    is_victim: fn(&Part) -> bool,
    reach: Reach,
    blow: Blow,
    seconds: Range<u64>,
    /// Which ones, and their process ids.
    victims: Vec<(Part, u32)>,
}

pub(super) fn all(long: bool) -> Vec<Box<dyn Fault>> {
    let any: fn(&Part) -> bool = |_| true;
    let api: fn(&Part) -> bool = |part| matches!(part, Part::Api(_));
    let worker: fn(&Part) -> bool = |part| matches!(part, Part::Worker(_));
    let asleep = 3 * JOB_ACK_WAIT.as_secs() + 5;
    let faults = [
        ("api-kill", api, Reach::One, Blow::Kill, 0..5),
        ("worker-kill", worker, Reach::One, Blow::Kill, 0..5),
        ("all-kill", any, Reach::All, Blow::Kill, 0..5),
        ("api-pause", api, Reach::One, Blow::Pause, 2..12),
        ("worker-pause", worker, Reach::One, Blow::Pause, 2..12),
        ("api-end", api, Reach::One, Blow::End, 0..3),
        ("worker-end", worker, Reach::One, Blow::End, 0..3),
        ("all-rolling", any, Reach::All, Blow::Roll, 0..1),
    ];
    let long_ones = [
        ("worker-asleep", worker, Reach::One, Blow::Pause, asleep..asleep + 1),
        ("region-silent", worker, Reach::All, Blow::Kill, 60..90),
    ];
    let faults = faults.into_iter().chain(long_ones.into_iter().filter(|_| long));
    let boxed = faults.map(|(name, is_victim, reach, blow, seconds)| -> Box<dyn Fault> {
        Box::new(ProcessFault { name, is_victim, reach, blow, seconds, victims: Vec::new() })
    });
    boxed.collect()
}

impl Fault for ProcessFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        between(&self.seconds, random)
    }

    fn times(&self) -> usize {
        self.victims.len()
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            self.victims.clear();
            let mut parts: Vec<Part> = world.parts().into_iter().filter(self.is_victim).collect();
            if self.reach == Reach::One {
                parts = parts.choose(random).copied().into_iter().collect();
            }
            for part in &parts {
                world.process(*part)?.must_run()?;
            }
            for part in &parts {
                let process = world.process(*part)?;
                self.victims.push((*part, process.id()));
                match self.blow {
                    Blow::Kill => process.kill().await?,
                    Blow::Pause => process.pause().await?,
                    Blow::End => process.ask_to_end()?,
                    Blow::Roll => {
                        process.ask_to_end()?;
                        let ended = ended_well(world, *part).await;
                        world.spawn_again(*part)?;
                        ended?;
                    }
                }
            }
            Ok(format!("{parts:?}"))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            for (victim, id) in &self.victims {
                if world.process(*victim)?.id() != *id {
                    // It was started again already.
                    continue;
                }
                match self.blow {
                    Blow::Kill => world.spawn_again(*victim)?,
                    Blow::Pause => world.process(*victim)?.resume()?,
                    Blow::Roll => {}
                    Blow::End => {
                        let ended = ended_well(world, *victim).await;
                        world.spawn_again(*victim)?;
                        ended?;
                    }
                }
            }
            Ok(())
        }
        .boxed_local()
    }
}

/// Waits until a process that was asked to end has ended, without an error.
async fn ended_well(world: &mut World, part: Part) -> Result<()> {
    let process = world.process(part)?;
    let status = process.wait(END_WITHIN).await?;
    let was_killed = status.signal().is_some();
    anyhow::ensure!(status.success() || was_killed, "{part:?} was asked to end and ended with {status}");
    Ok(())
}
