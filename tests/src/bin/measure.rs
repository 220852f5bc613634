//! Measures calls of the product beside the bare operations below them, in one run on one machine, and prints a table.
//! Run it in a stack: `dev/stack/test-stack --durable run -- target/release/measure`, with `VKUBE_E2E_API_BINARY` and
//! `VKUBE_E2E_WORKER_BINARY` naming the binaries to measure.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::cluster::Cluster;
use e2e::http::Client;
use e2e::order::{Order, OrderOptions};
use e2e::percentile::milliseconds;
use e2e::pod::{idle, pod, with};
use e2e::stack::Stack;
use e2e::system::{Medium, System, host_port};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use reqwest::Method;
use serde_json::{Value, json};

/// How often a call that changes nothing is made.
const READS: usize = 500;
/// How often a call that changes something is made.
const CHANGES: usize = 50;
/// How often a pod is replaced, which takes its time.
const REPLACEMENTS: usize = 20;
/// Calls before those that are measured.
const WARM_UP: usize = 5;

/// Times of one kind of call.
struct Row {
    what: &'static str,
    times: Vec<Duration>,
}

impl Row {
    /// Makes the call often, one after another.
    async fn of(what: &'static str, times: usize, mut call: impl AsyncFnMut(usize) -> Result<()>) -> Result<Self> {
        let mut row = Self { what, times: Vec::new() };
        for number in 0..times + WARM_UP {
            let begun = Instant::now();
            call(number).await.with_context(|| format!("measuring {what}"))?;
            if number >= WARM_UP {
                row.times.push(begun.elapsed());
            }
        }
        row.times.sort_unstable();
        Ok(row)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    e2e::test::remove_old().await?;
    let stack = Stack::get()?;
    let cluster = Cluster::connect(stack).await?;
    let system = System::start("measure", &stack.region, Medium::Disk, 1, 1).await?;
    let client = system.client()?;

    let mut rows = vec![bare_nats(&system).await?];
    rows.extend(bare_kubernetes(&cluster).await?);
    rows.extend(lookups(&system, &client).await?);
    let mut orders = Vec::new();
    rows.extend(deploys(&system, &client, &mut orders).await?);
    let memory: Vec<(&str, u64)> = vec![
        ("vkube-api", system.apis.first().context("an api")?.process.memory_bytes()?),
        ("vkube-worker", system.workers.first().context("a worker")?.process.memory_bytes()?),
    ];
    remove(&system, &orders).await?;

    let mut out = std::io::stdout().lock();
    writeln!(out, "| call | calls | p50 ms | p99 ms |\n|---|---|---|---|")?;
    for row in &rows {
        let ms = |hundredths| milliseconds(&row.times, hundredths);
        writeln!(out, "| {} | {} | {:.2} | {:.2} |", row.what, row.times.len(), ms(50), ms(99))?;
    }
    writeln!(out, "\n| binary | file MiB | resident MiB |\n|---|---|---|")?;
    for ((name, resident), file) in memory.into_iter().zip([&stack.api_binary, &stack.worker_binary]) {
        let mebibytes = |bytes: u64| Duration::from_secs(bytes).as_secs_f64() / 1_048_576.0;
        let size = std::fs::metadata(file)?.len();
        writeln!(out, "| {name} | {:.1} | {:.1} |", mebibytes(size), mebibytes(resident))?;
    }
    Ok(())
}

/// A request and its answer between two connections, by way of the system's NATS server.
async fn bare_nats(system: &System) -> Result<Row> {
    let (asking, answering) = (system.nats.client().await?, system.nats.client().await?);
    let mut questions = answering.subscribe("measure.echo").await?;
    answering.flush().await?;
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            if let Some(reply) = question.reply {
                let _ = answering.publish(reply, question.payload).await;
            }
        }
    });
    Row::of("bare NATS request", READS, async |_| {
        let request = async_nats::Request::new().payload("x".into());
        asking.send_request("measure.echo", request).await?;
        Ok(())
    })
    .await
}

