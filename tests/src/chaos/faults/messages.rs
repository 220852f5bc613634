//! Messages in the queue of jobs that should not be there: jobs twice, old ones after newer ones, unreadable ones, ones of a
//! newer version.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::{HeaderMap, Message};
use common::job::{JOB_VERSION, Verb};
use common::subject;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::Value;

use super::{Fault, Step};
use crate::chaos::world::World;

/// How many messages at once, at most.
const MOST: usize = 5;
/// From how many of the newest jobs one is sent again at once.
const NEWEST: usize = 5;

/// What is sent.
#[derive(Debug, Clone, Copy)]
enum Sent {
    /// A job that was sent a moment ago.
    Duplicate,
    /// A job after which another one of its order was sent.
    Replay,
    /// No job at all.
    Unreadable,
    /// A job that was sent before, of a version that nobody knows.
    Newer,
}

/// A fault of the queue's contents.
#[derive(Debug)]
struct MessageFault {
    name: &'static str,
    sent: Sent,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let faults = [
        ("job-duplicated", Sent::Duplicate),
        ("job-replayed", Sent::Replay),
        ("job-unreadable", Sent::Unreadable),
        ("job-newer-version", Sent::Newer),
    ];
    let boxed = faults.into_iter().map(|(name, sent)| -> Box<dyn Fault> { Box::new(MessageFault { name, sent }) });
    boxed.collect()
}

impl Fault for MessageFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, _: &mut StdRng) -> Duration {
        Duration::ZERO
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let context = jetstream::new(world.system.nats.client().await?);
            let mut sent = Vec::new();
            for _ in 0..random.random_range(1..=MOST) {
                let (subject, headers, payload) = self.message(world, random)?;
                let publish = context.publish_with_headers(subject, headers, payload.clone().into());
                publish.await?.await?;
                let job: Value = serde_json::from_slice(&payload).unwrap_or_default();
                sent.push(job.get("id").and_then(Value::as_str).unwrap_or("unreadable").to_owned());
            }
            Ok(sent.join(", "))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, _: &'a mut World) -> Step<'a, ()> {
        async { Ok(()) }.boxed_local()
    }
}

impl MessageFault {
    /// Subject, headers and payload. Without the id by which the broker would know a duplicate.
    fn message(&self, world: &World, random: &mut StdRng) -> Result<(String, HeaderMap, Vec<u8>)> {
        let seen = world.observer.seen();
        let recent = seen.jobs.get(seen.jobs.len().saturating_sub(NEWEST)..).unwrap_or_default();
        let before = match self.sent {
            Sent::Unreadable => {
                let garbage = (0..random.random_range(0..64)).map(|_| random.random()).collect();
                return Ok((subject::job(&world.system.region, Verb::Deploy), HeaderMap::new(), garbage));
            }
            Sent::Duplicate => recent.choose(random),
            Sent::Replay => outdated(&seen.jobs).choose(random).copied(),
            Sent::Newer => seen.jobs.choose(random),
        };
        let before = before.context("no job was sent yet")?;
        let mut headers = HeaderMap::new();
        if let Some(reply) = before.headers.as_ref().and_then(|headers| headers.get(subject::HEADER_REPLY)) {
            headers.insert(subject::HEADER_REPLY, reply.clone());
        }
        let mut payload = before.payload.to_vec();
        if matches!(self.sent, Sent::Newer) {
            let mut job: Value = serde_json::from_slice(&payload)?;
            *job.get_mut("version").context("a job has a version")? = (JOB_VERSION + 1).into();
            payload = serde_json::to_vec(&job)?;
        }
        Ok((before.subject.to_string(), headers, payload))
    }
}

/// The jobs after which another one of their order was sent.
fn outdated(jobs: &[Message]) -> Vec<&Message> {
    let mut newest = BTreeSet::new();
    let mut outdated = Vec::new();
    for message in jobs.iter().rev() {
        let job: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        if let Some(order) = job.get("order").and_then(Value::as_str)
            && !newest.insert(order.to_owned())
        {
            outdated.push(message);
        }
    }
    outdated
}
