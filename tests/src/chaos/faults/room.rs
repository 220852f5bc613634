//! Streams and buckets that take no more than they hold: all else is refused until there is room again.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use common::name::RegionCode;
use common::stream;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{Fault, Step};
use crate::chaos::world::World;

/// The name of a stream.
type Name = fn(&RegionCode) -> String;

/// A stream without room.
#[derive(Debug)]
struct Full {
    name: &'static str,
    stream: Name,
    /// How it was before.
    before: Option<Config>,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let hostports: Name = |_| stream::bucket_stream(stream::HOSTPORTS);
    let faults: [(&str, Name); 3] =
        [("jobs-full", stream::jobs_name), ("reads-full", stream::reads_name), ("hostports-full", hostports)];
    let boxed =
        faults.into_iter().map(|(name, stream)| -> Box<dyn Fault> { Box::new(Full { name, stream, before: None }) });
    boxed.collect()
}

impl Fault for Full {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(2000..15_000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, _: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let context = jetstream::new(world.system.nats.client().await?);
            let found = context.get_stream((self.stream)(&world.system.region)).await?;
            let before = found.cached_info().config.clone();
            // None at all is no limit.
            let most = i64::try_from(found.cached_info().state.messages)?.max(1);
            context.update_stream(Config { max_messages: most, ..before.clone() }).await?;
            self.before = Some(before);
            Ok(format!("{most} messages"))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            let context = jetstream::new(world.system.nats.client().await?);
            let before = self.before.take().context("it was not injected")?;
            context.create_or_update_stream(before).await?;
            Ok(())
        }
        .boxed_local()
    }
}
