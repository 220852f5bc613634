//! The frame of every test: what it shares with others, its time limit, what is printed when it fails, and the removal of
//! what it made.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::name::RegionCode;
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock};

use crate::cluster::Cluster;
use crate::database::Database;
use crate::http::Client;
use crate::order::{Order, OrderOptions};
use crate::postgres::Postgres;
use crate::process::tail;
use crate::stack::Stack;
use crate::system::{IN_MEMORY, Medium, System, unique};

/// The most that any test may take.
const TEST_WITHIN: Duration = Duration::from_mins(3);

/// Held by every test that uses the cluster, alone by those that stop servers of it.
static CLUSTER_IN_USE: RwLock<()> = RwLock::const_new(());

/// How the product's connections to NATS begin their names.
const PRODUCT: [&str; 2] = ["vkube-api/", "vkube-worker/"];

/// What a test has in its hands.
pub struct Test {
    /// Where everything is.
    pub stack: &'static Stack,
    /// The cluster, as its administrator.
    pub cluster: Cluster,
    orders: Mutex<Vec<(Order, String)>>,
    folders: Mutex<Vec<PathBuf>>,
}

/// Runs a test beside others.
///
/// # Errors
/// When the test fails, or takes longer than three minutes.
pub fn test(body: impl AsyncFnOnce(&Test) -> Result<()>) -> Result<()> {
    run(async |test| {
        let _in_use = CLUSTER_IN_USE.read().await;
        within_limit(body(test)).await
    })
}

/// Runs a test while no other runs, as it stops servers that all need.
///
/// # Errors
/// When the test fails, or takes longer than three minutes.
pub fn test_alone(body: impl AsyncFnOnce(&Test) -> Result<()>) -> Result<()> {
    run(async |test| {
        let _alone = CLUSTER_IN_USE.write().await;
        within_limit(body(test)).await
    })
}

async fn within_limit(body: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::time::timeout(TEST_WITHIN, body).await.context("the test takes too long")?
}

fn run(body: impl AsyncFnOnce(&Test) -> Result<()>) -> Result<()> {
    static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(Runtime::new);
    static CLEAN: OnceCell<Result<(), String>> = OnceCell::const_new();
    let runtime = RUNTIME.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let clean = runtime.block_on(CLEAN.get_or_init(async || remove_old().await.map_err(|error| format!("{error:#}"))));
    clean.clone().map_err(anyhow::Error::msg)?;
    let test = runtime.block_on(Test::new())?;
    let mut outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(async { body(&test).await })));
    if matches!(outcome, Ok(Ok(()))) {
        outcome = Ok(test.nothing_was_refused());
    }
    if !matches!(outcome, Ok(Ok(()))) {
        runtime.block_on(test.explain());
    }
    runtime.block_on(test.remove_orders());
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Removes what an earlier run left in a stack that stays.
///
/// # Errors
/// When that is not to be had.
pub async fn remove_old() -> Result<()> {
    let stack = Stack::get()?;
    let _ = std::fs::remove_dir_all(&stack.folder);
    Postgres::remove_old();
    let _ = std::fs::remove_dir_all(IN_MEMORY);
    std::fs::create_dir_all(&stack.folder)?;
    Database::remove_old(stack).await?;
    Cluster::connect(stack).await?.remove_old().await
}

impl Test {
    async fn new() -> Result<Self> {
        let stack = Stack::get()?;
        let cluster = Cluster::connect(stack).await?;
        Ok(Self { stack, cluster, orders: Mutex::default(), folders: Mutex::default() })
    }

