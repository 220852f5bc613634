//! Each kind of violation, planted in a run of which nothing is wrong, is found, and by its own invariant alone.

use super::*;

type Plant = fn(&mut Evidence);

fn found<const N: usize>(cases: [(&str, &str, Plant); N]) {
    for (name, case, plant) in cases {
        let mut evidence = sound();
        plant(&mut evidence);
        assert_eq!(violated(&evidence), BTreeSet::from([name]), "{case}");
    }
}

#[test]
fn planted_violations_of_ports_are_found() {
    found([
        ("I1", "the ledger gave a bound port to another", |e| {
            e.ledger_history = history(&[Some(state("bound", ENDED)), Some(state("bound", ALIVE))]);
        }),
        ("I1", "the ledger let another reserve a reserved port", |e| {
            e.ledger_history = history(&[Some(state("reserved", OTHER)), Some(state("reserved", ALIVE))]);
        }),
        ("I1", "pods of two orders have one port", |e| {
            let pod = PodSeen { order: OTHER.to_owned(), name: "other".to_owned(), ports: [tcp(PORT)].into() };
            e.ledger_history = history(&[None]);
            e.pods[0].pods.push(pod);
        }),
        ("I1", "a pod has a port that is another's", |e| {
            e.pods[0].pods[0].order = OTHER.to_owned();
        }),
        ("I1", "pods of two orders have one UDP port", |e| {
            let pod =
                |order: &str| PodSeen { order: order.to_owned(), name: order.to_owned(), ports: [udp(PORT)].into() };
            e.pods[0].pods = vec![pod(ALIVE), pod(OTHER)];
        }),
        ("I5", "a port is not in the ledger", |e| e.ledger.clear()),
        ("I5", "a port is another's in the ledger", |e| drop(e.ledger.insert(tcp(PORT), state("bound", ENDED)))),
        ("I5", "a reservation is left", |e| drop(e.ledger.insert(tcp(PORT + 1), state("reserved", ALIVE)))),
        ("I5", "a UDP port that nobody has is in the ledger", |e| {
            e.ledger.insert(udp(PORT), state("bound", ALIVE));
        }),
        ("I5", "an ended order's port is in use", |e| e.observed.push((udp(PORT + 1), Some(ENDED.to_owned())))),
    ]);
}

#[test]
fn planted_violations_of_jobs_are_found() {
    found([
        ("I2", "a job ended without a result", |e| drop(e.results.remove(0))),
        ("I2", "a job has two results", |e| e.results.push(result(FIRST))),
        ("I2", "a result is another than the record's", |e| {
            e.results[0].outcome = json!({ "state": "failed" });
        }),
        ("I2", "a result changed after its stream was lost", |e| {
            made_again(e, 40, false);
            let outcome = json!({ "state": "superseded" });
            e.results.push(SeenResult { stream: "second".to_owned(), outcome, ..result(FIRST) });
        }),
        ("I2", "a result changed after its store was set back, though it came after that", |e| {
            made_again(e, 20, true);
            let outcome = json!({ "state": "superseded" });
            e.results.push(SeenResult { stream: "second".to_owned(), outcome, ..result(FIRST) });
        }),
        ("I2", "there is no result, and its stream was lost before", |e| {
            e.results.remove(0);
            made_again(e, 20, false);
        }),
        ("I2", "there is no result, and its stream was lost long after", |e| {
            e.results.remove(0);
            made_again(e, 90, false);
        }),
        ("I2", "a client was told of a success that was none", |e| {
            let outcome = json!({ "state": "superseded" });
            e.results[1].outcome = outcome.clone();
            e.jobs[1].outcome = outcome;
            e.ends = [end(FIRST, "succeeded"), end(SECOND, "superseded"), end(ENDING, "succeeded")].into();
            e.journal.push(answered(9, 200, Some(SECOND)));
        }),
        ("I2", "an end on record was another before", |e| e.ends.extend([end(FIRST, "failed")])),
        ("I2", "an end on record is gone with its job", |e| e.ends.extend([end("gone", "failed")])),
        ("I2", "what nobody accepted has a result", |e| e.results.push(result("stranger"))),
        ("I2", "an accepted job is not on record", |e| {
            e.jobs.remove(1);
            e.results.remove(1);
            e.ends.remove(&end(SECOND, "succeeded"));
            e.journal.push(answered(9, 202, Some(SECOND)));
        }),
        ("I3", "a job does not end", |e| {
            e.jobs.push(JobRecord { outcome: Value::Null, ..job("open", ALIVE, 2, target(FIRST)) });
        }),
        ("I3", "the system does not come to rest", |e| e.settled = None),
        ("I6", "a key is two jobs", |e| {
            e.journal.extend([begun(3), answered(3, 202, Some(SECOND))]);
        }),
        ("I6", "a key is a job and then refused", |e| e.journal.extend([begun(3), answered(3, 409, None)])),
    ]);
}

