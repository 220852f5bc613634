//! Measures what a region whose API server hangs does to another: calls of the one, while customers of the other go on asking, with
//! and without its API server. Run as `measure` is run.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::chaos::links::{Links, Part, Server};
use e2e::chaos::proxy::{Lost, Mode};
use e2e::order::{Order, OrderOptions};
use e2e::percentile::milliseconds;
use e2e::pod::{idle, pod};
use e2e::stack::Stack;
use e2e::system::{Medium, System};
use futures::future::{Either, join_all, select};
use kube::config::Kubeconfig;
use reqwest::Method;
use serde_json::json;

/// How often the API server is there and hangs, in turn.
const ROUNDS: usize = 5;
/// Statuses of a round.
const STATUSES: usize = 400;
/// Restarts of a round, which are jobs.
const RESTARTS: usize = 40;
/// Customers of the other region who ask all the time.
const OTHERS: usize = 8;
/// How long its customers have asked before it is measured: whoever waits for an answer waits by then.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// The other region.
const SICK: &str = "sick";

/// What the calls took.
#[derive(Default)]
struct Times {
    statuses: Vec<Duration>,
    restarts: Vec<Duration>,
}

#[tokio::main]
async fn main() -> Result<()> {
    e2e::test::remove_old().await?;
    let stack = Stack::get()?;
    let mut system = System::start("measure-regions", &"healthy".parse()?, Medium::Disk, 1, 1).await?;
    let mut links = Links::default();
    let kubeconfig = system.folder().join("kubeconfig-sick.json");
    let server = Kubeconfig::read_from(&stack.kubeconfig)?.clusters.into_iter().find_map(|named| named.cluster?.server);
    links.kubeconfig(Part::Worker(1), &server.context("a server")?, &stack.kubeconfig, &kubeconfig).await?;
    let kubeconfig = kubeconfig.display().to_string();
    let worker = system.new_worker(&[("VKUBE_REGION", SICK), ("VKUBE_KUBE_KUBECONFIG", &kubeconfig)])?;
    system.workers.push(worker);
    system.ready().await?;
    system.apis.first().context("an api")?.knows(&SICK.parse()?).await?;

    let healthy = deployed(&system, "healthy").await?;
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(deployed(&system, SICK).await?);
    }
    let (mut with, mut without) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        for (mode, times) in [(Mode::Pass, &mut with), (Mode::HalfOpen(Lost::BothWays), &mut without)] {
            links.set(Part::Worker(1), Server::Kubernetes, mode)?;
            let asking = std::pin::pin!(join_all(others.iter().map(ask)));
            let measured = std::pin::pin!(measure(&healthy, times));
            match select(measured, asking).await {
                Either::Left((measured, _)) => measured?,
                Either::Right(_) => anyhow::bail!("nobody asks any more"),
            }
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| call | calls | p50 ms | p99 ms | p50 hanging | p99 hanging | p99 ratio |\n|---|---|---|---|---|---|---|"
    )?;
    for (what, with, without) in [
        ("GET /k8s/pod/status", &mut with.statuses, &mut without.statuses),
        ("POST /k8s/pod/restart", &mut with.restarts, &mut without.restarts),
    ] {
        with.sort_unstable();
        without.sort_unstable();
        let [a, b, c, d] =
            [(&*with, 50), (&*with, 99), (&*without, 50), (&*without, 99)].map(|(t, p)| milliseconds(t, p));
        writeln!(out, "| {what} | {} | {a:.2} | {b:.2} | {c:.2} | {d:.2} | {:.2} |", with.len(), d / b)?;
    }
    Ok(())
}

async fn deployed(system: &System, region: &str) -> Result<Order> {
    let order = Order::make(&system.client()?, &system.operator_token, &OrderOptions::units(1)).await?;
    order.deployed(&pod(region, &[idle("idle")])).await?;
    Ok(order)
}

/// Asks about an order for ever, whatever the answer.
async fn ask(order: &Order) {
    loop {
        let restart = order.request(Method::POST, "/k8s/pod/restart").json(&json!({})).header("prefer", "wait=2");
        let _ = futures::join!(order.status(), restart.send());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn measure(order: &Order, times: &mut Times) -> Result<()> {
    tokio::time::sleep(SETTLED_AFTER).await;
    for _ in 0..STATUSES {
        let begun = Instant::now();
        order.status().await?.ok()?;
        times.statuses.push(begun.elapsed());
    }
    for _ in 0..RESTARTS {
        let begun = Instant::now();
        order.request(Method::POST, "/k8s/pod/restart").json(&json!({})).send().await?.ok()?;
        times.restarts.push(begun.elapsed());
    }
    Ok(())
}
