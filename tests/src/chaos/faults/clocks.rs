//! Clocks that step by an hour, ahead or behind, and back.

use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{Fault, Step};
use crate::chaos::links::Part;
use crate::chaos::world::World;
use crate::clock::Clock;

/// How far they step, in seconds.
const HOUR: i64 = 3600;

/// Whose clock steps.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Api,
    Worker,
    Postgres,
}

/// A fault of a clock.
#[derive(Debug)]
struct ClockFault {
    name: &'static str,
    whose: Whose,
    clock: Option<Clock>,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let faults = [("api-clock", Whose::Api), ("worker-clock", Whose::Worker), ("postgres-clock", Whose::Postgres)];
    let boxed =
        faults.into_iter().map(|(name, whose)| -> Box<dyn Fault> { Box::new(ClockFault { name, whose, clock: None }) });
    boxed.collect()
}

impl Fault for ClockFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        // A process looks at its clock's setting once a second.
        Duration::from_millis(random.random_range(2000..15_000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let seconds = if random.random_bool(0.5) { HOUR } else { -HOUR };
            let is_candidate = |part: &Part| match self.whose {
                Whose::Api => matches!(part, Part::Api(_)),
                Whose::Worker => matches!(part, Part::Worker(_)),
                Whose::Postgres => false,
            };
            let candidates: Vec<Part> = world.parts().into_iter().filter(is_candidate).collect();
            let (whom, clock) = match candidates.choose(random) {
                Some(part) => (format!("{part:?}"), world.clocks.get(part).context("it has a clock")?),
                None => ("PostgreSQL".to_owned(), world.postgres.clock()),
            };
            clock.set(seconds)?;
            self.clock = Some(clock.clone());
            Ok(format!("{whom} by {seconds:+} s"))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, _: &'a mut World) -> Step<'a, ()> {
        let healed = self.clock.take().context("it was not injected").and_then(|clock| clock.set(0));
        async move { healed }.boxed_local()
    }
}
