//! What must be true of an order once all its jobs have ended: the record, RESULTS, the cluster and the ledger say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::job::{JobResult, Outcome};
use common::ledger::PortState;
use common::port::{HostPort, Protocol};
use e2e::agreement::{at, disagreement, host_ports};
use e2e::ledger::{Ledger, results};
use e2e::order::{Order, text};
use e2e::system::System;
use e2e::test::Test;
use e2e::until::until;
use reqwest::Method;
use serde_json::Value;

/// How long jobs may take to end after the last change.
const END_WITHIN: Duration = Duration::from_secs(90);
/// How long the cluster and the ledger may take to follow the last end.
const REST_WITHIN: Duration = Duration::from_secs(40);

/// What an order is by the record: `{"revision", "run", "pod_job"}`, or null.
type Target = Value;

/// The order's jobs, newest first, once all have ended.
async fn ended(order: &Order) -> Result<Vec<Value>> {
    until(&format!("all jobs of {} have ended", order.id), END_WITHIN, async || {
        let list = order.request(Method::GET, "/jobs?limit=200").send().await?.ok()?;
        let jobs = list["jobs"].as_array().context("a list")?.clone();
        let open = jobs.iter().any(|job| job["finishedAt"].is_null());
        Ok((!open).then_some(jobs))
    })
    .await
}

/// Whether what a job was to make is there.
fn stands(result: &JobResult, target: &Target) -> bool {
    match &result.outcome {
        Outcome::Succeeded => true,
        Outcome::Unready(_) | Outcome::Overtaken { .. } => !target.is_null(),
        Outcome::Failed(_) | Outcome::Superseded { .. } => false,
    }
}

fn state_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "Succeeded",
        Outcome::Failed(_) | Outcome::Unready(_) => "Failed",
        Outcome::Superseded { .. } | Outcome::Overtaken { .. } => "Superseded",
    }
}

/// Every job has one result and says what it says. The target of the newest that stands, which is the order's.
pub(super) async fn record(system: &System, order: &Order, accepted: &BTreeSet<String>) -> Result<Target> {
    let jobs = ended(order).await?;
    let mut found: BTreeMap<String, Vec<JobResult>> = BTreeMap::new();
    for result in results(&system.nats, &system.region).await? {
        found.entry(result.id.to_string()).or_default().push(result);
    }
    let database = system.database.connect().await?;
    let sql = "select id::text, coalesce(target, 'null')::text from jobs where order_id = $1";
    let mut targets: BTreeMap<String, Target> = BTreeMap::new();
    for row in database.query(sql, &[&order.id]).await? {
        targets.insert(row.get(0), serde_json::from_str(row.get(1))?);
    }
    let (mut standing, mut story) = (None, Vec::new());
    for job in &jobs {
        let id = text(job, "/id")?;
        let results = found.get(&id).map(Vec::as_slice).unwrap_or_default();
        let [result] = results else { anyhow::bail!("{} results of {job}", results.len()) };
        ensure!(job["state"] == state_of(&result.outcome), "{job} has the result {result:?}");
        let target = targets.get(&id).context("every job is in its table")?;
        story.push(format!("{} {} {:?}", text(job, "/verb")?, job["revision"], result.outcome));
        if standing.is_none() && stands(result, target) {
            standing = Some(target.clone());
        }
    }
    eprintln!("{}, newest first: {}", order.id, story.join(", "));
    let lost = accepted.iter().find(|id| !targets.contains_key(*id));
    ensure!(lost.is_none() && targets.len() == jobs.len(), "job {lost:?} was accepted and is not listed");
    let sql = "select coalesce(target, 'null')::text, coalesce(deployed, 'null')::text from orders where id = $1";
    let row = database.query_one(sql, &[&order.id]).await?;
    let own: [Target; 2] = [serde_json::from_str(row.get(0))?, serde_json::from_str(row.get(1))?];
    let standing = standing.unwrap_or_default();
    ensure!(own.iter().all(|own| *own == standing), "{} is {own:?}, not {standing}: {jobs:#?}", order.id);
    Ok(standing)
}

/// The order's body, where there is something in its region.
pub(super) async fn body(order: &Order, target: &Target) -> Result<Option<Value>> {
    let info = order.request(Method::GET, "/k8s/deployment/info").send().await?;
    if target.is_null() {
        ensure!(info.status == 404 || info.status == 409, "nothing is there: {}", info.body);
        return Ok(None);
    }
    info.ok().map(Some)
}

/// Waits until nothing is wrong, and says at last what is.
async fn right(what: &str, mut wrong: impl AsyncFnMut() -> Result<Option<String>>) -> Result<()> {
    let mut last = None;
    let waited = until(what, REST_WITHIN, async || {
        last = wrong().await?;
        Ok(last.is_none().then_some(()))
    });
    waited.await.with_context(|| last.unwrap_or_default())
}

/// The cluster holds what the target and the body say, and nothing else of the order.
pub(super) async fn cluster(t: &Test, order: &Order, target: &Target, body: Option<&Value>) -> Result<()> {
    let namespace = order.namespace();
    right(&format!("{} is in the cluster as it should be", order.id), async || {
        let Some(body) = body else {
            return Ok(t.cluster.has_namespace(&namespace).await?.then(|| format!("{namespace} is there")));
        };
        Ok(disagreement(&t.cluster.objects(&namespace).await?, target, body, &host_ports(at(body, "/containers/0"))))
    })
    .await
}

/// Every port is held by whose body has it; any other is cooling or free.
pub(super) async fn ledger(system: &System, holders: &BTreeMap<HostPort, String>, ports: &[u16]) -> Result<()> {
    let ledger = Ledger::open(&system.nats, &system.region).await?;
    right("the ledger is as the orders are", async || {
        let of_both = ports.iter().flat_map(|port| [(Protocol::Tcp, *port), (Protocol::Udp, *port)]);
        for (protocol, port) in of_both {
            let port = HostPort { protocol, port: i64::from(port).try_into()? };
            let (state, holder) = (ledger.host_port(port).await?, holders.get(&port));
            let is_right = match &state {
                None | Some(PortState::Cooling { .. }) => holder.is_none(),
                Some(PortState::Bound { order, .. }) => holder.is_some_and(|holder| order.as_str() == holder),
                Some(PortState::Reserved { .. }) => false,
            };
            if !is_right {
                return Ok(Some(format!("port {port} of {holder:?} is {state:?}")));
            }
        }
        Ok(None)
    })
    .await
}
