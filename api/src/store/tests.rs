//! The record on a real PostgreSQL: what each call promises, also when many want the same at once and when the server
//! goes away.

mod accepting;
mod anchoring;
mod cluster;
mod connections;
mod cost;
mod domains;
mod ending;
mod life;
mod migrating;
mod operator;
mod orders;
mod property;
mod publishing;
mod reading;
mod repair;
mod roles;
mod secrecy;
mod stepping;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::failure::{Failure, Reason};
use common::job::{JobResult, Outcome, Run, Until, Verb};
use common::name::{Instance, JobId, OrderId, RegionCode};
use common::pod::{Container, Pod, Port, Storage};
use common::port::{HostPort, Protocol};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::Store;
use super::acceptance::{Acceptance, Accepted};
use super::history::{Detail, Word};
use super::jobs::Job;
use super::orders::{Created, NewOrder, Order, PortSpecification, Purchase};
use super::target::{Patch, Step};

/// The longest that anything in these tests is waited for.
const LIMIT: Duration = Duration::from_secs(30);

fn region() -> RegionCode {
    "ausrine".parse().unwrap()
}

fn elsewhere() -> RegionCode {
    "north-america".parse().unwrap()
}

fn id(name: &str) -> OrderId {
    name.parse().unwrap()
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

fn purchase() -> Purchase {
    Purchase {
        units: 2.try_into().unwrap(),
        port_specification: PortSpecification::User,
        storage: Storage::None,
        region: None,
        duration_hours: 100,
        amount: 7,
        email: "anna@example.com".to_owned(),
        address: String::new(),
        recipient: String::new(),
        provider: "v-kube-service".to_owned(),
        service: "Container Service".to_owned(),
        service_id: String::new(),
        service_category_id: String::new(),
        public_key: String::new(),
    }
}

/// Makes an order whose secret and request are its name.
async fn make(store: &Store, name: &str, purchase: &Purchase) -> Order {
    let (id, digest) = (id(name), digest(name));
    let new = NewOrder {
        id: &id,
        purchase,
        secret_digest: &digest.into(),
        request_digest: &digest.into(),
        made_by: "the tests",
        idempotency_key: None,
    };
    let Created::New(order) = store.create_order(&new).await.unwrap() else { panic!("{name} is there already") };
    order
}

/// Makes the order `name`, which has no region.
async fn order(store: &Store, name: &str) -> OrderId {
    make(store, name, &purchase()).await.id
}

/// Makes an order that no other test knows.
async fn fresh_order(store: &Store) -> OrderId {
    static MADE: AtomicU32 = AtomicU32::new(0);
    order(store, &format!("fresh-{}", MADE.fetch_add(1, Ordering::Relaxed))).await
}

/// The order as it stands.
async fn now(store: &Store, order: &OrderId) -> Order {
    store.order(order).await.unwrap().unwrap()
}

fn tcp(port: i64) -> HostPort {
    HostPort { protocol: Protocol::Tcp, port: port.try_into().unwrap() }
}

/// A pod that holds these ports of its host.
fn pod(ports: &[i64]) -> Pod {
    let ports = ports.iter().map(|port| Port {
        container_port: (*port).try_into().unwrap(),
        protocol: Protocol::Tcp,
        host_port: Some((*port).try_into().unwrap()),
    });
    let container = Container {
        name: "web".parse().unwrap(),
        image: "nginx:stable".parse().unwrap(),
        memory: "1Gi".parse().unwrap(),
        ports: ports.collect(),
        environment: Vec::new(),
        command: Vec::new(),
        args: Vec::new(),
        mount_path: None,
        config: None,
        login: None,
    };
    Pod { units: 2.try_into().unwrap(), storage: Storage::None, containers: vec![container] }
}

fn value(pod: &Pod) -> serde_json::Value {
    serde_json::to_value(pod).unwrap()
}

/// Accepts a deploy of a pod without ports in [`region`].
async fn deploy(store: &Store, order: &OrderId) -> Job {
    deploy_pod(store, order, &pod(&[])).await
}

async fn deploy_pod(store: &Store, order: &OrderId, pod: &Pod) -> Job {
    match try_deploy(store, order, &region(), pod, None).await {
        Accepted::Yes(job) => job,
        other => panic!("not accepted: {other:?}"),
    }
}

async fn try_deploy(store: &Store, order: &OrderId, region: &RegionCode, pod: &Pod, key: Option<&str>) -> Accepted {
    let digest = digest("the request");
    let idempotency = key.map(|key| (key, &digest));
    let acceptance = Acceptance { order, region, job: JobId::new(), idempotency };
    store.accept_deploy(&acceptance, pod, Until::Created, None).await.unwrap()
}

/// An operator's word without a key.
fn word() -> Word<'static> {
    Word { actor: "anna", detail: Detail::default(), idempotency: None }
}

async fn try_abort(store: &Store, order: &OrderId, region: &RegionCode) -> Accepted {
    let acceptance = Acceptance { order, region, job: JobId::new(), idempotency: None };
    store.accept_abort(&acceptance, &word()).await.unwrap()
}

async fn abort(store: &Store, order: &OrderId) -> Job {
    match try_abort(store, order, &region()).await {
        Accepted::Yes(job) => job,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Tries to accept a change without a revision of its own.
async fn try_step(store: &Store, order: &OrderId, verb: Verb) -> (Accepted, Option<Pod>) {
    let (id, region) = (JobId::new(), region());
    let run = |run| Patch { run: Some(run), ..Patch::default() };
    let step = match verb {
        Verb::Stop => Step { patch: run(Run::Stopped), ..Step::default() },
        Verb::Start => Step { patch: run(Run::Running), revives: true, needs_run: false },
        _ => Step { patch: Patch { pod_job: Some(id), ..Patch::default() }, needs_run: true, revives: false },
    };
    let acceptance = Acceptance { order, region: &region, job: id, idempotency: None };
    store.accept_step(&acceptance, verb, Until::Created, step).await.unwrap()
}

async fn step(store: &Store, order: &OrderId, verb: Verb) -> Job {
    match try_step(store, order, verb).await {
        (Accepted::Yes(job), _) => job,
        other => panic!("not accepted: {other:?}"),
    }
}

async fn stop(store: &Store, order: &OrderId) -> Job {
    step(store, order, Verb::Stop).await
}

fn failed() -> Outcome {
    Outcome::Failed(Failure::new(Reason::ImageNotFound, "image does not exist."))
}

fn unready() -> Outcome {
    Outcome::Unready(Failure::new(Reason::CrashLoop, "a container ends again and again; see its log"))
}

fn superseded() -> Outcome {
    Outcome::Superseded { by: 2.try_into().unwrap() }
}

fn overtaken() -> Outcome {
    Outcome::Overtaken { by: 2.try_into().unwrap() }
}

/// A time that PostgreSQL can hold: whole microseconds.
fn at(seconds: i64) -> Timestamp {
    let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap();
    now + SignedDuration::from_secs(seconds)
}

/// A job's end, now.
fn end(job: &Job, outcome: Outcome) -> JobResult {
    JobResult {
        id: job.id,
        order: job.order.clone(),
        outcome,
        attempts: 1,
        started_at: at(-1),
        finished_at: at(0),
        worker: Instance::unique("worker"),
    }
}

/// Records that a job has succeeded in its region.
async fn succeed(store: &Store, job: &Job) {
    store.job_ended(&job.region, &end(job, Outcome::Succeeded)).await.unwrap();
}
