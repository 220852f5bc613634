//! A run of which nothing is wrong passes; each kind of violation, planted in it, is found, and by its own invariant alone.

mod planted;

use std::collections::BTreeSet;
use std::time::Duration;

use common::ledger::PortState;
use common::port::{HostPort, Protocol};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::check;
use crate::agreement::Objects;
use crate::chaos::evidence::{
    Evidence, JobRecord, LedgerEntry, Looks, Making, NamespaceSeen, OrderRecord, PodSeen, PodsAt, Queue, Resource,
    SeenEnd, SeenResult,
};
use crate::chaos::journal::{Answered, Begun, Entry, Event};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";
const SECOND: &str = "019a0000-0000-7000-8000-000000000002";
const ENDING: &str = "019a0000-0000-7000-8000-000000000003";
const ALIVE: &str = "alive-1";
const OTHER: &str = "other-1";
const ENDED: &str = "ended-1";
const PORT: u16 = 21_000;

fn tcp(port: u16) -> HostPort {
    HostPort { protocol: Protocol::Tcp, port: i64::from(port).try_into().unwrap() }
}

fn udp(port: u16) -> HostPort {
    HostPort { protocol: Protocol::Udp, ..tcp(port) }
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + second)
}

fn state(word: &str, order: &str) -> PortState {
    let value = match word {
        "bound" => json!({ "state": "bound", "order": order, "sequence": 1, "since": at(0) }),
        "reserved" => json!({ "state": "reserved", "order": order, "job": FIRST, "since": at(0) }),
        _ => json!({ "state": "cooling", "order": order, "until": at(0) }),
    };
    serde_json::from_value(value).unwrap()
}

/// The ledger's history of one port, a change each ten seconds.
fn history(changes: &[Option<PortState>]) -> Vec<LedgerEntry> {
    let entry = |(number, state): (usize, &Option<PortState>)| LedgerEntry {
        at: at(10 * i64::try_from(number).unwrap()),
        stream: "first".to_owned(),
        sequence: number as u64 + 1,
        key: format!("ausrine.tcp.{PORT}"),
        state: state.clone(),
    };
    changes.iter().enumerate().map(entry).collect()
}

fn entry(what: Event) -> Entry {
    Entry { at: at(0), what }
}

fn begun(operation: u64) -> Entry {
    let (order, call) = (ALIVE.to_owned(), "POST /k8s/deploy".to_owned());
    entry(Event::Begun(Begun { operation, order, api: 0, call, key: Some("key".to_owned()), body: Value::Null }))
}

fn answered(operation: u64, status: u16, job: Option<&str>) -> Entry {
    let job = job.map(str::to_owned);
    entry(Event::Answered(Answered { operation, status, job, reason: None, malformed: None, milliseconds: 1 }))
}

fn target(job: &str) -> Value {
    json!({ "revision": 1, "run": "running", "pod_job": job })
}

fn job(id: &str, order: &str, sequence: i32, target: Value) -> JobRecord {
    let (verb, state) = if target.is_null() { ("delete", "succeeded") } else { ("deploy", "succeeded") };
    let outcome = json!({ "state": "succeeded" });
    let (id, order) = (id.to_owned(), order.to_owned());
    let (verb, state, finished_at) = (verb.to_owned(), state.to_owned(), Some(at(30)));
    JobRecord { id, order, sequence, verb, state, outcome, finished_at, target }
}

fn result(job: &str) -> SeenResult {
    let outcome = json!({ "state": "succeeded" });
    SeenResult { stream: "first".to_owned(), job: job.to_owned(), outcome }
}

fn end(job: &str, state: &str) -> SeenEnd {
    SeenEnd { job: job.to_owned(), outcome: json!({ "state": state }).to_string() }
}

/// RESULTS is made a second time, or set back, at this second.
fn made_again(evidence: &mut Evidence, second: i64, is_set_back: bool) {
    evidence.results_streams.insert("second".to_owned(), Making { at: at(second), is_set_back });
}

