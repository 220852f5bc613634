//! Has the product come to a step of its work, so that something can happen to it there.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::fail_point::FailPoint;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::asking::{Asking, Call};
use super::customers::{Owned, make};
use super::journal::Answered;
use crate::pod::{container, envs, pod, with};
use crate::system::host_port;

/// How long an answer is waited for: who asks may be about to end.
const PATIENCE: Duration = Duration::from_secs(4);

/// A customer that does what leads to a step.
#[derive(Debug)]
pub struct Provoker {
    asking: Asking,
    region: String,
    /// Host ports, of which its order has one at a time.
    ports: [u16; 2],
    tries: usize,
    /// Its orders; the last is in use.
    pub owned: Vec<Owned>,
}

impl Provoker {
    /// Makes its first order.
    pub async fn new(asking: Asking, region: &str) -> Result<Self> {
        let owned = make(asking.apis.first().context("an api")?, &asking.operator_token, false).await?;
        let ports = [host_port(), host_port()];
        let asking = Asking { within: PATIENCE, ..asking };
        Ok(Self { asking, region: region.to_owned(), ports, tries: 0, owned: vec![owned] })
    }

    /// Asks each api instance for what leads to this step.
    pub async fn provoke(&mut self, at: FailPoint) -> Result<()> {
        match at {
            // A change that is withdrawn before a worker has begun it.
            // Its workers stand still meanwhile.
            FailPoint::JobWithdrawn => {
                for api in 0..self.asking.apis.len() {
                    let deploy = self.deploy("respond-async");
                    let answer = self.ask(api, &deploy).await?;
                    if let Some(job) = answer.and_then(|answer| answer.job) {
                        let cancel = change(Method::DELETE, &format!("/jobs/{job}"), Value::Null);
                        self.ask(api, &cancel).await?;
                    }
                }
                Ok(())
            }
            FailPoint::NamespaceDeleted => {
                self.all_deploy("wait=3").await?;
                let order = &self.owned.last().context("an order")?.order;
                let path = format!("/admin/orders/{}/abort", order.id);
                let abort = change(Method::POST, &path, json!({ "reason": "not paid" }));
                for api in 0..self.asking.apis.len() {
                    self.ask(api, &abort).await?;
                }
                self.replace().await
            }
            // No worker here knows who would sign a certificate.
            FailPoint::RefusalNoted => {
                self.all_deploy("wait=3").await?;
                let domain = format!("provoked-{}.example.com", self.tries);
                let body = json!({ "domain": domain, "containerPort": 80, "isLetsencrypt": true });
                let bind = change(Method::POST, "/k8s/pod/ingress", body);
                self.ask(self.tries % self.asking.apis.len(), &bind).await.map(drop)
            }
            FailPoint::ReadPublished | FailPoint::ReadTaken | FailPoint::ReadAnswered => {
                self.all_deploy("wait=3").await?;
                self.all(&Call::get("/k8s/pod/status")).await
            }
            FailPoint::EndHeard => self.all_deploy("wait=3").await,
            _ => self.all_deploy("respond-async").await,
        }
    }

    async fn all_deploy(&mut self, prefer: &'static str) -> Result<()> {
        let deploy = self.deploy(prefer);
        self.all(&deploy).await
    }

    /// Asks all api instances, each as if it were the only one.
    async fn all(&self, call: &Call) -> Result<()> {
        let asked = (0..self.asking.apis.len()).map(|api| {
            let key = call.key.as_ref().map(|key| format!("{key}-{api}"));
            let call = Call { key, ..call.clone() };
            async move { self.ask(api, &call).await }
        });
        join_all(asked).await.into_iter().try_for_each(|answer| answer.map(drop))
    }

    async fn ask(&self, api: usize, call: &Call) -> Result<Option<Answered>> {
        let order = &self.owned.last().context("an order")?.order;
        self.asking.ask(api, order, call).await
    }

    /// Another pod each time.
    fn deploy(&mut self, prefer: &'static str) -> Call {
        self.tries += 1;
        let word = format!("provoked-{}", self.tries);
        let port = self.ports.iter().cycle().nth(self.tries % 2);
        let web = with(container("web", "web:1"), "ports", json!([{ "containerPort": 80, "hostPort": port }]));
        let web = with(web, "envs", envs(&[("PAGE", word.clone())]));
        let web = with(with(web, "configMountPath", json!("/etc/app.conf")), "config", json!(word));
        Call { prefer, ..change(Method::POST, "/k8s/deploy", pod(&self.region, &[web])) }
    }

    /// Gets a new order in the place of the one that was ended.
    async fn replace(&mut self) -> Result<()> {
        for client in &self.asking.apis {
            if let Ok(Ok(owned)) = timeout(PATIENCE, make(client, &self.asking.operator_token, false)).await {
                self.owned.push(owned);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A change that nobody waits for.
fn change(method: Method, path: &str, body: Value) -> Call {
    let key = Some(Uuid::new_v4().to_string());
    Call { method, path: path.to_owned(), body, prefer: "respond-async", key }
}
