//! What goes on in the broker: jobs, results, the ledger.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use async_nats::Statistics;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, stream::Stream};
use common::job::JobResult;
use common::port::PortKey;
use common::{stream, subject};
use futures::StreamExt as _;
use jiff::Timestamp;

use super::{LOOK_EVERY, Seen, lock};
use crate::chaos::evidence::{LedgerEntry, Making, SeenResult};

/// How many messages of jobs are remembered.
const JOBS_KEPT: usize = 2000;

pub(super) async fn watch_jobs(mut messages: async_nats::Subscriber, seen: Arc<Mutex<Seen>>) {
    while let Some(message) = messages.next().await {
        let mut seen = lock(&seen);
        if seen.jobs.len() >= JOBS_KEPT {
            seen.jobs.drain(..JOBS_KEPT / 2);
        }
        seen.jobs.push(message);
    }
}

/// A stream, and which making of it this is.
async fn open(context: &jetstream::Context, name: &str, seen: &Mutex<Seen>) -> Result<(Stream, String, Making)> {
    let stream = context.get_stream(name).await?;
    let created = stream.cached_info().created;
    let made = Timestamp::from_nanosecond(created.unix_timestamp_nanos())?;
    let set_back = lock(seen).set_back.clone();
    let making = match set_back.last() {
        Some(at) if made < *at => Making { at: *at, is_set_back: true },
        _ => Making { at: made, is_set_back: false },
    };
    let id = if making.is_set_back { format!("{created}, set back {}", making.at) } else { created.to_string() };
    Ok((stream, id, making))
}

pub(super) async fn watch_results(context: jetstream::Context, seen: Arc<Mutex<Seen>>) {
    let mut read = BTreeMap::new();
    loop {
        // Away, or deleted: it will be there again.
        let looked = read_results(&context, &mut read, &seen).await;
        lock(&seen).looked("results", looked);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn read_results(
    context: &jetstream::Context,
    read: &mut BTreeMap<String, u64>,
    seen: &Mutex<Seen>,
) -> Result<()> {
    let (results, id, making) = open(context, stream::RESULTS, seen).await?;
    lock(seen).results_streams.insert(id.clone(), making);
    let last = results.cached_info().state.last_sequence;
    let next = read.entry(id.clone()).or_insert(0);
    while *next < last {
        let message = results.get_raw_message(*next + 1).await?;
        let result: JobResult = serde_json::from_slice(&message.payload)?;
        let outcome = serde_json::to_value(&result.outcome)?;
        let job = result.id.to_string();
        lock(seen).results.push(SeenResult { stream: id.clone(), job, outcome });
        *next += 1;
    }
    Ok(())
}

pub(super) async fn watch_ledger(context: jetstream::Context, statistics: Arc<Statistics>, seen: Arc<Mutex<Seen>>) {
    loop {
        let ended = follow_ledger(&context, &statistics, &seen).await;
        lock(&seen).looked("ledger", ended);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Follows one making of the ledger's bucket until it ends, or the connection does: what is written while nobody follows may
/// be overwritten unseen.
async fn follow_ledger(context: &jetstream::Context, statistics: &Statistics, seen: &Mutex<Seen>) -> Result<()> {
    let name = stream::bucket_stream(stream::HOSTPORTS);
    let connects = statistics.connects.load(Ordering::Relaxed);
    let (bucket, id, making) = open(context, &name, seen).await?;
    let next = lock(seen).ledger.iter().rev().find(|known| known.stream == id).map_or(1, |last| last.sequence + 1);
    let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: next };
    let consumer = bucket.create_consumer(OrderedConfig { deliver_policy, ..OrderedConfig::default() }).await?;
    let mut messages = consumer.messages().await?;
    let prefix = subject::bucket_subject(stream::HOSTPORTS, "");
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        let message = tokio::select! {
            message = messages.next() => message.context("the watch ended")??,
            _ = look.tick() => {
                // A watch is silent, also when its stream was deleted.
                anyhow::ensure!(statistics.connects.load(Ordering::Relaxed) == connects, "connected anew");
                anyhow::ensure!(open(context, &name, seen).await?.1 == id, "made anew");
                lock(seen).looked("ledger", Ok(()));
                continue;
            }
        };
        let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        let written = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos())?;
        // What an older copy holds holds again from when it was put there.
        let at = if making.is_set_back { written.max(making.at) } else { written };
        let key = message.subject.strip_prefix(&prefix).unwrap_or_default().to_owned();
        let is_port = key.parse::<PortKey>().is_ok() && !message.payload.is_empty();
        let mut seen = lock(seen);
        let state = match is_port.then(|| serde_json::from_slice(&message.payload)).transpose() {
            Ok(state) => state,
            Err(error) => {
                seen.looks.entry("ledger").or_default().unreadable.push(format!("{key}: {error}"));
                None
            }
        };
        seen.ledger.push(LedgerEntry { at, stream: id.clone(), sequence: info.stream_sequence, key, state });
    }
}
