//! Streams, buckets and consumers that somebody deletes by hand.

use std::time::Duration;

use anyhow::ensure;
use async_nats::jetstream;
use common::stream;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{Fault, Step};
use crate::chaos::world::World;

/// What is deleted.
#[derive(Debug, Clone, Copy)]
enum Deleted {
    Jobs,
    Reads,
    Results,
    Hostports,
    Regions,
    JobsConsumer,
    ReadsConsumer,
    ResultsConsumer,
}

/// A fault of the broker's store.
#[derive(Debug)]
struct StorageFault {
    name: &'static str,
    deleted: Deleted,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let faults = [
        ("jobs-deleted", Deleted::Jobs),
        ("reads-deleted", Deleted::Reads),
        ("results-deleted", Deleted::Results),
        ("hostports-deleted", Deleted::Hostports),
        ("regions-deleted", Deleted::Regions),
        ("jobs-consumer-deleted", Deleted::JobsConsumer),
        ("reads-consumer-deleted", Deleted::ReadsConsumer),
        ("results-consumer-deleted", Deleted::ResultsConsumer),
    ];
    let boxed =
        faults.into_iter().map(|(name, deleted)| -> Box<dyn Fault> { Box::new(StorageFault { name, deleted }) });
    boxed.collect()
}

impl Fault for StorageFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(0..2000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, _: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let context = jetstream::new(world.system.nats.client().await?);
            let region = &world.system.region;
            let (name, consumer) = match self.deleted {
                Deleted::Jobs => (stream::jobs_name(region), None),
                Deleted::Reads => (stream::reads_name(region), None),
                Deleted::Results => (stream::RESULTS.to_owned(), None),
                Deleted::Hostports => (stream::bucket_stream(stream::HOSTPORTS), None),
                Deleted::Regions => (stream::bucket_stream(stream::REGIONS), None),
                Deleted::JobsConsumer => (stream::jobs_name(region), Some(stream::WORKER_CONSUMER)),
                Deleted::ReadsConsumer => (stream::reads_name(region), Some(stream::WORKER_CONSUMER)),
                Deleted::ResultsConsumer => (stream::RESULTS.to_owned(), Some(stream::API_CONSUMER)),
            };
            let found = context.get_stream(&name).await?;
            let messages = found.cached_info().state.messages;
            let deleted = match consumer {
                None => context.delete_stream(&name).await?,
                Some(consumer) => found.delete_consumer(consumer).await?,
            };
            ensure!(deleted.success, "the server does not delete {name}");
            Ok(format!("{name} {}, which held {messages} messages", consumer.unwrap_or_default()))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, _: &'a mut World) -> Step<'a, ()> {
        // Nobody but the system itself makes it again.
        async { Ok(()) }.boxed_local()
    }
}
