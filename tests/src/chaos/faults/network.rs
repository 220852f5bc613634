//! Ways between a process and a server that are cut, half open, slow, or end in the middle of something.

use std::time::Duration;

use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{Fault, Step};
use crate::chaos::links::{Part, Server};
use crate::chaos::proxy::{Lost, Mode};
use crate::chaos::world::World;

/// How often all processes lose their way at once, and not only one.
const EVERYBODY: f64 = 0.25;

/// A fault of the ways to a server.
#[derive(Debug)]
struct NetworkFault {
    name: &'static str,
    server: Server,
    mode: fn(&mut StdRng) -> Mode,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let cut: fn(&mut StdRng) -> Mode = |_| Mode::Cut;
    let faults = [
        ("nats-cut", Server::Nats, cut),
        ("nats-half-open", Server::Nats, half_open),
        ("nats-slow", Server::Nats, slow),
        ("nats-drops", Server::Nats, drops),
        ("postgres-cut", Server::Postgres, cut),
        ("postgres-half-open", Server::Postgres, half_open),
        ("postgres-slow", Server::Postgres, slow),
        ("postgres-drops", Server::Postgres, drops),
        ("kubernetes-cut", Server::Kubernetes, cut),
        ("kubernetes-half-open", Server::Kubernetes, half_open),
        ("kubernetes-slow", Server::Kubernetes, slow),
        ("kubernetes-drops", Server::Kubernetes, drops),
    ];
    let boxed = faults
        .into_iter()
        .map(|(name, server, mode)| -> Box<dyn Fault> { Box::new(NetworkFault { name, server, mode }) });
    boxed.collect()
}

fn half_open(random: &mut StdRng) -> Mode {
    let ways = [Lost::ToServer, Lost::ToClient, Lost::BothWays];
    Mode::HalfOpen(ways.choose(random).copied().unwrap_or(Lost::BothWays))
}

fn slow(random: &mut StdRng) -> Mode {
    if random.random_bool(0.5) {
        Mode::Delay(Duration::from_millis(random.random_range(50..1500)))
    } else {
        Mode::Trickle(random.random_range(500..20_000))
    }
}

fn drops(random: &mut StdRng) -> Mode {
    Mode::DropAfter(random.random_range(1..20_000))
}

impl Fault for NetworkFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(1000..15_000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let mut victims: Vec<Part> = world.links.parts(self.server);
            if !random.random_bool(EVERYBODY) {
                victims = victims.choose(random).copied().into_iter().collect();
            }
            let mode = (self.mode)(random);
            for victim in &victims {
                world.links.set(*victim, self.server, mode)?;
            }
            Ok(format!("{mode:?} for {victims:?}"))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        let healed = world
            .links
            .parts(self.server)
            .into_iter()
            .try_for_each(|part| world.links.set(part, self.server, Mode::Pass));
        async move { healed }.boxed_local()
    }
}
