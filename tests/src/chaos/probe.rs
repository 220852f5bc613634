//! Finds out when a system works again: a deploy and a status by way of each api instance.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::asking::{Asking, Call};
use super::customers::{Owned, make};
use super::world::World;
use crate::order::Order;
use crate::pod::{container, envs, pod, with};
use crate::system::host_port;

/// The pause after an attempt that failed.
const PAUSE: Duration = Duration::from_millis(250);

/// An order that is used for nothing else.
#[derive(Debug)]
pub struct Probe {
    asking: Asking,
    /// The order.
    pub owned: Owned,
    /// Its host ports, of which it has one at a time.
    ports: [u16; 2],
    region: String,
    tries: usize,
}

impl Probe {
    /// Makes the order.
    pub async fn new(asking: Asking, region: &str) -> Result<Self> {
        let client = asking.apis.first().context("an api")?.clone();
        let owned = make(&client, &asking.operator_token, false).await?;
        Ok(Self { asking, owned, ports: [host_port(), host_port()], region: region.to_owned(), tries: 0 })
    }

    /// How long it takes from now until all works; none = longer than this. Processes that end meanwhile are looked after.
    pub async fn works(&mut self, world: &mut World, within: Duration) -> Result<Option<Duration>> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.works_now().await? {
                return Ok(Some(begun.elapsed()));
            }
            world.look_after()?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(None)
    }

    async fn works_now(&mut self) -> Result<bool> {
        let order: Order = self.owned.order.clone();
        for api in 0..self.asking.apis.len() {
            self.tries += 1;
            let deploy = Call {
                method: Method::POST,
                path: "/k8s/deploy".to_owned(),
                body: self.body(),
                prefer: "wait=10",
                key: Some(format!("probe-{}", self.tries)),
            };
            for call in [deploy, Call::get("/k8s/pod/status")] {
                let answer = self.asking.ask(api, &order, &call).await?;
                if answer.is_none_or(|answer| answer.status != 200) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Of the form that all orders of a run have.
    fn body(&self) -> Value {
        let word = format!("probe-{}", self.tries);
        // Another each time, so that the ledger is needed.
        let port = self.ports.iter().cycle().nth(self.tries % 2);
        let web = with(container("web", "web:1"), "ports", json!([{ "containerPort": 80, "hostPort": port }]));
        let web = with(web, "envs", envs(&[("PAGE", word.clone())]));
        let web = with(with(web, "configMountPath", json!("/etc/app.conf")), "config", json!(word));
        pod(&self.region, &[web])
    }
}
