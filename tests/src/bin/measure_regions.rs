//! Measures what a region whose API server hangs does to another: calls of the one while nobody asks the other for anything, while
//! its customers do, and while they do and its API server hangs. Run as `measure` is run.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::chaos::links::{Links, Part, Server};
use e2e::chaos::proxy::{Lost, Mode};
use e2e::nats::{Identity, OTHER_REGION};
use e2e::order::{Order, OrderOptions};
use e2e::percentile::milliseconds;
use e2e::pod::{idle, pod};
use e2e::stack::Stack;
use e2e::system::{Medium, System};
use futures::FutureExt as _;
use futures::future::{Either, join_all, pending, select};
use kube::config::Kubeconfig;
use reqwest::Method;
use serde_json::json;

/// How often each state is measured, in turn.
const ROUNDS: usize = 5;
/// Statuses of a round.
const STATUSES: usize = 400;
/// Restarts of a round, which are jobs.
const RESTARTS: usize = 40;
/// Customers of the other region who ask all the time.
const OTHERS: usize = 8;
/// How long its customers have asked before it is measured: whoever waits for an answer waits by then.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// The states: what they are called, whether the other region's customers ask, and the way to its API server.
const STATES: [(&str, bool, Mode); 3] =
    [("alone", false, Mode::Pass), ("busy", true, Mode::Pass), ("hanging", true, Mode::HalfOpen(Lost::BothWays))];

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
    let original = stack.worker_kubeconfig().await?;
    let server = Kubeconfig::read_from(original)?.clusters.into_iter().find_map(|named| named.cluster?.server);
    links.kubeconfig(Part::Worker(1), &server.context("a server")?, original, &kubeconfig).await?;
    let kubeconfig = kubeconfig.display().to_string();
    let [_, (key, key_file), _] = system.nats.login(Identity::OtherWorker);
    let worker = system.new_worker(&[
        ("VKUBE_REGION", OTHER_REGION),
        ("VKUBE_KUBE_KUBECONFIG", &kubeconfig),
        (key, &key_file),
    ])?;
    system.workers.push(worker);
    system.ready().await?;
    system.apis.first().context("an api")?.knows(&OTHER_REGION.parse()?).await?;

    let healthy = deployed(&system, "healthy").await?;
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(deployed(&system, OTHER_REGION).await?);
    }
    let mut times: [Times; STATES.len()] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, do_ask, mode), times) in STATES.into_iter().zip(&mut times) {
            links.set(Part::Worker(1), Server::Kubernetes, mode)?;
            let asking = std::pin::pin!(join_all(others.iter().filter(|_| do_ask).map(ask)).then(|_| pending::<()>()));
            let measured = std::pin::pin!(measure(&healthy, times));
            match select(measured, asking).await {
                Either::Left((measured, _)) => measured?,
                Either::Right(_) => anyhow::bail!("nobody asks any more"),
            }
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "| call | the other region | calls | p50 ms | p99 ms |\n|---|---|---|---|---|")?;
    for ((state, ..), Times { statuses, restarts }) in STATES.into_iter().zip(&mut times) {
        for (what, times) in [("GET /k8s/pod/status", statuses), ("POST /k8s/pod/restart", restarts)] {
            times.sort_unstable();
            let (p50, p99) = (milliseconds(times, 50), milliseconds(times, 99));
            writeln!(out, "| {what} | {state} | {} | {p50:.2} | {p99:.2} |", times.len())?;
        }
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
