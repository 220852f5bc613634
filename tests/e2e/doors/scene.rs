//! What the calls are about: reads ask about the same things by both doors; each door has its own to change.

use std::time::Duration;

use anyhow::Result;
use e2e::door::{Call, Door};
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{container, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::Test;
use e2e::until::until;
use serde_json::{Value, json};

/// What both doors ask about.
pub(super) struct Scene {
    pub(super) region: String,
    /// The operator's.
    pub(super) token: String,
    /// Finds one order in the operator's list.
    pub(super) email: String,
    /// Runs a container `long` with a log that is too long for one message, and holds a port.
    pub(super) running: Order,
    /// The host port of `running`.
    pub(super) port: u16,
    /// The job that has deployed `running`.
    pub(super) job: String,
    /// Never deployed.
    pub(super) other: Order,
    /// Aborted before anything was deployed.
    pub(super) ended: Order,
    own: [Own; 2],
}

/// What one door changes.
pub(super) struct Own {
    /// To be deployed.
    pub(super) fresh: Order,
    /// Runs `web`, an image that has a successor, and `idle` with a configuration file.
    pub(super) edited: Order,
    /// Runs `idle`.
    pub(super) stepped: Order,
    /// To be aborted.
    pub(super) doomed: Order,
    /// The id of an order to be made.
    pub(super) new_id: String,
}

impl Own {
    async fn make(t: &Test) -> Result<Self> {
        let order = async |units| t.order(&OrderOptions::units(units)).await;
        let own = Self {
            fresh: order(1).await?,
            edited: order(2).await?,
            stepped: order(1).await?,
            doomed: order(1).await?,
            new_id: format!("door-{}", uuid::Uuid::new_v4().simple()),
        };
        let region = t.stack.region.as_str();
        let file = with(with(idle("idle"), "configMountPath", json!("/etc/app.conf")), "config", json!("a file"));
        let web = with(container("web", "web:1"), "ports", json!([{ "containerPort": 80 }]));
        let edited = pod(region, &[web, file]);
        let stepped = pod(region, &[idle("idle")]);
        futures::try_join!(own.edited.deployed(&edited), own.stepped.deployed(&stepped))?;
        Ok(own)
    }

    /// Its ids, none of which the other door has.
    pub(super) fn ids(&self) -> [&str; 5] {
        [&self.fresh.id, &self.edited.id, &self.stepped.id, &self.doomed.id, &self.new_id]
    }
}

impl Scene {
    pub(super) async fn set(t: &Test) -> Result<Self> {
        let system = t.shared().await?;
        let (client, token) = (system.client()?, system.operator_token.clone());
        let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
        let listed = with(OrderOptions::units(1).body(), "email", json!(email));
        client.post("/admin/orders").operator(&token).json(&listed).send_patiently().await?.is(201)?;
        let order = async || t.order(&OrderOptions::units(1)).await;
        let (running, other, ended) = (order().await?, order().await?, order().await?);
        let abort = client.post(&format!("/admin/orders/{}/abort", ended.id)).operator(&token);
        abort.json(&json!({ "reason": "test" })).send().await?.ok()?;
        let port = host_port();
        let (job, one, two) = futures::try_join!(run_long(t, &running, port), Own::make(t), Own::make(t))?;
        Ok(Self { region: t.stack.region.to_string(), token, email, running, port, job, other, ended, own: [one, two] })
    }

    /// What a door changes.
    pub(super) fn own(&self, door: Door) -> &Own {
        let [rest, nats] = &self.own;
        if door == Door::Rest { rest } else { nats }
    }

    /// A deploy body of the scene's region.
    pub(super) fn body(&self, containers: &[Value]) -> String {
        pod(&self.region, containers).to_string()
    }

    /// A call of the operator's side.
    pub(super) fn operator(&self, operation: &str) -> Call {
        Call::of(operation).operator(&self.token)
    }
}

/// A call with the secret of an order.
pub(super) fn of(order: &Order, operation: &str) -> Call {
    Call::of(operation).with("secret", &order.secret)
}

/// Runs a container with a log of 10,000 lines of 64 bytes; returns the job that has deployed it.
async fn run_long(t: &Test, order: &Order, port: u16) -> Result<String> {
    let script = "/bin/sh\n-c\nyes \"$(printf '%063d' 0)\" | head -n 10000; echo the end; tail -f /dev/null";
    let long = with(web("long", port), "imageName", json!("busybox:1"));
    let deployed = order.deployed(&pod(t.stack.region.as_str(), &[with(long, "command", json!(script))])).await?;
    order.ready().await?;
    let job = text(&deployed, "/id")?;
    order.ended(&job, Duration::from_secs(30)).await?;
    until("the log is whole", Duration::from_secs(30), async || {
        Ok(order.log_text("?tailLines=1").await?.eq("the end\n").then_some(()))
    })
    .await?;
    Ok(job)
}
