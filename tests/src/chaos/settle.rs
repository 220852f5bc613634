//! Waits until a system that is left alone has come to rest, and gathers what is known of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, consumer::PullConsumer};
use common::ledger::{ObservedPort, PortState};
use common::pod::Pod;
use common::port::{HostPort, Protocol};
use common::stream;
use reqwest::Method;
use serde_json::Value;
use tokio_postgres::Row;

use super::checker::wrong_in_cluster;
use super::evidence::{Evidence, JobRecord, OrderRecord, Queue};
use super::journal;
use super::observe::order_of;
use super::world::World;
use crate::agreement::{Objects, at};
use crate::ledger::Ledger;
use crate::order::Order;

/// How long a system may take to come to rest.
pub const SETTLES_WITHIN: Duration = Duration::from_mins(3);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long it must have been at rest: a worker may have told a moment ago of what is put right by now, and an api take its word.
const RESTS_FOR: Duration = Duration::from_secs(12);

/// Waits until no job is open, all queues are empty and nothing is wrong in the cluster, and stays so: how long that took, or
/// none if it was too long.
pub async fn settle(world: &World, orders: &[Order]) -> Option<Duration> {
    let begun = Instant::now();
    let mut rests_since = None;
    while begun.elapsed() < SETTLES_WITHIN + RESTS_FOR {
        if is_at_rest(world, orders).await.unwrap_or(false) {
            let since = *rests_since.get_or_insert_with(Instant::now);
            if since.elapsed() > RESTS_FOR {
                return Some(since - begun);
            }
        } else {
            rests_since = None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    None
}

async fn is_at_rest(world: &World, orders: &[Order]) -> Result<bool> {
    let open = "select exists (select from jobs where finished_at is null)";
    let row = world.system.database.connect().await?.query_one(open, &[]).await?;
    let is_empty = |queue: &Queue| queue.left + queue.pending + queue.unsettled == 0 && queue.problem.is_none();
    if row.get::<_, bool>(0) || !queues(world).await?.iter().all(is_empty) {
        return Ok(false);
    }
    for (id, order) in order_records(world, orders).await? {
        if wrong_in_cluster(&order, objects_of(world, &id).await?.as_ref()).is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is in the cluster of an order; none = no namespace.
async fn objects_of(world: &World, order: &str) -> Result<Option<Objects>> {
    let namespace = format!("vkube-{order}");
    let is_there = world.cluster.has_namespace(&namespace).await?;
    Ok(if is_there { Some(world.cluster.objects(&namespace).await?) } else { None })
}

/// All that is known, but for the journal and for what grew.
pub async fn gather(world: &World, orders: &[Order], settled: Option<Duration>) -> Result<Evidence> {
    let ledger = Ledger::open(&world.system.nats, &world.system.region).await?;
    let orders = order_records(world, orders).await?;
    let mut ports: BTreeSet<HostPort> = orders.values().flat_map(|order| &order.ports).copied().collect();
    for port in &world.all_ports {
        let port = i64::from(*port).try_into()?;
        ports.extend([Protocol::Tcp, Protocol::Udp].map(|protocol| HostPort { protocol, port }));
    }
    let mut evidence = Evidence {
        journal: journal::read(world.asking.journal.path())?,
        orders,
        jobs: job_records(world).await?,
        repairs: repairs(world).await?,
        ledger: held_ports(&ledger, ports).await?,
        observed: observed(&ledger).await?,
        queues: queues(world).await?,
        settled,
        ..Evidence::default()
    };
    for id in evidence.orders.keys() {
        evidence.cluster.insert(id.clone(), objects_of(world, id).await?);
    }
    for namespace in world.cluster.list("/api/v1/namespaces").await? {
        let name = at(&namespace, "/metadata/name").as_str().unwrap_or_default();
        if order_of(name).is_some_and(|order| !evidence.orders.contains_key(order)) {
            evidence.strange_namespaces.push(name.to_owned());
        }
    }
    let seen = world.observer.seen();
    evidence.results.clone_from(&seen.results);
    evidence.results_streams.clone_from(&seen.results_streams);
    evidence.ends.clone_from(&seen.ends);
    evidence.looks.clone_from(&seen.looks);
    evidence.ledger_history.clone_from(&seen.ledger);
    evidence.pods.clone_from(&seen.pods);
    evidence.namespaces.clone_from(&seen.namespaces);
    Ok(evidence)
}

fn json(row: &Row, column: usize) -> Result<Value> {
    let text: Option<&str> = row.try_get(column)?;
    Ok(text.map(serde_json::from_str).transpose()?.unwrap_or_default())
}

async fn order_records(world: &World, orders: &[Order]) -> Result<BTreeMap<String, OrderRecord>> {
    let bodies: BTreeMap<&str, &Order> = orders.iter().map(|order| (order.id.as_str(), order)).collect();
    let sql = "select o.id, o.aborted_at is not null or o.deleted_at is not null, o.target::text, o.deployed::text, \
         r.pod::text from orders o \
         left join revisions r on r.order_id = o.id and r.revision = (o.deployed ->> 'revision')::integer";
    let mut records = BTreeMap::new();
    for row in world.system.database.connect().await?.query(sql, &[]).await? {
        let (id, has_ended): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
        let pod: Option<Pod> = serde_json::from_value(json(&row, 4)?)?;
        let ports = pod.iter().flat_map(Pod::host_ports).collect();
        let (target, deployed) = (json(&row, 2)?, json(&row, 3)?);
        let mut body = Value::Null;
        if let Some(order) = bodies.get(id.as_str()).filter(|_| !target.is_null()) {
            let answer = order.request(Method::GET, "/k8s/deployment/info").send().await?;
            body = answer.body;
        }
        records.insert(id, OrderRecord { has_ended, target, deployed, ports, body });
    }
    Ok(records)
}

async fn job_records(world: &World) -> Result<Vec<JobRecord>> {
    let sql = "select id::text, order_id, sequence, verb, state, outcome::text, target::text, \
         finished_at from jobs";
    let rows = world.system.database.connect().await?.query(sql, &[]).await?;
    let record = |row: &Row| {
        let (id, order, sequence) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (verb, state) = (row.try_get(3)?, row.try_get(4)?);
        let (outcome, target, finished_at) = (json(row, 5)?, json(row, 6)?, row.try_get(7)?);
        Ok(JobRecord { id, order, sequence, verb, state, outcome, finished_at, target })
    };
    rows.iter().map(record).collect()
}

async fn repairs(world: &World) -> Result<Vec<(String, String)>> {
    let sql = "select order_id, detail::text from history where event = 'repaired'";
    let rows = world.system.database.connect().await?.query(sql, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn held_ports(ledger: &Ledger, ports: BTreeSet<HostPort>) -> Result<BTreeMap<HostPort, PortState>> {
    let mut held = BTreeMap::new();
    for port in ports {
        if let Some(state) = ledger.host_port(port).await? {
            held.insert(port, state);
        }
    }
    Ok(held)
}

async fn observed(ledger: &Ledger) -> Result<Vec<(HostPort, Option<String>)>> {
    let observed = ledger.observed().await?.context("nobody has said which ports are in use")?;
    let ports = observed.ports.into_iter().map(|seen| {
        let ObservedPort { protocol, port, order } = seen;
        (HostPort { protocol, port }, order.map(|order| order.to_string()))
    });
    Ok(ports.collect())
}

async fn queues(world: &World) -> Result<Vec<Queue>> {
    let context = jetstream::new(world.system.nats.client().await?);
    let region = &world.system.region;
    let mut queues = Vec::new();
    for (name, consumer, is_queue) in [
        (stream::jobs_name(region), stream::WORKER_CONSUMER, true),
        (stream::reads_name(region), stream::WORKER_CONSUMER, true),
        (stream::RESULTS.to_owned(), stream::API_CONSUMER, false),
    ] {
        let looked = look_at(&context, &name, consumer, is_queue).await;
        queues.push(looked.unwrap_or_else(|error| Queue {
            problem: Some(format!("{error:#}")),
            name,
            ..Queue::default()
        }));
    }
    Ok(queues)
}

async fn look_at(context: &jetstream::Context, name: &str, consumer: &str, is_queue: bool) -> Result<Queue> {
    let stream = context.get_stream(name).await?;
    let left = if is_queue { stream.cached_info().state.messages } else { 0 };
    let consumer: PullConsumer = stream.get_consumer(consumer).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let info = consumer.cached_info();
    let (pending, unsettled) = (info.num_pending, info.num_ack_pending as u64);
    Ok(Queue { name: name.to_owned(), left, pending, unsettled, problem: None })
}
