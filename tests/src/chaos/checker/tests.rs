//! A run of which nothing is wrong passes; each kind of violation, planted in it, is found, and by its own invariant alone.

use std::collections::BTreeSet;
use std::time::Duration;

use common::ledger::PortState;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::check;
use crate::agreement::Objects;
use crate::chaos::evidence::{
    Evidence, JobRecord, LedgerEntry, NamespaceSeen, OrderRecord, PodSeen, PodsAt, Queue, Resource, SeenResult,
};
use crate::chaos::journal::{Answered, Begun, Entry, Event};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";
const SECOND: &str = "019a0000-0000-7000-8000-000000000002";
const ENDING: &str = "019a0000-0000-7000-8000-000000000003";
const ALIVE: &str = "alive-1";
const OTHER: &str = "other-1";
const ENDED: &str = "ended-1";
const PORT: u16 = 21_000;

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
    JobRecord { id, order, sequence, verb: verb.to_owned(), state: state.to_owned(), outcome, target }
}

fn result(job: &str, sequence: u64) -> SeenResult {
    let outcome = json!({ "state": "succeeded" });
    SeenResult { stream: "first".to_owned(), sequence, job: job.to_owned(), outcome }
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
    }
}

/// A run of two orders, one of which was ended, of which nothing is wrong.
fn sound() -> Evidence {
    let body = json!({ "containers": [{
        "imageName": "web:1", "ports": [{ "hostPort": PORT }], "config": "file", "envs": [{ "name": "PAGE", "value": "page" }]
    }] });
    let ports = BTreeSet::from([PORT]);
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
        results: vec![result(FIRST, 1), result(SECOND, 2), result(ENDING, 3)],
        results_streams: ["first".to_owned()].into(),
        ledger_history: history(&before),
        ledger: [(PORT, state("bound", ALIVE))].into(),
        observed: vec![(PORT, Some(ALIVE.to_owned())), (22, None)],
        pods: vec![PodsAt { from: at(45), to: at(60), pods: vec![pod] }],
        namespaces: vec![namespace(ALIVE, false), namespace(ENDED, false), namespace(ENDED, true)],
        cluster: [(ALIVE.to_owned(), Some(objects(&alive_body))), (ENDED.to_owned(), None)].into(),
        strange_namespaces: Vec::new(),
        queues: vec![queue],
        resources: vec![resource],
        settled: Some(Duration::from_secs(3)),
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
        assert!(finding.checked > 0 || finding.name == "I6", "{} looked at nothing", finding.name);
    }
}

