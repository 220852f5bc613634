//! Measures streams of logs: how long a line takes from its container to a client, and what a client who only listens
//! holds of the api's memory. Run as `measure` is run.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::log::Position;
use e2e::log_stream::LogStream;
use e2e::order::{Order, OrderOptions};
use e2e::percentile::milliseconds;
use e2e::pod::{container, pod, with};
use e2e::stack::Stack;
use e2e::system::{Medium, System};
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::json;

/// How many lines are measured.
const LINES: usize = 1000;
/// How many clients listen to a silent container.
const LISTENERS: usize = 1000;
/// How many of them come at once.
const AT_ONCE: usize = 50;

#[tokio::main]
async fn main() -> Result<()> {
    e2e::test::remove_old().await?;
    let stack = Stack::get()?;
    let mut system = System::empty("measure-logs", &stack.region, Medium::Disk).await?;
    let api = system.new_api(&[("VKUBE_LOG_FOLLOWERS_PER_ORDER", "10000")]).await?;
    system.apis.push(api);
    let worker = system.new_worker(&[])?;
    system.workers.push(worker);
    system.ready().await?;

    let ticking = runs(&system, "i=0; while :; do echo line $i; i=$((i+1)); usleep 20000; done").await?;
    let mut times = latencies(&ticking).await?;
    times.sort_unstable();
    let silent = runs(&system, "echo once; sleep 100000").await?;
    let memory = || system.apis.first().context("an api")?.process.memory_bytes();
    let before = memory()?;
    let mut listeners = Vec::new();
    while listeners.len() < LISTENERS {
        listeners.extend(try_join_all((0..AT_ONCE).map(|_| listen(&silent))).await?);
    }
    // A few blank lines each.
    for listener in &mut listeners {
        for _ in 0..3 {
            listener.more().await?;
        }
    }
    let after = memory()?;

    let mut out = std::io::stdout().lock();
    let ms = |hundredths| milliseconds(&times, hundredths);
    writeln!(out, "| a line's way | lines | p50 ms | p99 ms |\n|---|---|---|---|")?;
    writeln!(out, "| container to client, 50 lines a second | {} | {:.2} | {:.2} |", times.len(), ms(50), ms(99))?;
    writeln!(out, "\n| vkube-api | resident KiB |\n|---|---|")?;
    writeln!(out, "| no listener | {} |", before / 1024)?;
    writeln!(out, "| {} silent listeners | {} |", listeners.len(), after / 1024)?;
    writeln!(out, "| each | {} |", after.saturating_sub(before) / 1024 / listeners.len() as u64)?;
    Ok(())
}

async fn runs(system: &System, script: &str) -> Result<Order> {
    let order = Order::make(&system.client()?, &system.operator_token, &OrderOptions::units(1)).await?;
    let container = with(container("one", "busybox:1"), "command", json!(["/bin/sh", "-c", script]));
    order.running(&pod(system.region.as_str(), &[container])).await?;
    Ok(order)
}

async fn listen(order: &Order) -> Result<LogStream> {
    let mut stream = LogStream::open(order, "").await?;
    stream.line().await?;
    Ok(stream)
}

/// The time from the runtime's writing a line, which is in its id, to its being here: both by the clock of this machine.
async fn latencies(order: &Order) -> Result<Vec<Duration>> {
    let mut stream = LogStream::open(order, "?tailLines=0").await?;
    let mut times = Vec::new();
    for number in 0..LINES + 100 {
        let event = stream.next().await?.context("the stream goes on")?;
        let now = Timestamp::now().as_nanosecond();
        let position: Position = event.id.context("an id")?.parse()?;
        let written = i128::from(position.after.context("a line")?.time_ns);
        // The first come late, as the stream catches up.
        if number >= 100 {
            times.push(Duration::from_nanos(u64::try_from(now - written).unwrap_or_default()));
        }
    }
    Ok(times)
}
