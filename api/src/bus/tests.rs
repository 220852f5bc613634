//! The bus on a real nats-server: what it promises, also when two want the same and when the server goes away.

mod following;
mod jobs;
mod ledger;
mod outages;
mod presence;
pub(crate) mod server;
mod settling;

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use common::job::{Change, Delete, JOB_VERSION, Job, JobResult, Outcome};
use common::ledger::{Observed, PortState};
use common::name::{Instance, JobId, OrderId, RegionCode};
use common::port::{HostPort, PortRange, Protocol};
use common::{stream, subject};
use jiff::Timestamp;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use common::login::Login;

use self::server::NatsServer;
use super::{Bus, BusSettings};

/// The longest that anything in these tests is waited for.
const LIMIT: Duration = Duration::from_secs(30);

fn region() -> RegionCode {
    "ausrine".parse().unwrap()
}

fn order(name: &str) -> OrderId {
    name.parse().unwrap()
}

fn tcp(port: i64) -> HostPort {
    HostPort { protocol: Protocol::Tcp, port: port.try_into().unwrap() }
}

fn tcps(ports: impl IntoIterator<Item = i64>) -> BTreeSet<HostPort> {
    ports.into_iter().map(tcp).collect()
}

fn login(url: &str) -> Login {
    Login::anonymous(vec![url.parse().unwrap()])
}

fn settings(server: &NatsServer) -> BusSettings {
    BusSettings {
        login: login(&server.url()),
        replicas: 1,
        connect_timeout: Duration::from_secs(10),
        port_cooling: Duration::from_millis(200),
    }
}

/// A new instance of the api.
async fn connect(server: &NatsServer) -> Bus {
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let bus = Bus::connect(&settings(server), Instance::unique("api"), &tasks, shutdown).await.unwrap();
    // There is no record to compare it with.
    bus.ledger.clear(bus.ledger.doubt().unwrap());
    bus
}

/// A server and a bus whose ledger is complete.
async fn start() -> (NatsServer, Bus) {
    let server = NatsServer::start().await;
    let bus = connect(&server).await;
    bus.ledger.complete().await.unwrap();
    (server, bus)
}

/// Somebody else's connection, say a worker's.
async fn outside(server: &NatsServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

/// Waits until a condition holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(time::timeout(LIMIT, waiting).await.is_ok(), "waited in vain until {what}");
}

/// What the region's workers see in use.
async fn observe(worker: &jetstream::Context, observed: &Observed) {
    let key = subject::bucket_subject(stream::HOSTPORTS, &subject::observed_key(&region()));
    worker.publish(key, serde_json::to_vec(observed).unwrap().into()).await.unwrap().await.unwrap();
}

fn nothing_observed() -> Observed {
    Observed { at: Timestamp::now(), ports: Vec::new(), denied: Vec::new() }
}

fn job() -> Job {
    Job {
        version: JOB_VERSION,
        id: JobId::new(),
        order: order("one"),
        region: region(),
        sequence: 1.try_into().unwrap(),
        change: Change::Delete(Delete {}),
    }
}

fn succeeded(job: JobId) -> JobResult {
    JobResult {
        id: job,
        order: order("one"),
        outcome: Outcome::Succeeded,
        attempts: 1,
        started_at: Timestamp::now(),
        finished_at: Timestamp::now(),
        worker: Instance::unique("worker"),
    }
}

/// Publishes a result as workers do: over nothing.
async fn publish_result(
    worker: &jetstream::Context,
    result: &JobResult,
) -> Result<(), jetstream::context::PublishError> {
    let message = jetstream::message::PublishMessage::build().expected_last_subject_sequence(0);
    let message = message.payload(serde_json::to_vec(result).unwrap().into());
    worker.send_publish(subject::result(&region(), result.id), message).await?.await.map(drop)
}

fn range(text: &str) -> PortRange {
    text.parse().unwrap()
}

fn is_bound(state: &PortState) -> bool {
    matches!(state, PortState::Bound { .. })
}
