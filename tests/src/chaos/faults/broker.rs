//! NATS that is killed, ends, forgets what was last, or does not let the product say something.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::stream;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{Fault, Step, between};
use crate::chaos::world::World;
use crate::nats::{Denied, Identity};

/// How long the system goes on after its broker's store was copied, in milliseconds.
const GOES_ON: Range<u64> = 2000..12_000;
/// What somebody is not allowed any more: who, and the subjects.
const DENIED: [Denied<'static>; 8] = [
    (Identity::Api, &["vkube.jobs.>"]),
    (Identity::Api, &["vkube.reads.>"]),
    (Identity::Api, &["$KV.hostports.>"]),
    (Identity::Api, &["$JS.API.>", "$JS.ACK.>"]),
    (Identity::Worker, &["vkube.results.>"]),
    (Identity::Worker, &["$JS.ACK.>"]),
    (Identity::Worker, &["$KV.>"]),
    (Identity::Worker, &[">"]),
];

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// All servers are killed at once.
    Killed,
    /// A server sees its clients off and ends.
    Lame,
    /// One server of several is killed.
    OneKilled,
    /// The server is killed that leads one of the streams.
    LeaderKilled,
    /// One server after another ends and starts again.
    Rolled,
    /// It is killed, and its store is that of a while ago.
    SetBack,
    /// By a changed configuration, somebody may not publish what it must.
    Denied,
    /// It stands still.
    Paused,
}

/// A fault of the broker.
#[derive(Debug)]
struct BrokerFault {
    name: &'static str,
    deed: Deed,
    seconds: Range<u64>,
}

pub(super) fn all(long: bool, is_cluster: bool) -> Vec<Box<dyn Fault>> {
    let faults = [
        ("nats-kill", Deed::Killed, 1..8),
        ("nats-pause", Deed::Paused, 1..15),
        ("nats-set-back", Deed::SetBack, 0..3),
        ("nats-denied", Deed::Denied, 1..15),
        ("nats-lame", Deed::Lame, 0..3),
        ("nats-one-kill", Deed::OneKilled, 0..10),
        ("nats-leader-kill", Deed::LeaderKilled, 0..10),
        ("nats-rolling", Deed::Rolled, 0..1),
    ];
    let of_cluster = [Deed::OneKilled, Deed::LeaderKilled, Deed::Rolled];
    let faults = faults.into_iter().filter(|(_, deed, _)| long || *deed != Deed::Lame);
    let faults = faults.filter(|(_, deed, _)| is_cluster || !of_cluster.contains(deed));
    let boxed = faults.map(|(name, deed, seconds)| -> Box<dyn Fault> { Box::new(BrokerFault { name, deed, seconds }) });
    boxed.collect()
}

impl Fault for BrokerFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        between(&self.seconds, random)
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let any = random.random_range(0..world.system.nats.count());
            match self.deed {
                Deed::Killed => world.system.nats.kill().await?,
                Deed::Lame => {
                    world.system.nats.end_as_lame_duck(any).await?;
                    return Ok(format!("server {any}"));
                }
                Deed::OneKilled => {
                    world.system.nats.kill_one(any).await?;
                    return Ok(format!("server {any}"));
                }
                Deed::LeaderKilled => {
                    let stream = streams(world).choose(random).cloned().context("a stream")?;
                    let leader = world.system.nats.leader(&stream).await?;
                    world.system.nats.kill_one(leader).await?;
                    return Ok(format!("server {leader}, of {stream}"));
                }
                Deed::Rolled => {
                    for number in 0..world.system.nats.count() {
                        world.system.nats.end_one(number).await?;
                        world.system.nats.start_again().await?;
                    }
                }
                Deed::SetBack => return set_back(world, random).await,
                Deed::Denied => {
                    let denied = *DENIED.choose(random).context("something")?;
                    world.system.nats.deny(Some(denied)).await?;
                    return Ok(format!("{denied:?}"));
                }
                Deed::Paused => world.system.nats.pause().await?,
            }
            Ok("all there is".to_owned())
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            let nats = &mut world.system.nats;
            match self.deed {
                Deed::Killed | Deed::Lame | Deed::SetBack | Deed::OneKilled | Deed::LeaderKilled => {
                    nats.start_again().await
                }
                Deed::Rolled => Ok(()),
                Deed::Denied => nats.deny(None).await,
                Deed::Paused => nats.resume(),
            }
        }
        .boxed_local()
    }
}

/// The streams of which a leader is killed.
fn streams(world: &World) -> [String; 3] {
    [stream::jobs_name(&world.system.region), stream::RESULTS.to_owned(), stream::bucket_stream(stream::HOSTPORTS)]
}

/// Copies the store, lets the system go on, and puts the copy in the store's place: the server does not run then.
async fn set_back(world: &mut World, random: &mut StdRng) -> Result<String> {
    let nats = &mut world.system.nats;
    nats.kill().await?;
    nats.copy_store()?;
    nats.start_again().await?;
    let by = Duration::from_millis(random.random_range(GOES_ON));
    tokio::time::sleep(by).await;
    nats.kill().await?;
    nats.restore_store()?;
    world.observer.store_is_set_back();
    Ok(format!("by {by:.1?}"))
}
