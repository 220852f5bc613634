//! Watches a system from outside for a whole run: every change of the ledger, every result, every job that was sent, the
//! pods and namespaces of orders each second. Looks at the servers directly, past the proxies.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::Statistics;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, stream::Stream};
use common::job::JobResult;
use common::ledger::PortState;
use common::name::RegionCode;
use common::{stream, subject};
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::evidence::{LedgerEntry, NamespaceSeen, PodSeen, PodsAt, SeenResult};
use crate::agreement::at;
use crate::cluster::Cluster;

/// How often what has no watch is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the cluster is looked at.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How many messages of jobs are remembered.
const JOBS_KEPT: usize = 2000;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Everything that was in RESULTS.
    pub results: Vec<SeenResult>,
    /// When RESULTS was made, each time.
    pub results_streams: std::collections::BTreeSet<String>,
    /// Every change of the ledger.
    pub ledger: Vec<LedgerEntry>,
    /// The pods of orders over time.
    pub pods: Vec<PodsAt>,
    /// The namespaces of orders over time.
    pub namespaces: Vec<NamespaceSeen>,
    /// Jobs as they were sent.
    pub jobs: Vec<async_nats::Message>,
}

/// What watches.
#[derive(Debug)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    _watching: JoinSet<()>,
}

impl Observer {
    /// Begins to watch.
    pub async fn start(nats: async_nats::Client, cluster: Cluster, region: &RegionCode) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut watching = JoinSet::new();
        let jobs = nats.subscribe(subject::jobs(region)).await?;
        let statistics = nats.statistics();
        let context = jetstream::new(nats);
        watching.spawn(watch_jobs(jobs, seen.clone()));
        watching.spawn(watch_results(context.clone(), seen.clone()));
        watching.spawn(watch_ledger(context, statistics, seen.clone()));
        watching.spawn(watch_cluster(cluster, seen.clone()));
        Ok(Self { seen, _watching: watching })
    }

    /// What it saw so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch_jobs(mut messages: async_nats::Subscriber, seen: Arc<Mutex<Seen>>) {
    while let Some(message) = messages.next().await {
        let mut seen = lock(&seen);
        if seen.jobs.len() >= JOBS_KEPT {
            seen.jobs.drain(..JOBS_KEPT / 2);
        }
        seen.jobs.push(message);
    }
}

/// A stream, and when it was made.
async fn open(context: &jetstream::Context, name: &str) -> Result<(Stream, String)> {
    let stream = context.get_stream(name).await?;
    let made = stream.cached_info().created.to_string();
    Ok((stream, made))
}

async fn watch_results(context: jetstream::Context, seen: Arc<Mutex<Seen>>) {
    let mut read = BTreeMap::new();
    loop {
        // Away, or deleted: it will be there again.
        let _ = read_results(&context, &mut read, &seen).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn read_results(
    context: &jetstream::Context,
    read: &mut BTreeMap<String, u64>,
    seen: &Mutex<Seen>,
) -> Result<()> {
    let (results, made) = open(context, stream::RESULTS).await?;
    lock(seen).results_streams.insert(made.clone());
    let last = results.cached_info().state.last_sequence;
    let next = read.entry(made.clone()).or_insert(0);
    while *next < last {
        let message = results.get_raw_message(*next + 1).await?;
        let result: JobResult = serde_json::from_slice(&message.payload)?;
        let outcome = serde_json::to_value(&result.outcome)?;
        let job = result.id.to_string();
        lock(seen).results.push(SeenResult { stream: made.clone(), sequence: *next + 1, job, outcome });
        *next += 1;
    }
    Ok(())
}

async fn watch_ledger(context: jetstream::Context, statistics: Arc<Statistics>, seen: Arc<Mutex<Seen>>) {
    loop {
        let _ = follow_ledger(&context, &statistics, &seen).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Follows one making of the ledger's bucket until it ends, or the connection does: what is written while nobody follows may
/// be overwritten unseen.
async fn follow_ledger(context: &jetstream::Context, statistics: &Statistics, seen: &Mutex<Seen>) -> Result<()> {
    let connects = statistics.connects.load(Ordering::Relaxed);
    let (bucket, made) = open(context, &stream::bucket_stream(stream::HOSTPORTS)).await?;
    let next = lock(seen).ledger.iter().rev().find(|known| known.stream == made).map_or(1, |last| last.sequence + 1);
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
                anyhow::ensure!(open(context, &stream::bucket_stream(stream::HOSTPORTS)).await?.1 == made, "made anew");
                continue;
            }
        };
        let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        let (sequence, at) = (info.stream_sequence, Timestamp::from_nanosecond(info.published.unix_timestamp_nanos())?);
        let key = message.subject.strip_prefix(&prefix).unwrap_or_default().to_owned();
        let state: Option<PortState> = serde_json::from_slice(&message.payload).ok();
        let entry = LedgerEntry { at, stream: made.clone(), sequence, key, state };
        let mut seen = lock(seen);
        seen.ledger.push(entry);
    }
}

async fn watch_cluster(cluster: Cluster, seen: Arc<Mutex<Seen>>) {
    loop {
        let _ = list_cluster(&cluster, &seen).await;
        tokio::time::sleep(LIST_EVERY).await;
    }
}

/// The order of a namespace, if it is an order's.
pub fn order_of(namespace: &str) -> Option<&str> {
    namespace.strip_prefix("vkube-").filter(|rest| *rest != "system")
}

async fn list_cluster(cluster: &Cluster, seen: &Mutex<Seen>) -> Result<()> {
    let mut pods = Vec::new();
    let now = Timestamp::now();
    for pod in cluster.list("/api/v1/pods").await? {
        let text = |pointer: &str| at(&pod, pointer).as_str().unwrap_or_default();
        let Some(order) = order_of(text("/metadata/namespace")) else { continue };
        if ["Succeeded", "Failed"].contains(&text("/status/phase")) {
            continue;
        }
        let containers = at(&pod, "/spec/containers").as_array().into_iter().flatten();
        let ports = containers.filter_map(|container| at(container, "/ports").as_array()).flatten();
        let ports = ports.filter_map(|port| u16::try_from(at(port, "/hostPort").as_u64()?).ok()).collect();
        pods.push(PodSeen { order: order.to_owned(), name: text("/metadata/name").to_owned(), ports });
    }
    let mut namespaces = Vec::new();
    for namespace in cluster.list("/api/v1/namespaces").await? {
        let text = |pointer: &str| at(&namespace, pointer).as_str().unwrap_or_default();
        let Some(order) = order_of(text("/metadata/name")) else { continue };
        let is_going = !at(&namespace, "/metadata/deletionTimestamp").is_null();
        namespaces.push(NamespaceSeen { order: order.to_owned(), uid: text("/metadata/uid").to_owned(), is_going });
    }
    pods.sort();
    let mut seen = lock(seen);
    match seen.pods.last_mut().filter(|last| last.pods == pods) {
        Some(last) => last.to = now,
        None => seen.pods.push(PodsAt { from: now, to: now, pods }),
    }
    for namespace in namespaces {
        if !seen.namespaces.contains(&namespace) {
            seen.namespaces.push(namespace);
        }
    }
    Ok(())
}