#[test]
fn planted_violations_of_the_cluster_and_the_rest_are_found() {
    found([
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
        ("I4", "the policy is gone", |e| edit(e, |objects| drop(objects.singles.remove(0)))),
        ("I4", "the account has a token", |e| {
            edit(e, |objects| objects.singles[2]["automountServiceAccountToken"] = true.into());
        }),
        ("I4", "the record is not what the jobs made", |e| {
            e.orders.get_mut(ALIVE).unwrap().deployed["pod_job"] = SECOND.into();
        }),
        ("I7", "a message is left", |e| e.queues[0].left = 1),
        ("I7", "a message is not settled", |e| e.queues[0].unsettled = 1),
        ("I7", "a queue is gone", |e| e.queues[0].problem = Some("no consumer".to_owned())),
        ("I8", "connections are left", |e| e.resources[0].after = 5),
        ("D", "somebody is said to have changed what nobody did", |e| {
            e.repairs.push((ALIVE.to_owned(), "Deployment/alive-1 is missing".to_owned()));
        }),
        ("I9", "a namespace was made anew", |e| {
            let uid = "another".to_owned();
            e.namespaces.push(NamespaceSeen { order: ALIVE.to_owned(), uid, is_going: false });
        }),
        ("I9", "a namespace was going", |e| e.namespaces[0].is_going = true),
        ("W", "no change of the ledger was seen", |e| e.ledger_history.clear()),
        ("W", "no pod was seen", |e| e.pods.clear()),
        ("W", "no end on record was seen", |e| e.ends.clear()),
        ("W", "the cluster was never to be seen", |e| e.looks.get_mut("cluster").unwrap().done = 0),
        ("W", "the ledger was not watched", |e| drop(e.looks.remove("ledger"))),
        ("W", "an entry of the ledger cannot be read", |e| {
            e.looks.get_mut("ledger").unwrap().unreadable.push("a key".to_owned());
        }),
    ]);
}

#[test]
fn what_is_wrong_on_record_is_wrong_in_the_ledger_too() {
    let mut evidence = sound();
    let other = OrderRecord { ports: [tcp(PORT)].into(), ..OrderRecord::default() };
    evidence.orders.insert(OTHER.to_owned(), other);
    assert_eq!(violated(&evidence), BTreeSet::from(["I1", "I5"]));
}

#[test]
fn an_answer_of_another_form_is_found() {
    let mut evidence = sound();
    let malformed = Some("a success has no top-level error".to_owned());
    let answer = Answered { operation: 9, status: 200, job: None, reason: None, malformed, milliseconds: 1 };
    evidence.journal.push(entry(Event::Answered(answer)));
    assert_eq!(violated(&evidence), BTreeSet::from(["F"]));
}

fn edit(evidence: &mut Evidence, edit: impl FnOnce(&mut Objects)) {
    edit(evidence.cluster.get_mut(ALIVE).unwrap().as_mut().unwrap());
}