/// A server-side apply that changes a Deployment, and a GET of it.
async fn bare_kubernetes(cluster: &Cluster) -> Result<Vec<Row>> {
    cluster.make_namespace("e2e-measure").await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "e2e-measure");
    let apply = Row::of("bare server-side apply", CHANGES, async |number| {
        let labels = json!({ "app": "measure" });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "measure", "annotations": { "number": number.to_string() } },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "a", "image": "a" }] } }
            }
        });
        deployments.patch("measure", &PatchParams::apply("e2e"), &Patch::Apply(&deployment)).await?;
        Ok(())
    })
    .await?;
    let get = Row::of("bare GET", READS, async |_| {
        deployments.get("measure").await?;
        Ok(())
    })
    .await?;
    Ok(vec![apply, get])
}

/// Calls that change nothing.
async fn lookups(system: &System, client: &Client) -> Result<Vec<Row>> {
    let body = json!({ "region": system.region, "ports": [22, 3306, 1234, 1111] });
    let ports = Row::of("POST /k8s/checkports", READS, async |_| {
        client.post("/k8s/checkports").json(&body).send().await?.ok()?;
        Ok(())
    })
    .await?;
    let order = Order::make(client, &system.operator_token, &OrderOptions::units(1)).await?;
    order.running(&pod(system.region.as_str(), &[idle("idle")])).await?;
    let status = Row::of("GET /k8s/pod/status", READS, async |_| {
        order.status().await?.ok()?;
        Ok(())
    })
    .await?;
    let log = Row::of("GET /k8s/pod/log", READS, async |_| {
        order.log("").await?.ok()?;
        Ok(())
    })
    .await?;
    remove(system, &[order]).await?;
    Ok(vec![ports, status, log])
}

fn one_port(system: &System) -> Value {
    let port = host_port();
    let ports = json!([{ "containerPort": port, "hostPort": port }]);
    pod(system.region.as_str(), &[with(idle("idle"), "ports", ports)])
}

/// Deploys of one container with one host port.
async fn deploys(system: &System, client: &Client, orders: &mut Vec<Order>) -> Result<Vec<Row>> {
    let mut new = Vec::new();
    for _ in 0..CHANGES + WARM_UP {
        new.push(Order::make(client, &system.operator_token, &OrderOptions::units(1)).await?);
    }
    orders.extend(new.iter().cloned());
    let first = Row::of("POST /k8s/deploy, 200, first of an order", CHANGES, async |number| {
        let order = new.get(number).context("an order a deploy")?;
        order.deployed(&one_port(system)).await?;
        Ok(())
    })
    .await?;
    let order = new.first().context("an order")?;
    let body = one_port(system);
    let again = Row::of("POST /k8s/deploy, 200, again", REPLACEMENTS, async |number| {
        let image = if number % 2 == 0 { "pause:1" } else { "docker.io/library/pause:1" };
        let mut body = body.clone();
        if let Some(found) = body.pointer_mut("/containers/0/imageName") {
            *found = image.into();
        }
        order.deployed(&body).await?;
        Ok(())
    })
    .await?;
    // Without a worker, so that only what is on the request's way is measured.
    let worker = &system.workers.first().context("a worker")?.process;
    worker.pause().await?;
    let accepted = Row::of("POST /k8s/deploy, 202", CHANGES, async |number| {
        let order = new.get(number).context("an order a deploy")?;
        order.accepted(&one_port(system)).await?;
        Ok(())
    })
    .await;
    worker.resume()?;
    Ok(vec![accepted?, first, again])
}

async fn remove(system: &System, orders: &[Order]) -> Result<()> {
    for order in orders {
        let request = order.request(Method::POST, &format!("/admin/orders/{}/abort", order.id));
        let request = request.operator(&system.operator_token).json(&json!({ "reason": "measured" }));
        request.header("prefer", "respond-async").send().await?;
    }
    Ok(())
}
