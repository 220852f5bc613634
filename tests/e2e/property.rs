//! Any sequence of changes from two clients ends with the cluster equal to the last accepted revision and the ledger equal
//! to its ports, also when a worker is killed or stands still meanwhile, and when orders compete for the same ports.

mod check;
mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use common::settings::{Reader, Setting};
use e2e::agreement::{at, host_ports};
use e2e::order::{Order, OrderOptions};
use e2e::system::{System, host_port};
use e2e::test::{Test, test_alone};
use e2e::until::until;
use futures::future::{try_join_all, try_join3};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::json;

use client::Request;

const SEED: Setting = Setting::new("VKUBE_E2E_PROPERTY_SEED", "1", "The seed of the first round.");
const ROUNDS: Setting = Setting::new("VKUBE_E2E_PROPERTY_ROUNDS", "3", "How many rounds, each with the next seed.");

/// Orders that are changed at once.
const ORDERS: usize = 3;
/// Host ports that they want, two at most each.
const PORTS: usize = 8;
/// Changes that each of an order's two clients asks for, at least and at most.
const CHANGES: (usize, usize) = (4, 7);

/// The seed of the first round, and how many rounds.
fn settings() -> Result<(u64, u64)> {
    let text = |setting: &Setting| Some((setting.variable, std::env::var_os(setting.variable)?.into_string().ok()?));
    let given: BTreeMap<_, _> = [SEED, ROUNDS].iter().filter_map(text).collect();
    let mut read = Reader::new(&given);
    let (seed, rounds) = (read.required(&SEED), read.required(&ROUNDS));
    read.finish(seed.zip(rounds)).map_err(|problems| anyhow::anyhow!("{problems}"))
}

#[test]
fn any_sequence_of_changes_ends_with_the_last_accepted_revision_and_its_ports() -> Result<()> {
    let (first, rounds) = settings()?;
    for seed in first..first + rounds {
        test_alone(async |t| round(t, seed).await).with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

async fn round(t: &Test, seed: u64) -> Result<()> {
    let (mut random, begun) = (StdRng::seed_from_u64(seed), Instant::now());
    let mut system = t.system(t.stack.region.as_str(), 2, 2).await?;
    let ports: Vec<u16> = (0..PORTS).map(|_| host_port()).collect();
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(t.order_of(&system, &OrderOptions::units(2)).await?);
    }
    let apis = [system.apis[0].client.clone(), system.apis[1].client.clone()];
    let operator_token = system.operator_token.clone();
    let aborted = random.random_bool(0.5).then_some(0);
    let abort_after = random.random_range(ORDERS * CHANGES.0 / 2..ORDERS * CHANGES.0 * 2);
    let sent = AtomicUsize::new(0);
    let mut clients = Vec::new();
    for order in &orders {
        for (mine, other) in [(0, 1), (1, 0)] {
            let changes = random.random_range(CHANGES.0..=CHANGES.1);
            let region = t.stack.region.as_str();
            let requests: Vec<_> = (0..changes).map(|_| Request::any(&mut random, region, &ports)).collect();
            clients.push(send_all(order.by(&apis[mine]), order.by(&apis[other]), requests, &sent));
        }
    }
    let end = async {
        let Some(number) = aborted else { return Ok(()) };
        after(&sent, abort_after).await?;
        abort(&orders[number], &operator_token).await
    };
    let trouble = trouble(&mut system, &mut random, &sent);
    let (accepted, (), ()) = try_join3(try_join_all(clients), trouble, end).await?;

    eprintln!("seed {seed}: all is sent after {:?}", begun.elapsed());

    let mut holders = BTreeMap::new();
    for (number, (order, accepted)) in orders.iter().zip(accepted.chunks(2)).enumerate() {
        let accepted: BTreeSet<String> = accepted.iter().flatten().cloned().collect();
        let target = check::record(&system, order, &accepted).await?;
        ensure!(aborted != Some(number) || target.is_null(), "an aborted order is {target}");
        let body = check::body(order, &target).await?;
        check::cluster(t, order, &target, body.as_ref()).await?;
        for port in body.iter().flat_map(|body| host_ports(at(body, "/containers/0"))) {
            let before = holders.insert(port, order.id.clone());
            ensure!(before.is_none(), "port {port} is in two bodies: {before:?} and {}", order.id);
        }
    }
    check::ledger(&system, &holders, &ports).await
}

/// One client: asks for one change after another. The jobs that it was told of.
async fn send_all(order: Order, other: Order, requests: Vec<Request>, sent: &AtomicUsize) -> Result<Vec<String>> {
    let mut accepted = Vec::new();
    for request in requests {
        let job = request.send(&order, &other).await.with_context(|| format!("{request:?} of {}", order.id))?;
        accepted.extend(job);
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(accepted)
}

/// Kills a worker or lets it stand still, after some changes and for some more.
async fn trouble(system: &mut System, random: &mut StdRng, sent: &AtomicUsize) -> Result<()> {
    let begin = random.random_range(2..ORDERS * CHANGES.0);
    let end = begin + random.random_range(2..ORDERS * CHANGES.0);
    let number = random.random_range(0..2);
    let kills = random.random_bool(0.5);
    let worker = &mut system.workers[number];
    after(sent, begin).await?;
    if kills {
        worker.process.kill().await?;
        after(sent, end).await?;
        return worker.start_again().await;
    }
    worker.process.pause().await?;
    let waited = after(sent, end).await;
    worker.process.resume()?;
    waited
}

/// Waits until the clients have sent so many changes.
async fn after(sent: &AtomicUsize, count: usize) -> Result<()> {
    until("clients have sent more changes", Duration::from_mins(2), async || {
        Ok((sent.load(Ordering::Relaxed) >= count).then_some(()))
    })
    .await
}

async fn abort(order: &Order, operator_token: &str) -> Result<()> {
    let request = order.request(Method::POST, &format!("/admin/orders/{}/abort", order.id));
    let request = request.operator(operator_token).header("prefer", "respond-async");
    let answer = request.json(&json!({ "reason": "not paid" })).send().await?;
    ensure!(matches!(answer.status, 200 | 202), "{}", answer.body);
    Ok(())
}