#[test]
fn what_is_no_violation_is_not_taken_for_one() {
    type Change = fn(&mut Evidence);
    let cases: [(&str, Change); 6] = [
        ("a result that was lost with its stream", |e| {
            e.results.remove(0);
            e.results_streams.insert("second".to_owned());
        }),
        ("the same end told again after that", |e| {
            e.results_streams.insert("second".to_owned());
            e.results.push(SeenResult { stream: "second".to_owned(), ..result(FIRST, 1) });
        }),
        ("a change of the ledger that was not seen", |e| {
            e.ledger_history.retain(|entry| ![2, 3].contains(&entry.sequence));
        }),
        ("a pod whose port may have become its own unseen", |e| {
            e.ledger_history.retain(|entry| ![2, 3, 4].contains(&entry.sequence));
            (e.pods[0].from, e.pods[0].to) = (at(20), at(30));
        }),
        ("a pod that goes while its port changes hands", |e| {
            let pod = PodSeen { order: ENDED.to_owned(), name: "old".to_owned(), ports: [PORT].into() };
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

#[test]
fn planted_violations_are_found() {
    type Plant = fn(&mut Evidence);
    let cases: [(&str, &str, Plant); 33] = [
        ("I1", "the ledger gave a bound port to another", |e| {
            e.ledger_history = history(&[Some(state("bound", ENDED)), Some(state("bound", ALIVE))]);
        }),
        ("I1", "the ledger let another reserve a reserved port", |e| {
            e.ledger_history = history(&[Some(state("reserved", OTHER)), Some(state("reserved", ALIVE))]);
        }),
        ("I1", "pods of two orders have one port", |e| {
            let pod = PodSeen { order: OTHER.to_owned(), name: "other".to_owned(), ports: [PORT].into() };
            e.ledger_history.clear();
            e.pods[0].pods.push(pod);
        }),
        ("I1", "a pod has a port that is another's", |e| {
            e.pods[0].pods[0].order = OTHER.to_owned();
        }),
        ("I2", "a job ended without a result", |e| drop(e.results.remove(0))),
        ("I2", "a job has two results", |e| e.results.push(result(FIRST, 9))),
        ("I2", "a result is another than the record's", |e| {
            e.results[0].outcome = json!({ "state": "failed" });
        }),
        ("I2", "a result changed after its stream was lost", |e| {
            e.results_streams.insert("second".to_owned());
            let outcome = json!({ "state": "superseded" });
            e.results.push(SeenResult { stream: "second".to_owned(), outcome, ..result(FIRST, 1) });
        }),
        ("I2", "what nobody accepted has a result", |e| e.results.push(result("stranger", 9))),
        ("I2", "an accepted job is not on record", |e| {
            e.jobs.remove(1);
            e.results.remove(1);
            e.journal.push(answered(9, 202, Some(SECOND)));
        }),
        ("I3", "a job does not end", |e| {
            e.jobs.push(JobRecord { outcome: Value::Null, ..job("open", ALIVE, 2, target(FIRST)) });
        }),
        ("I3", "the system does not come to rest", |e| e.settled = None),
        ("I4", "an order's namespace is gone", |e| drop(e.cluster.insert(ALIVE.to_owned(), None))),
        ("I4", "an ended order's namespace is left", |e| {
            e.cluster.insert(ENDED.to_owned(), Some(Objects::default()));
        }),
        ("I4", "a namespace is nobody's", |e| e.strange_namespaces.push("vkube-nobody".to_owned())),
        ("I4", "the pod runs another image", |e| {
            edit(e, |objects| objects.pods[0]["spec"]["containers"][0]["image"] = "web:2".into());
        }),
        ("I4", "there are two pods", |e| edit(e, |objects| objects.pods.push(objects.pods[0].clone()))),
        ("I4", "there is no Deployment", |e| edit(e, |objects| objects.deployments.clear())),
        ("I4", "the pod does not run", |e| {
            edit(e, |objects| objects.pods[0]["status"]["phase"] = "Pending".into());
        }),
        ("I4", "a file has other contents", |e| {
            edit(e, |objects| objects.config_maps[0]["data"]["web"] = "old".into());
        }),
        ("I4", "the record is not what the jobs made", |e| {
            e.orders.get_mut(ALIVE).unwrap().deployed["pod_job"] = SECOND.into();
        }),
        ("I5", "a port is not in the ledger", |e| e.ledger.clear()),
        ("I5", "a port is another's in the ledger", |e| drop(e.ledger.insert(PORT, state("bound", ENDED)))),
        ("I5", "a reservation is left", |e| drop(e.ledger.insert(PORT + 1, state("reserved", ALIVE)))),
        ("I5", "an ended order's port is in use", |e| e.observed.push((PORT + 1, Some(ENDED.to_owned())))),
        ("I6", "a key is two jobs", |e| {
            e.journal.extend([begun(3), answered(3, 202, Some(SECOND))]);
        }),
        ("I6", "a key is a job and then refused", |e| e.journal.extend([begun(3), answered(3, 409, None)])),
        ("I7", "a message is left", |e| e.queues[0].left = 1),
        ("I7", "a message is not settled", |e| e.queues[0].unsettled = 1),
        ("I7", "a queue is gone", |e| e.queues[0].problem = Some("no consumer".to_owned())),
        ("I8", "connections are left", |e| e.resources[0].after = 5),
        ("I9", "a namespace was made anew", |e| {
            let uid = "another".to_owned();
            e.namespaces.push(NamespaceSeen { order: ALIVE.to_owned(), uid, is_going: false });
        }),
        ("I9", "a namespace was going", |e| e.namespaces[0].is_going = true),
    ];
    for (name, case, plant) in cases {
        let mut evidence = sound();
        plant(&mut evidence);
        assert_eq!(violated(&evidence), BTreeSet::from([name]), "{case}");
    }
    // What is wrong on record is wrong in the ledger too.
    let mut evidence = sound();
    let other = OrderRecord { ports: [PORT].into(), ..OrderRecord::default() };
    evidence.orders.insert(OTHER.to_owned(), other);
    assert_eq!(violated(&evidence), BTreeSet::from(["I1", "I5"]));
    let mut evidence = sound();
    let malformed = Some("a success has no top-level error".to_owned());
    let answer = Answered { operation: 9, status: 200, job: None, reason: None, malformed, milliseconds: 1 };
    evidence.journal.push(entry(Event::Answered(answer)));
    assert_eq!(violated(&evidence), BTreeSet::from(["F"]));
}

fn edit(evidence: &mut Evidence, edit: impl FnOnce(&mut Objects)) {
    edit(evidence.cluster.get_mut(ALIVE).unwrap().as_mut().unwrap());
}
