//! Everything is started anew, servers and processes, in an order and with pauses that nobody would choose.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::{Fault, Step};
use crate::chaos::links::Part;
use crate::chaos::world::World;

/// The pause between two starts, in milliseconds.
const PAUSE: std::ops::Range<u64> = 0..4000;

/// What is started.
#[derive(Debug, Clone, Copy)]
enum Started {
    Nats,
    Postgres,
    Process(Part),
}

/// The fault.
#[derive(Debug)]
struct StartOrder;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(StartOrder)]
}

impl Fault for StartOrder {
    fn name(&self) -> &'static str {
        "start-order"
    }

    fn lasts(&self, _: &mut StdRng) -> Duration {
        Duration::ZERO
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            // Whoever starts too early and cannot begin may end.
            world.whole_since = None;
            world.postgres.kill().await?;
            world.system.nats.kill().await?;
            let parts = world.parts();
            for part in &parts {
                let process = world.process(*part)?;
                if process.ended()?.is_none() {
                    process.kill().await?;
                }
            }
            let mut order: Vec<Started> = parts.into_iter().map(Started::Process).collect();
            order.extend([Started::Nats, Started::Postgres]);
            order.shuffle(random);
            let mut begun = Vec::new();
            for what in &order {
                start(world, *what).await?;
                if let Started::Process(part) = what {
                    begun.push(*part);
                }
                tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE))).await;
                world.look_after_these(&begun)?;
            }
            Ok(format!("{order:?}"))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, _: &'a mut World) -> Step<'a, ()> {
        async { Ok(()) }.boxed_local()
    }
}

async fn start(world: &mut World, what: Started) -> Result<()> {
    match what {
        Started::Nats => world.system.nats.start_again().await,
        Started::Postgres => world.postgres.start_again().await,
        Started::Process(part) => world.spawn_again(part),
    }
}
