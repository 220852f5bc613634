//! What an operator asks of a system, and how a test moves an order's end.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::http::{Answer, Client, Request};
use crate::order::{Order, text};
use crate::system::System;
use crate::until::until;

/// How long a step of an order's life may take on a busy machine, once it is due.
pub const STEP_WITHIN: Duration = Duration::from_mins(1);

/// An operator of a system.
pub struct Operator<'a> {
    system: &'a System,
    client: Client,
}

impl<'a> Operator<'a> {
    /// The system's operator, by way of its first api.
    pub fn of(system: &'a System) -> Result<Self> {
        Ok(Self { system, client: system.client()? })
    }

    /// The same operator by way of another api.
    #[must_use]
    pub fn by(self, client: &Client) -> Self {
        Self { client: client.clone(), ..self }
    }

    /// Begins a change of an order: `extend`, `secret`, `abort`.
    pub fn change(&self, order: &Order, call: &str, body: &Value) -> Request {
        self.client.post(&format!("/admin/orders/{}/{call}", order.id)).operator(&self.system.operator_token).json(body)
    }

    /// Extends an order, and gives the answer's order.
    pub async fn extend(&self, order: &Order, hours: u32) -> Result<Value> {
        let answer = self.change(order, "extend", &json!({ "hours": hours })).send().await?.ok()?;
        answer.get("order").cloned().context("an order")
    }

    /// All that there is to an order.
    pub async fn details(&self, order: &Order) -> Result<Value> {
        let request = self.client.get(&format!("/admin/orders/{}", order.id));
        request.operator(&self.system.operator_token).send().await?.ok()
    }

    /// What happened to an order, oldest first, each as `who: what`.
    pub async fn history(&self, order: &Order) -> Result<Vec<String>> {
        let details = self.details(order).await?;
        let entries = list(&details, "history")?.iter().rev();
        entries.map(|entry| Ok(format!("{}: {}", text(entry, "/by")?, text(entry, "/event")?))).collect()
    }

    /// An order's verbs and their states, oldest first, each as `verb state`.
    pub async fn jobs(&self, order: &Order) -> Result<Vec<String>> {
        let details = self.details(order).await?;
        let jobs = list(&details, "jobs")?.iter().rev();
        jobs.map(|job| Ok(format!("{} {}", text(job, "/verb")?, text(job, "/state")?))).collect()
    }

    /// Waits until an order's newest job is this one, and has ended well.
    pub async fn has_done(&self, order: &Order, verb: &str) -> Result<()> {
        let wanted = format!("{verb} Succeeded");
        until(&format!("the newest job of {} is {wanted}", order.id), STEP_WITHIN, async || {
            Ok((self.jobs(order).await?.last() == Some(&wanted)).then_some(()))
        })
        .await
    }

    /// The system's region as it is shown.
    pub async fn region(&self) -> Result<Value> {
        let request = self.client.get("/admin/regions").operator(&self.system.operator_token);
        let all = request.send().await?.ok()?;
        let all = list(&all, "regions")?;
        let ours = all.iter().find(|region| region.get("region") == Some(&self.system.region.as_str().into()));
        ours.cloned().with_context(|| format!("the region is shown: {all:?}"))
    }

    /// Lets the deletes of the system's region pass.
    pub async fn approve_deletes(&self, key: &str) -> Result<Answer> {
        let path = format!("/admin/regions/{}/approve-deletes", self.system.region);
        let request = self.client.post(&path).operator(&self.system.operator_token);
        request.header("idempotency-key", key).json(&json!({})).send().await
    }

    /// Moves the ends of orders to so many hours from now, as if that time had passed.
    pub async fn move_ends(&self, orders: &[&Order], hours: i32) -> Result<()> {
        let ids: Vec<&str> = orders.iter().map(|order| order.id.as_str()).collect();
        let sql = "update orders set ends_at = now() + make_interval(hours => $2) where id = any($1)";
        let moved = self.system.database.connect().await?.execute(sql, &[&ids, &hours]).await?;
        anyhow::ensure!(moved == u64::try_from(ids.len())?, "all orders are there");
        Ok(())
    }
}

/// A list of an answer.
fn list<'a>(answer: &'a Value, name: &str) -> Result<&'a [Value]> {
    let found = answer.get(name).and_then(Value::as_array);
    Ok(found.with_context(|| format!("no list {name} in {answer}"))?)
}
