//! What is done to a system: each fault is injected, lasts a while, and is healed.

mod broker;
mod clocks;
mod database;
mod edits;
mod kubernetes;
mod messages;
mod network;
mod objects;
mod order;
mod panics;
mod points;
mod process;
mod room;
mod storage;

use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::world::World;

/// A step that is being taken.
pub type Step<'a, T> = LocalBoxFuture<'a, Result<T>>;

/// Something that goes wrong with a system.
pub trait Fault {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// How long it lasts.
    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(1000..8000))
    }

    /// Whether the binaries must have fail points for it.
    fn needs_fail_points(&self) -> bool {
        false
    }

    /// Whether it changes an order's objects as somebody does by hand, which is repaired.
    fn is_by_hand(&self) -> bool {
        false
    }

    /// How often it was done when it was injected last: to how many processes, say.
    fn times(&self) -> usize {
        1
    }

    /// Makes it go wrong, and says to what it was done.
    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String>;

    /// Puts an end to it. What the system then does is its own affair.
    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()>;
}

/// A time of so many seconds, to the millisecond.
fn between(seconds: &Range<u64>, random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(1000 * seconds.start..1000 * seconds.end))
}

/// Nothing is done: how long a system takes to work "again" that was never broken.
#[derive(Debug)]
struct Nothing;

impl Fault for Nothing {
    fn name(&self) -> &'static str {
        "(nothing)"
    }

    fn inject<'a>(&'a mut self, _: &'a mut World, _: &'a mut StdRng) -> Step<'a, String> {
        async { Ok("to compare".to_owned()) }.boxed_local()
    }

    fn heal<'a>(&'a mut self, _: &'a mut World) -> Step<'a, ()> {
        async { Ok(()) }.boxed_local()
    }
}

/// Every fault. Those that take long are for long runs, and some are for a cluster of NATS servers.
pub fn all(long: bool, is_cluster: bool) -> Vec<Box<dyn Fault>> {
    let mut all: Vec<Box<dyn Fault>> = vec![Box::new(Nothing)];
    all.extend(process::all(long));
    all.extend(clocks::all());
    all.extend(edits::all());
    all.extend(kubernetes::all());
    all.extend(points::all());
    all.extend(broker::all(long, is_cluster));
    all.extend(network::all());
    all.extend(database::all());
    all.extend(panics::all());
    all.extend(storage::all());
    all.extend(room::all());
    all.extend(messages::all());
    all.extend(objects::all());
    all.extend(order::all());
    all
}