fn objects(body: &Value) -> Objects {
    let container = body.pointer("/containers/0").unwrap();
    let pod_spec = json!({
        "containers": [{
            "image": container["imageName"],
            "ports": [{ "hostPort": PORT }],
            "env": [{ "valueFrom": { "secretKeyRef": { "name": "env-r1" } } }],
        }],
        "volumes": [{ "configMap": { "name": "config-r1" } }],
    });
    let metadata = json!({ "annotations": { "vkube.dev/revision": "1", "vkube.dev/job": FIRST } });
    let template = json!({ "metadata": metadata, "spec": pod_spec });
    Objects {
        deployments: vec![json!({ "spec": { "replicas": 1, "template": template } })],
        pods: vec![json!({ "metadata": metadata, "spec": pod_spec, "status": { "phase": "Running" } })],
        config_maps: vec![json!({ "metadata": { "name": "config-r1" }, "data": { "web": "file" } })],
        secrets: vec![json!({ "metadata": { "name": "env-r1" }, "data": { "web.PAGE": "cGFnZQ==" } })],
        singles: vec![
            json!({ "spec": { "policyTypes": ["Ingress", "Egress"] } }),
            json!({ "spec": { "hard": { "pods": "2" } } }),
            json!({ "automountServiceAccountToken": false }),
        ],
    }
}

/// A run of two orders, one of which was ended, of which nothing is wrong.
fn sound() -> Evidence {
    let body = json!({ "containers": [{
        "imageName": "web:1", "ports": [{ "hostPort": PORT }], "config": "file", "envs": [{ "name": "PAGE", "value": "page" }]
    }] });
    let ports = BTreeSet::from([tcp(PORT)]);
    let deployed = target(FIRST);
    let alive = OrderRecord { has_ended: false, target: deployed.clone(), deployed, ports: ports.clone(), body };
    let alive_body = alive.body.clone();
    let pod = PodSeen { order: ALIVE.to_owned(), name: "alive-pod".to_owned(), ports };
    let namespace =
        |order: &str, is_going| NamespaceSeen { order: order.to_owned(), uid: format!("uid-{order}"), is_going };
    let queue = Queue { name: "JOBS_ausrine".to_owned(), ..Queue::default() };
    let resource = Resource { what: "NATS connections".to_owned(), before: 4, after: 4, most: 4 };
    let bound = Some(state("bound", ALIVE));
    let before =
        [Some(state("bound", ENDED)), Some(state("cooling", ENDED)), None, Some(state("reserved", ALIVE)), bound];
    Evidence {
        journal: vec![
            begun(0),
            entry(Event::Unknown { operation: 0, problem: "reset".to_owned() }),
            begun(1),
            answered(1, 202, Some(FIRST)),
            begun(2),
            answered(2, 200, Some(FIRST)),
        ],
        orders: [
            (ALIVE.to_owned(), alive),
            (ENDED.to_owned(), OrderRecord { has_ended: true, ..OrderRecord::default() }),
        ]
        .into(),
        jobs: vec![
            job(FIRST, ALIVE, 1, target(FIRST)),
            job(SECOND, ENDED, 1, target(SECOND)),
            job(ENDING, ENDED, 2, Value::Null),
        ],
        repairs: Vec::new(),
        results: vec![result(FIRST), result(SECOND), result(ENDING)],
        results_streams: [("first".to_owned(), Making { at: at(0), is_set_back: false })].into(),
        ends: [FIRST, SECOND, ENDING].map(|job| end(job, "succeeded")).into(),
        ledger_history: history(&before),
        ledger: [(tcp(PORT), state("bound", ALIVE))].into(),
        observed: vec![(tcp(PORT), Some(ALIVE.to_owned())), (tcp(22), None)],
        pods: vec![PodsAt { from: at(45), to: at(60), pods: vec![pod] }],
        namespaces: vec![namespace(ALIVE, false), namespace(ENDED, false), namespace(ENDED, true)],
        cluster: [(ALIVE.to_owned(), Some(objects(&alive_body))), (ENDED.to_owned(), None)].into(),
        strange_namespaces: Vec::new(),
        queues: vec![queue],
        resources: vec![resource],
        settled: Some(Duration::from_secs(3)),
        looks: ["results", "ledger", "cluster", "record"]
            .map(|what| (what, Looks { done: 9, failed: 1, ..Looks::default() }))
            .into(),
    }
}

