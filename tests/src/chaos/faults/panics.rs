//! A worker in which a step of a job or of a read panics: the process goes on, and the job is done all the same.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use common::fail_point::FailPoint;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{Fault, Step};
use crate::chaos::links::Part;
use crate::chaos::world::World;
use crate::process::log_from;

/// How long a worker may take until it comes to the step.
const REACHED_WITHIN: Duration = Duration::from_secs(25);
/// How often the step panics.
const PANICS: u32 = 2;
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A worker's step that panics.
#[derive(Debug)]
struct Panics {
    victim: Option<Part>,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Panics { victim: None })]
}

impl Fault for Panics {
    fn name(&self) -> &'static str {
        "worker-panics"
    }

    fn needs_fail_points(&self) -> bool {
        true
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(0..5000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let steps = FailPoint::ALL.into_iter().map(FailPoint::name).filter(|name| name.starts_with("worker-"));
            let step = *steps.collect::<Vec<_>>().choose(random).context("a step")?;
            let parts = world.parts().into_iter().filter(|part| matches!(part, Part::Worker(_)));
            let victim = *parts.collect::<Vec<_>>().choose(random).context("a worker")?;
            let process = world.process(victim)?;
            process.kill().await?;
            let log = process.log().to_owned();
            let begun = usize::try_from(std::fs::metadata(&log)?.len())?;
            world.spawn_again_with(victim, &[("FAILPOINTS", &format!("{step}={PANICS}*panic"))])?;
            self.victim = Some(victim);
            let until = Instant::now() + REACHED_WITHIN;
            while Instant::now() < until {
                if log_from(&log, begun)?.contains(&format!("failpoint {step} panic")) {
                    return Ok(format!("{victim:?} at {step}"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            world.process(victim)?.kill().await?;
            world.spawn_again(victim)?;
            bail!("{victim:?} did not come to {step}")
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            let victim = self.victim.take().context("it was not injected")?;
            let ended = world.process(victim)?.ended()?;
            // Another fault may have killed it meanwhile; by itself it goes on.
            match ended.filter(|status| status.signal().is_none()) {
                Some(status) => bail!("{victim:?} ended with {status}"),
                None => Ok(()),
            }
        }
        .boxed_local()
    }
}
