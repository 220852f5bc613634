//! An order and what its owner does with it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::job::JobResult;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{Answer, Client, Request};
use crate::until::until;

/// How long a pod may take from its deploy to its being ready on a busy machine.
pub const READY_WITHIN: Duration = Duration::from_mins(1);

/// What an operator says of a new order.
#[derive(Debug, Clone)]
pub struct OrderOptions {
    /// How many units.
    pub units: u32,
    /// Whether ports are assigned by the system.
    pub random_ports: bool,
    /// Whether it keeps a volume.
    pub storage: bool,
    /// The region that it names, if any.
    pub region: Option<String>,
}

impl OrderOptions {
    /// This many units, ports chosen by the customer, nothing else.
    pub fn units(units: u32) -> Self {
        Self { units, random_ports: false, storage: false, region: None }
    }

    /// The body of `POST /admin/orders`.
    pub fn body(&self) -> Value {
        let ports = if self.random_ports { "System Random Map Port" } else { "User Specified Service Port" };
        let mut options = json!({
            "resourceUnit": format!("{}-Unit-Resource", self.units),
            "portSpecification": ports,
        });
        if let Some(options) = options.as_object_mut() {
            if self.storage {
                options.insert("persistStorage".to_owned(), "Yes".into());
            }
            if let Some(region) = &self.region {
                options.insert("region".to_owned(), region.as_str().into());
            }
        }
        json!({ "serviceOptions": options, "duration": 100 })
    }
}

/// An order in the hands of its owner.
#[derive(Debug, Clone)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// What opens it.
    pub secret: String,
    client: Client,
}

impl Order {
    /// Makes an order, as an operator does.
    pub async fn make(client: &Client, operator_token: &str, options: &OrderOptions) -> Result<Self> {
        let request = client.post("/admin/orders").operator(operator_token).json(&options.body());
        let made = request.send_patiently().await?.is(201)?;
        let text = |pointer: &str| made.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let id = text("/order/id").context("the order has an id")?;
        let secret = text("/secret").context("the secret is shown")?;
        Ok(Self { id, secret, client: client.clone() })
    }

    /// The same order by way of another api instance.
    #[must_use]
    pub fn by(&self, client: &Client) -> Self {
        Self { client: client.clone(), ..self.clone() }
    }

    /// The same order by another secret.
    #[must_use]
    pub fn with_secret(&self, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..self.clone() }
    }

    /// Its namespace.
    pub fn namespace(&self) -> String {
        format!("vkube-{}", self.id)
    }

    /// Begins a request with the order's secret.
    pub fn request(&self, method: Method, path: &str) -> Request {
        self.client.request(method, path).secret(&self.secret)
    }

    /// Begins a deploy.
    pub fn deploy(&self, body: &Value) -> Request {
        self.request(Method::POST, "/k8s/deploy").json(body)
    }

    /// Deploys and expects the deploy to succeed, however long that takes on a busy machine.
    pub async fn deployed(&self, body: &Value) -> Result<Value> {
        let answer = self.deploy(body).header("prefer", "wait=60").send().await?.ok()?;
        let word = answer.get("status").and_then(Value::as_str);
        ensure!(word == Some("Deployed"), "a deploy that succeeded says so: {answer}");
        Ok(answer)
    }

    /// Deploys and does not wait for the region: returns the job's id.
    pub async fn accepted(&self, body: &Value) -> Result<String> {
        let answer = self.deploy(body).header("prefer", "respond-async").send().await?.is(202)?;
        text(&answer, "/id")
    }

    /// Deploys, and waits until every container is ready.
    pub async fn running(&self, body: &Value) -> Result<Value> {
        self.deployed(body).await?;
        self.ready().await
    }

    /// `GET /k8s/pod/status`.
    pub async fn status(&self) -> Result<Answer> {
        self.request(Method::GET, "/k8s/pod/status").send().await
    }

    /// The status, once the newest revision's pod runs and every container of it is ready.
    pub async fn ready(&self) -> Result<Value> {
        until("every container is ready", READY_WITHIN, async || {
            let status = self.status().await?.ok()?;
            Ok(is_ready(&status).then_some(status))
        })
        .await
    }

    /// `GET /k8s/pod/log` with a query such as `?container=web`.
    pub async fn log(&self, query: &str) -> Result<Answer> {
        self.request(Method::GET, &format!("/k8s/pod/log{query}")).send().await
    }

    /// The log's text.
    pub async fn log_text(&self, query: &str) -> Result<String> {
        let log = self.log(query).await?.ok()?;
        Ok(log.as_str().context("a log is one string")?.to_owned())
    }

    /// `GET /jobs/<id>`.
    pub async fn job(&self, id: &str) -> Result<Value> {
        self.request(Method::GET, &format!("/jobs/{id}")).send().await?.ok()
    }

    /// The job, once it has ended.
    pub async fn ended(&self, id: &str, within: Duration) -> Result<Value> {
        until(&format!("job {id} has ended"), within, async || {
            let job = self.job(id).await?;
            Ok((!matches!(text(&job, "/state")?.as_str(), "Queued" | "Running")).then_some(job))
        })
        .await
    }
}

/// Whether a status shows the newest revision's pod, running, with every container ready.
pub fn is_ready(status: &Value) -> bool {
    let containers = status.pointer("/podStatus/containerStatuses").and_then(Value::as_array);
    let wanted = status.pointer("/podSpec/containers").and_then(Value::as_array).map_or(0, Vec::len);
    let ready = |container: &Value| container.get("ready") == Some(&true.into());
    status.get("stale") == Some(&false.into())
        && status.pointer("/podStatus/phase") == Some(&"Running".into())
        && containers.is_some_and(|all| all.len() == wanted && all.iter().all(ready))
}

/// The text at a place of an answer.
pub fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("no text at {pointer} of {value}"))?.to_owned())
}

/// The number at a place of an answer.
pub fn number(value: &Value, pointer: &str) -> Result<u64> {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.with_context(|| format!("no number at {pointer} of {value}"))
}

/// Reads a result as it stands in RESULTS.
pub fn result(payload: &[u8]) -> Result<JobResult> {
    serde_json::from_slice(payload).context("a result that cannot be read")
}
