//! Processes that are killed, stand still or are asked to end while there is work.

use std::ops::Range;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::stream::JOB_ACK_WAIT;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{Fault, Step};
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
}

/// A fault of a process of the product.
#[derive(Debug)]
struct ProcessFault {
    name: &'static str,
    is_victim: fn(&Part) -> bool,
    blow: Blow,
    seconds: Range<u64>,
    /// Which one, and its process id.
    victim: Option<(Part, u32)>,
}

pub(super) fn all(long: bool) -> Vec<Box<dyn Fault>> {
    let api: fn(&Part) -> bool = |part| matches!(part, Part::Api(_));
    let worker: fn(&Part) -> bool = |part| matches!(part, Part::Worker(_));
    let asleep = 3 * JOB_ACK_WAIT.as_secs() + 5;
    let faults = [
        ("api-kill", api, Blow::Kill, 0..5),
        ("worker-kill", worker, Blow::Kill, 0..5),
        ("api-pause", api, Blow::Pause, 2..12),
        ("worker-pause", worker, Blow::Pause, 2..12),
        ("api-end", api, Blow::End, 0..3),
        ("worker-end", worker, Blow::End, 0..3),
        ("worker-asleep", worker, Blow::Pause, asleep..asleep + 1),
    ];
    let faults = faults.into_iter().filter(|(name, ..)| long || *name != "worker-asleep");
    let boxed = faults.map(|(name, is_victim, blow, seconds)| -> Box<dyn Fault> {
        Box::new(ProcessFault { name, is_victim, blow, seconds, victim: None })
    });
    boxed.chain([Box::new(NatsKill) as Box<dyn Fault>]).collect()
}

impl Fault for ProcessFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_secs(random.random_range(self.seconds.clone()))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let candidates: Vec<Part> = world.parts().into_iter().filter(self.is_victim).collect();
            let victim = *candidates.choose(random).context("somebody")?;
            let process = world.process(victim)?;
            process.must_run()?;
            self.victim = Some((victim, process.id()));
            match self.blow {
                Blow::Kill => process.kill().await?,
                Blow::Pause => process.pause().await?,
                Blow::End => process.ask_to_end()?,
            }
            Ok(format!("{victim:?}"))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            let (victim, id) = self.victim.take().context("it was not injected")?;
            if world.process(victim)?.id() != id {
                // Another fault had it killed and started again.
                return Ok(());
            }
            match self.blow {
                Blow::Kill => world.spawn_again(victim),
                Blow::Pause => world.process(victim)?.resume(),
                Blow::End => {
                    let ended = ended_well(world, victim).await;
                    world.spawn_again(victim)?;
                    ended
                }
            }
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

/// NATS is killed, and starts again with its data.
#[derive(Debug)]
struct NatsKill;

impl Fault for NatsKill {
    fn name(&self) -> &'static str {
        "nats-kill"
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, _: &'a mut StdRng) -> Step<'a, String> {
        async move {
            world.system.nats.kill().await?;
            Ok("the one server".to_owned())
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        world.system.nats.start_again().boxed_local()
    }
}