/// The names of the invariants that are violated.
fn violated(evidence: &Evidence) -> BTreeSet<&'static str> {
    check(evidence).iter().filter(|finding| !finding.violations.is_empty()).map(|finding| finding.name).collect()
}

#[test]
fn a_sound_run_passes_and_everything_was_looked_at() {
    let findings = check(&sound());
    for finding in findings {
        assert_eq!(finding.violations, Vec::<String>::new(), "{}", finding.name);
        assert!(finding.checked > 0 || ["I6", "D"].contains(&finding.name), "{} looked at nothing", finding.name);
    }
}

#[test]
fn what_is_no_violation_is_not_taken_for_one() {
    type Change = fn(&mut Evidence);
    let cases: [(&str, Change); 10] = [
        ("a repair of what somebody changed", |e| {
            let (fault, what) = ("quota-edited".to_owned(), "pod".to_owned());
            e.journal.push(entry(Event::Injected { fault, what, times: 1, is_by_hand: true }));
            e.repairs.push((ALIVE.to_owned(), "ResourceQuota/pod was changed".to_owned()));
        }),
        ("a result that was lost with its stream", |e| {
            e.results.remove(0);
            made_again(e, 40, false);
        }),
        ("the same end told again after that", |e| {
            made_again(e, 40, false);
            e.results.push(SeenResult { stream: "second".to_owned(), ..result(FIRST) });
        }),
        ("what a job comes to that an older store brings again", |e| {
            made_again(e, 40, true);
            let outcome = json!({ "state": "superseded" });
            e.results.push(SeenResult { stream: "second".to_owned(), outcome, ..result(FIRST) });
        }),
        ("a result that was lost with its store before it was recorded", |e| {
            made_again(e, 20, true);
            e.results[0].outcome = json!({ "state": "superseded" });
            e.results.push(SeenResult { stream: "second".to_owned(), ..result(FIRST) });
        }),
        ("ports of one number", |e| {
            let pod = PodSeen { order: OTHER.to_owned(), name: "other".to_owned(), ports: [udp(PORT)].into() };
            e.pods[0].pods.push(pod);
            e.orders.insert(
                OTHER.to_owned(),
                OrderRecord { ports: [udp(PORT)].into(), has_ended: true, ..OrderRecord::default() },
            );
        }),
        ("a change of the ledger that was not seen", |e| {
            e.ledger_history.retain(|entry| ![2, 3].contains(&entry.sequence));
        }),
        ("a pod whose port may have become its own unseen", |e| {
            e.ledger_history.retain(|entry| ![2, 3, 4].contains(&entry.sequence));
            (e.pods[0].from, e.pods[0].to) = (at(20), at(30));
        }),
        ("a pod that goes while its port changes hands", |e| {
            let pod = PodSeen { order: ENDED.to_owned(), name: "old".to_owned(), ports: [tcp(PORT)].into() };
            e.pods.insert(0, PodsAt { from: at(15), to: at(30), pods: vec![pod] });
        }),
        ("an answer that asks to come again", |e| e.journal.extend([begun(3), answered(3, 503, None)])),
    ];
    for (case, change) in cases {
        let mut evidence = sound();
        change(&mut evidence);
        assert_eq!(violated(&evidence), BTreeSet::new(), "{case}");
    }
}
