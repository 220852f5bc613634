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

/// How many orders are ended at once.
const ENDED_AT_ONCE: usize = 4;

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
            // Several, as each is deleted once.
            FailPoint::NamespaceDeleted => {
                self.tries += 1;
                let apis = 0..self.asking.apis.len();
                let ended = join_all(apis.cycle().take(ENDED_AT_ONCE).map(|api| self.end_another(api))).await;
                let ended: Vec<Option<Owned>> = ended.into_iter().collect::<Result<_>>()?;
                // The last stays the one in use.
                self.owned.splice(0..0, ended.into_iter().flatten());
                Ok(())
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
        let port = self.ports.iter().cycle().nth(self.tries % 2);
        let web = with(self.web(), "ports", json!([{ "containerPort": 80, "hostPort": port }]));
        Call { prefer, ..change(Method::POST, "/k8s/deploy", pod(&self.region, &[web])) }
    }

    /// A container without ports, of the form that all orders of a run have.
    fn web(&self) -> Value {
        let word = format!("provoked-{}", self.tries);
        let web = with(container("web", "web:1"), "envs", envs(&[("PAGE", word.clone())]));
        with(with(web, "configMountPath", json!("/etc/app.conf")), "config", json!(word))
    }

    /// Deploys an order of its own, and ends it. None = this api did not make one in time.
    async fn end_another(&self, api: usize) -> Result<Option<Owned>> {
        let client = self.asking.apis.get(api).context("an api")?;
        let made = timeout(PATIENCE, make(client, &self.asking.operator_token, false)).await;
        let Ok(Ok(owned)) = made else { return Ok(None) };
        let deploy = change(Method::POST, "/k8s/deploy", pod(&self.region, &[self.web()]));
        self.asking.ask(api, &owned.order, &Call { prefer: "wait=3", ..deploy }).await?;
        let path = format!("/admin/orders/{}/abort", owned.order.id);
        let abort = change(Method::POST, &path, json!({ "reason": "not paid" }));
        self.asking.ask(api, &owned.order, &abort).await?;
        Ok(Some(owned))
    }
}

/// A change that nobody waits for.
fn change(method: Method, path: &str, body: Value) -> Call {
    let key = Some(Uuid::new_v4().to_string());
    Call { method, path: path.to_owned(), body, prefer: "respond-async", key }
}
