//! Customers: each changes and reads its order at random through any api instance, asks again with the same key when it
//! does not know what became of a change, and now and then sees its order ended and gets a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::{Value, json};

use super::asking::{Asking, Call};
use super::journal::Answered;
use crate::change::Change;
use crate::order::{Order, OrderOptions};

/// How often a change is asked for of which nobody knows what became.
const TRIES: u32 = 12;
/// The pause between two operations, in milliseconds.
const PAUSE: std::ops::Range<u64> = 500..4000;
/// The pause before a change is asked for again.
const PAUSE_BEFORE_AGAIN: std::ops::Range<u64> = 200..3000;

/// An order, and how it gets its ports.
#[derive(Debug, Clone)]
pub struct Owned {
    /// The order.
    pub order: Order,
    /// Whether its ports are assigned.
    pub random_ports: bool,
}

/// A customer.
#[derive(Debug)]
pub struct Customer {
    /// What it does.
    pub random: StdRng,
    /// The region of its orders.
    pub region: String,
    /// Host ports that it may want.
    pub ports: Vec<u16>,
    /// How it asks.
    pub asking: Asking,
    /// Its orders; the last is in use.
    pub orders: Vec<Owned>,
}

impl Customer {
    /// Goes on until it is told to stop. All orders that it had.
    pub async fn run(mut self, going: Arc<AtomicBool>) -> Result<Vec<Owned>> {
        let (mut newest_job, mut is_deployed) = (None, false);
        while going.load(Ordering::Relaxed) {
            let owned = self.orders.last().context("a customer has an order")?.clone();
            match self.random.random_range(0..100) {
                0..60 => {
                    let ports = (!owned.random_ports).then_some(self.ports.as_slice());
                    let mut change = Change::any(&mut self.random, &self.region, ports);
                    while !is_deployed && !matches!(change, Change::Call(_, "/k8s/deploy", _)) {
                        change = Change::any(&mut self.random, &self.region, ports);
                    }
                    let Some(call) = self.call(change, newest_job.as_deref()) else { continue };
                    if let Some(answer) = self.change(&owned.order, call).await? {
                        let is_refused = answer.job.is_none();
                        is_deployed =
                            !(is_refused && (!is_deployed || answer.reason.as_deref() == Some("NOT_DEPLOYED")));
                        newest_job = answer.job.or(newest_job);
                    }
                }
                60..98 => self.read(&owned.order).await?,
                _ => {
                    (newest_job, is_deployed) = (None, false);
                    self.replace(&owned).await?;
                }
            }
            let pause = self.random.random_range(PAUSE);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(self.orders)
    }

    fn key(&mut self) -> String {
        format!("key-{:016x}", self.random.random::<u64>())
    }

    fn call(&mut self, change: Change, newest_job: Option<&str>) -> Option<Call> {
        let prefer = if self.random.random_bool(0.5) { "wait=5" } else { "respond-async" };
        let key = Some(self.key());
        let (method, path, body) = match change {
            Change::Call(method, path, body) => (method, path.to_owned(), body),
            Change::CancelNewest => (Method::DELETE, format!("/jobs/{}", newest_job?), Value::Null),
        };
        Some(Call { method, path, body, prefer, key })
    }

    /// Asks for a change, and again while nobody knows; now and then also when it is known. The first answer.
    async fn change(&mut self, order: &Order, call: Call) -> Result<Option<Answered>> {
        for _ in 0..TRIES {
            let api = self.any_api();
            let answer = self.asking.ask(api, order, &call).await?;
            if let Some(answer) = answer {
                if self.random.random_bool(0.1) {
                    let api = self.any_api();
                    self.asking.ask(api, order, &call).await?;
                }
                return Ok(Some(answer));
            }
            let pause = self.random.random_range(PAUSE_BEFORE_AGAIN);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(None)
    }

    async fn read(&mut self, order: &Order) -> Result<()> {
        let call = match self.random.random_range(0..10) {
            0..5 => Call::get("/k8s/pod/status"),
            5..7 => Call::get("/k8s/pod/log"),
            7 => Call::get("/jobs?limit=5"),
            _ => {
                let body = json!({ "region": self.region, "ports": self.ports });
                Call { method: Method::POST, body, ..Call::get("/k8s/checkports") }
            }
        };
        let api = self.any_api();
        self.asking.ask(api, order, &call).await.map(drop)
    }

    /// The operator ends the order, and makes another.
    async fn replace(&mut self, owned: &Owned) -> Result<()> {
        let path = format!("/admin/orders/{}/abort", owned.order.id);
        let body = json!({ "reason": "not paid" });
        let call = Call { method: Method::POST, path, body, prefer: "respond-async", key: Some(self.key()) };
        self.change(&owned.order, call).await?;
        let api = self.any_api();
        let client = self.asking.apis.get(api).context("an api")?.clone();
        let made = make(&client, &self.asking.operator_token, owned.random_ports);
        // Whoever gets no answer has no secret: that order is never used.
        if let Ok(Ok(order)) = tokio::time::timeout(Duration::from_secs(10), made).await {
            self.orders.push(order);
        }
        Ok(())
    }

    fn any_api(&mut self) -> usize {
        self.random.random_range(0..self.asking.apis.len())
    }
}

/// Makes an order of two units.
pub async fn make(client: &crate::http::Client, operator_token: &str, random_ports: bool) -> Result<Owned> {
    let options = OrderOptions { random_ports, ..OrderOptions::units(2) };
    let order = Order::make(client, operator_token, &options).await?;
    Ok(Owned { order, random_ports })
}
