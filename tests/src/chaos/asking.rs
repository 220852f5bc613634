//! Asking an api instance for something, with a line in the journal before and after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::Method;
use serde_json::Value;

use super::journal::{Answered, Begun, Event, Journal};
use crate::agreement::at;
use crate::http::{Answer, Client};
use crate::order::Order;

/// The longest that a customer waits for an answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A call of an order's customer or of an operator.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The body.
    pub body: Value,
    /// How long to wait for the job: the header `Prefer`.
    pub prefer: &'static str,
    /// The idempotency key.
    pub key: Option<String>,
}

impl Call {
    /// A question.
    pub fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.to_owned(), body: Value::Null, prefer: "", key: None }
    }
}

/// Asks, and keeps the journal.
#[derive(Debug, Clone)]
pub struct Asking {
    /// A client of each api instance.
    pub apis: Vec<Client>,
    /// What opens the operator's side.
    pub operator_token: String,
    /// The longest that it waits for an answer.
    pub within: Duration,
    /// Where all is written down.
    pub journal: Arc<Journal>,
}

impl Asking {
    /// Asks an api instance: its answer, or none when nobody knows what became of it.
    pub async fn ask(&self, api: usize, order: &Order, call: &Call) -> Result<Option<Answered>> {
        let Some(client) = self.apis.get(api) else { anyhow::bail!("there is no api {api}") };
        let operation = self.journal.next_operation();
        self.journal.add(Event::Begun(Begun {
            operation,
            order: order.id.clone(),
            api,
            call: format!("{} {}", call.method, call.path),
            key: call.key.clone(),
            body: call.body.clone(),
        }))?;
        let begun = Instant::now();
        let told = tokio::time::timeout(self.within, self.send(&order.by(client), call)).await;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let answer = match told {
            Ok(Ok(answer)) => Answered { operation, milliseconds, ..answer },
            Ok(Err(error)) => return self.unknown(operation, &format!("{error:#}")),
            Err(_) => return self.unknown(operation, "no answer in time"),
        };
        self.journal.add(Event::Answered(answer.clone()))?;
        Ok(Some(answer))
    }

    fn unknown(&self, operation: u64, problem: &str) -> Result<Option<Answered>> {
        self.journal.add(Event::Unknown { operation, problem: problem.to_owned() })?;
        Ok(None)
    }

    async fn send(&self, order: &Order, call: &Call) -> Result<Answered> {
        let mut request = order.request(call.method.clone(), &call.path);
        if call.path.starts_with("/admin/") {
            request = request.operator(&self.operator_token);
        }
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key);
        }
        if !call.prefer.is_empty() {
            request = request.header("prefer", call.prefer);
        }
        if !call.body.is_null() {
            request = request.json(&call.body);
        }
        let response = request.send_raw().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let what = format!("{} {}", call.method, call.path);
        let (body, malformed) = match Answer::checked(&what, status, &headers, &bytes, Duration::ZERO) {
            Ok(answer) => (answer.body, None),
            Err(error) => (Value::Null, Some(format!("{error:#}"))),
        };
        let text = |pointer: &str| at(&body, pointer).as_str().map(str::to_owned);
        let job = if status < 300 { text("/id").or_else(|| text("/job/id")) } else { text("/error/jobId") };
        let is_change = call.method != Method::GET && call.path != "/k8s/checkports";
        let job = job.filter(|_| is_change);
        Ok(Answered { operation: 0, status, job, reason: text("/error/reason"), malformed, milliseconds: 0 })
    }
}
