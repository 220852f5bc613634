//! Measures what becomes of twice the load that one api instance can carry: what clients who wait for each answer get done in a
//! second, then twice as many calls a second from clients who do not wait. Each must be answered within the deadline of its kind,
//! and all must be as before once the load is gone. Run as `measure` is run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::http::Answer;
use e2e::order::{Order, OrderOptions};
use e2e::percentile::milliseconds;
use e2e::pod::{idle, pod};
use e2e::stack::Stack;
use e2e::system::{Medium, System};
use e2e::until::until;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::json;

/// Orders that are asked about.
const ORDERS: usize = 20;
/// Clients who wait for each answer, for each order.
const CLIENTS: usize = 4;
/// How long they ask.
const CARRIED_FOR: Duration = Duration::from_secs(10);
/// How long twice as many ask.
const OVERLOADED_FOR: Duration = Duration::from_secs(20);
/// How often calls begin.
const TICK: Duration = Duration::from_millis(5);
/// How long it may take until all is as before.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
/// Beyond a deadline: the way there and back on a machine that has more to do than it can.
const SLACK: Duration = Duration::from_secs(2);

/// A kind of call.
struct Call {
    what: &'static str,
    /// The longest that it may take (`VKUBE_READ_DEADLINE_MS`; a change that waits for nobody: the broker's and PostgreSQL's).
    deadline: Duration,
    ask: fn(&Order) -> futures::future::BoxFuture<'_, Result<Answer>>,
}

const CALLS: [Call; 3] = [
    Call { what: "GET /k8s/pod/status", deadline: Duration::from_secs(10), ask: |order| order.status().boxed() },
    Call {
        what: "GET /k8s/deployment/info",
        deadline: Duration::from_secs(10),
        ask: |order| order.request(Method::GET, "/k8s/deployment/info").send().boxed(),
    },
    Call {
        what: "POST /k8s/pod/restart",
        deadline: Duration::from_secs(15),
        ask: |order| {
            let restart = order.request(Method::POST, "/k8s/pod/restart").json(&json!({}));
            restart.header("prefer", "respond-async").send().boxed()
        },
    },
];

/// What came of calls.
#[derive(Default)]
struct Outcome {
    by_status: BTreeMap<u16, usize>,
    times: Vec<Duration>,
}

impl Outcome {
    fn add(&mut self, answered: Result<(u16, Duration)>) -> Result<()> {
        let (status, time) = answered?;
        *self.by_status.entry(status).or_default() += 1;
        self.times.push(time);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    e2e::test::remove_old().await?;
    let stack = Stack::get()?;
    let system = System::start("measure-load", &stack.region, Medium::Disk, 1, 1).await?;
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        let order = Order::make(&system.client()?, &system.operator_token, &OrderOptions::units(1)).await?;
        order.deployed(&pod(stack.region.as_str(), &[idle("idle")])).await?;
        orders.push(order);
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| call | carried/s | asked/s | answers by status | p50 ms | p99 ms | max ms | api MiB before, after |\n|---|---|---|---|---|---|---|---|"
    )?;
    for call in &CALLS {
        let api = &system.apis.first().context("an api")?.process;
        let carried = carried(call, &orders).await?;
        let before = api.memory_bytes()? >> 20;
        let rate = 2.0 * carried;
        let Outcome { by_status, mut times } = overloaded(call, &orders, rate).await?;
        let after = api.memory_bytes()? >> 20;
        times.sort_unstable();
        let [p50, p99, max] = [50, 99, 100].map(|hundredths| milliseconds(&times, hundredths));
        writeln!(
            out,
            "| {} | {carried:.0} | {rate:.0} | {by_status:?} | {p50:.1} | {p99:.1} | {max:.1} | {before}, {after} |",
            call.what
        )?;
        let most = (call.deadline + SLACK).as_secs_f64() * 1000.0;
        ensure!(max <= most, "{} was answered after {max:.0} ms, and not within {most:.0} ms", call.what);
        let is_expected = |status: &u16| [200, 202, 429, 503].contains(status);
        ensure!(by_status.keys().all(is_expected), "{}: {by_status:?}", call.what);
        let first = orders.first().context("an order")?;
        until("it is answered as before", RECOVERS_WITHIN, async || {
            Ok((first.status().await?.status == 200).then_some(()))
        })
        .await?;
    }
    Ok(())
}

async fn timed(call: &Call, order: &Order) -> Result<(u16, Duration)> {
    let begun = Instant::now();
    let answer = (call.ask)(order).await?;
    Ok((answer.status, begun.elapsed()))
}

/// How many calls a second are answered to clients who wait for each answer.
async fn carried(call: &Call, orders: &[Order]) -> Result<f64> {
    let (done, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let client = async |order: &Order| {
        while !is_over.load(Ordering::Relaxed) {
            let (status, _) = timed(call, order).await?;
            if status < 300 {
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    let clients = try_join_all(orders.iter().flat_map(|order| [order; CLIENTS]).map(client));
    let time = async {
        tokio::time::sleep(CARRIED_FOR).await;
        is_over.store(true, Ordering::Relaxed);
        Ok(())
    };
    futures::try_join!(clients, time)?;
    let done = u32::try_from(done.into_inner())?;
    Ok(f64::from(done) / CARRIED_FOR.as_secs_f64())
}

/// What becomes of so many calls a second.
async fn overloaded(call: &Call, orders: &[Order], rate: f64) -> Result<Outcome> {
    let (begun, mut asked) = (Instant::now(), 0_u32);
    let (mut asking, mut outcome) = (FuturesUnordered::new(), Outcome::default());
    let mut tick = tokio::time::interval(TICK);
    let mut each = orders.iter().cycle();
    loop {
        tokio::select! {
            _ = tick.tick(), if begun.elapsed() < OVERLOADED_FOR => {
                while f64::from(asked) < begun.elapsed().as_secs_f64() * rate {
                    asking.push(timed(call, each.next().context("an order")?));
                    asked += 1;
                }
            }
            Some(answered) = asking.next() => outcome.add(answered)?,
            else => return Ok(outcome),
        }
        if asking.is_empty() && begun.elapsed() >= OVERLOADED_FOR {
            return Ok(outcome);
        }
    }
}