    /// The system that tests share: two api instances and two workers of the region with the cluster's node. Nobody
    /// stops any of them.
    pub async fn shared(&self) -> Result<&'static System> {
        static SHARED: OnceCell<Result<System, String>> = OnceCell::const_new();
        let start = async || {
            let started = Self::start_shared(&self.stack.region).await;
            started.map_err(|error| format!("the shared system does not start: {error:#}"))
        };
        let system = SHARED.get_or_init(start).await.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        self.remember(system);
        Ok(system)
    }

    async fn start_shared(region: &RegionCode) -> Result<System> {
        let mut system = System::start("shared", region, Medium::Memory, 2, 0).await?;
        for _ in 0..2 {
            // Many tests at once: none waits because others delete what they had.
            let worker = system.new_worker(&[("VKUBE_JOB_CONCURRENCY", "16")])?;
            system.workers.push(worker);
        }
        system.ready().await?;
        Ok(system)
    }

    /// A system of this test's own. Its region has no node unless it is the stack's: pods stay pending.
    pub async fn system(&self, region: &str, apis: usize, workers: usize) -> Result<System> {
        let region: RegionCode = region.parse()?;
        let system = System::start(&unique(region.as_str()), &region, Medium::Memory, apis, workers).await?;
        self.remember(&system);
        Ok(system)
    }

    /// As [`Test::system`], with nothing of the product running yet.
    pub async fn empty_system(&self, region: &str) -> Result<System> {
        let region: RegionCode = region.parse()?;
        let system = System::empty(&unique(region.as_str()), &region, Medium::Memory).await?;
        self.remember(&system);
        Ok(system)
    }

    /// Makes an order of the shared system, which is removed when the test ends.
    pub async fn order(&self, options: &OrderOptions) -> Result<Order> {
        let system = self.shared().await?;
        self.order_of(system, options).await
    }

    /// Makes an order of a system, which is removed when the test ends.
    pub async fn order_of(&self, system: &System, options: &OrderOptions) -> Result<Order> {
        let order = Order::make(&system.client()?, &system.operator_token, options).await?;
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.push((order.clone(), system.operator_token.clone()));
        Ok(order)
    }

    /// Has the logs of a system shown if the test fails.
    fn remember(&self, system: &System) {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).push(system.folder().to_owned());
    }

    /// A client of the shared system.
    pub async fn client(&self) -> Result<Client> {
        self.shared().await?.client()
    }

    /// That each server of the test's systems let the product do all that it tried: what an identity lacks is seldom an error
    /// of whoever wants it, as NATS answers it with silence.
    fn nothing_was_refused(&self) -> Result<()> {
        for log in self.logs().iter().filter(|log| is_of_nats(log)) {
            let text = std::fs::read_to_string(log)?;
            let of_product = |line: &&str| PRODUCT.iter().any(|name| line.contains(name));
            let refused = text.lines().find(|line| line.contains("Violation") && of_product(line));
            ensure!(refused.is_none(), "{}: {}", log.display(), refused.unwrap_or_default());
        }
        Ok(())
    }

    /// The logs of the test's systems.
    fn logs(&self) -> Vec<PathBuf> {
        let folders: BTreeSet<PathBuf> =
            self.folders.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        files.map(|file| file.path()).filter(|file| file.extension().is_some_and(|end| end == "log")).collect()
    }

    /// Prints the pods, the events and the end of the logs.
    async fn explain(&self) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (order, _) in orders {
            let namespace = order.namespace();
            let seen = self.cluster.describe(&namespace).await.unwrap_or_else(|error| format!("{error:#}\n"));
            if !seen.is_empty() {
                eprint!("--- {namespace}\n{seen}");
            }
        }
        for log in self.logs() {
            eprintln!("--- the end of {}\n{}", log.display(), tail(&log, 25));
        }
    }

    /// Has everything that the test's orders run removed, without waiting for it.
    async fn remove_orders(&self) {
        let orders = std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        for (order, token) in orders {
            let request = order.request(reqwest::Method::POST, &format!("/admin/orders/{}/abort", order.id));
            let body = serde_json::json!({ "reason": "the test has ended" });
            let request = request.operator(&token).header("prefer", "respond-async").json(&body);
            if request.send().await.is_err() {
                // The test has ended its api.
                let _ = self.cluster.delete_namespace(&order.namespace()).await;
            }
        }
    }
}

/// Whether a log is that of a NATS server.
fn is_of_nats(log: &Path) -> bool {
    log.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nats"))
}
