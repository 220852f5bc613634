//! A client that changes an order at random, and what it may be told.

use anyhow::{Result, ensure};
use common::failure::Reason;
use e2e::change::Change;
use e2e::http::Answer;
use e2e::order::{Order, text};
use futures::future::try_join;
use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::Method;

/// What an order's owner may well be told when others change the same order, or want the same ports.
const REFUSALS: [Reason; 7] = [
    Reason::PortOccupied,
    Reason::NotDeployed,
    Reason::OrderStopped,
    Reason::JobBegun,
    Reason::Superseded,
    Reason::OrderEnded,
    Reason::Overloaded,
];

/// A change, and how it is asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    change: Change,
    prefer: &'static str,
    /// Asked twice at once, with a key.
    key: Option<String>,
}

impl Request {
    /// Any change that a customer of an order with two units may ask for, with host ports out of a few.
    pub(super) fn any(random: &mut StdRng, region: &str, ports: &[u16]) -> Self {
        let change = Change::any(random, region, Some(ports));
        let prefer = if random.random_bool(0.5) { "wait=5" } else { "respond-async" };
        let key = random.random_bool(0.3).then(|| format!("key-{}", random.random::<u64>()));
        Self { change, prefer, key }
    }

    /// Asks for it, by one api instance, or by two at once. The ids of the jobs that were accepted for it.
    pub(super) async fn send(&self, order: &Order, other: &Order) -> Result<Option<String>> {
        let Some(key) = &self.key else { return told(&self.ask(order, None).await?) };
        let both = try_join(self.ask(order, Some(key)), self.ask(other, Some(key))).await?;
        let (one, two) = (told(&both.0)?, told(&both.1)?);
        // One that cancels is answered with the job that it cancelled: with two of them, if others come between.
        let same = one.is_none() || two.is_none() || one == two || matches!(self.change, Change::CancelNewest);
        ensure!(same, "one key, two jobs: {both:?}");
        Ok(one.or(two))
    }

    async fn ask(&self, order: &Order, key: Option<&str>) -> Result<Answer> {
        let request = match &self.change {
            Change::Call(method, path, body) => order.request(method.clone(), path).json(body),
            Change::CancelNewest => {
                let jobs = order.request(Method::GET, "/jobs?limit=1").send().await?.ok()?;
                let newest = text(&jobs, "/jobs/0/id").unwrap_or_else(|_| uuid::Uuid::nil().to_string());
                // Its key is its own: two that ask at once may see two jobs.
                return order.request(Method::DELETE, &format!("/jobs/{newest}")).send().await;
            }
        };
        let request = request.header("prefer", self.prefer);
        match key {
            Some(key) => request.header("idempotency-key", key).send().await,
            None => request.send().await,
        }
    }
}

/// The job that an answer names; none = the change was refused, for a reason that is to be expected.
fn told(answer: &Answer) -> Result<Option<String>> {
    if answer.status < 300 {
        return text(&answer.body, "/id").map(Some);
    }
    let reason: Reason = serde_json::from_value(answer.body["error"]["reason"].clone())?;
    let nothing_to_cancel = reason == Reason::NotFound && answer.body["error"]["message"].to_string().contains("job");
    ensure!(REFUSALS.contains(&reason) || nothing_to_cancel, "refused for {reason:?}: {}", answer.body);
    Ok(None)
}
