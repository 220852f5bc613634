//! What must be true of an order once all its jobs have ended: the record, RESULTS, the cluster and the ledger say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::job::{JobResult, Outcome};
use common::ledger::PortState;
use e2e::ledger::{Ledger, results};
use e2e::order::{Order, text};
use e2e::system::System;
use e2e::test::Test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

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

/// The host ports of a body.
pub(super) fn host_ports(body: &Value) -> BTreeSet<u16> {
    let ports = body["containers"][0]["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| u16::try_from(port["hostPort"].as_u64()?).ok()).collect()
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
        wrong_in_cluster(t, order, target, body).await
    })
    .await
}

async fn wrong_in_cluster(t: &Test, order: &Order, target: &Target, body: &Value) -> Result<Option<String>> {
    let namespace = order.namespace();
    let list =
        async |group: &str, plural: &str| t.cluster.list(&format!("/{group}/namespaces/{namespace}/{plural}")).await;
    let (revision, running) = (target["revision"].to_string(), target["run"] == "running");
    let wanted = &body["containers"][0];
    let expected = json!({
        "revision": revision,
        "pod_job": target["pod_job"],
        "replicas": u8::from(running),
        "image": wanted["imageName"],
        "ports": host_ports(body),
        "env": "env-r".to_owned() + &revision,
        "config": "config-r".to_owned() + &revision,
    });
    let seen = |template: &Value, replicas: &Value| {
        let container = &template["spec"]["containers"][0];
        let ports: BTreeSet<u64> =
            container["ports"].as_array().into_iter().flatten().filter_map(|port| port["hostPort"].as_u64()).collect();
        json!({
            "revision": template["metadata"]["annotations"]["vkube.dev/revision"],
            "pod_job": template["metadata"]["annotations"]["vkube.dev/job"],
            "replicas": replicas,
            "image": container["image"],
            "ports": ports,
            "env": container["env"][0]["valueFrom"]["secretKeyRef"]["name"],
            "config": template["spec"]["volumes"][0]["configMap"]["name"],
        })
    };
    let deployments = list("apis/apps/v1", "deployments").await?;
    let found: Vec<Value> = deployments.iter().map(|d| seen(&d["spec"]["template"], &d["spec"]["replicas"])).collect();
    if found != [expected.clone()] {
        return Ok(Some(format!("Deployments {found:#?} instead of {expected:#}")));
    }
    let pods = list("api/v1", "pods").await?;
    let found: Vec<Value> = pods.iter().map(|pod| seen(pod, &json!(1))).collect();
    if found != vec![expected; usize::from(running)] {
        return Ok(Some(format!("pods {found:#?}, of which {} should run", u8::from(running))));
    }
    if let Some(pod) = pods.iter().find(|pod| pod["status"]["phase"] != "Running") {
        return Ok(Some(format!("a pod is {}", pod["status"])));
    }
    let name_of = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let maps: Vec<Value> = list("api/v1", "configmaps").await?;
    let maps: Vec<_> = maps.iter().filter(|map| name_of(map) != "kube-root-ca.crt").collect();
    let secrets = list("api/v1", "secrets").await?;
    let names: Vec<String> = maps.iter().copied().chain(&secrets).map(name_of).collect();
    if names != [format!("config-r{revision}"), format!("env-r{revision}")] {
        return Ok(Some(format!("config maps and Secrets {names:?} of revision {revision}")));
    }
    let (file, page) = (&maps[0]["data"]["web"], &secrets[0]["data"]["web.PAGE"]);
    let page = STANDARD.decode(page.as_str().unwrap_or_default())?;
    let same = *file == wanted["config"] && wanted["envs"][0]["value"] == String::from_utf8_lossy(&page).as_ref();
    Ok((!same).then(|| format!("the contents of {wanted} are {file} and {page:?}")))
}

/// Every port is held by whose body has it; any other is cooling or free.
pub(super) async fn ledger(system: &System, holders: &BTreeMap<u16, String>, ports: &[u16]) -> Result<()> {
    let ledger = Ledger::open(&system.nats, &system.region).await?;
    right("the ledger is as the orders are", async || {
        for port in ports {
            let (state, holder) = (ledger.port(*port).await?, holders.get(port));
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
