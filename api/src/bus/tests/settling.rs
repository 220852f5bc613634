//! The ledger follows the record: bound, cooling, free.

use common::ledger::{Observed, ObservedPort, PortState};
use common::name::{JobId, Sequence};
use common::port::Protocol;

use super::super::{Desired, EndedJob, Ledger, Settled};
use super::*;

fn sequence(number: u64) -> Sequence {
    number.try_into().unwrap()
}

async fn settle(ledger: &Ledger, desired: &Desired) {
    let view = ledger.view(&region(), &order("one"));
    assert_eq!(ledger.settle(&view, desired).await.unwrap(), Settled::Done);
}

fn failed(id: JobId) -> EndedJob {
    EndedJob { id, may_have_run: false }
}

/// Each port the order holds, in words.
fn words(ledger: &Ledger) -> Vec<String> {
    let held = ledger.held_by(&region(), &order("one"));
    let word = |state: &PortState| match state {
        PortState::Reserved { .. } => "reserved".to_owned(),
        PortState::Bound { sequence, .. } => format!("bound {sequence}"),
        PortState::Cooling { .. } => "cooling".to_owned(),
    };
    held.iter().map(|(host, state)| format!("{} {}", host.port, word(state))).collect()
}

#[tokio::test]
async fn a_port_goes_from_reserved_to_bound_to_cooling_to_free() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    let (ledger, one) = (&bus.ledger, order("one"));
    let job = JobId::new();
    let _ = ledger.reserve(&region(), &one, job, &tcps([1, 2])).await.unwrap();
    let pending = Desired { pending: vec![(job, tcps([1, 2]))], ..Desired::default() };
    settle(ledger, &pending).await;
    assert_eq!(words(ledger), ["1 reserved", "2 reserved"]);
    assert_eq!(ledger.regions(), [region()]);

    let deployed = Desired { bound: Some((sequence(1), tcps([1, 2]))), ended: Some(failed(job)), ..Desired::default() };
    settle(ledger, &deployed).await;
    assert_eq!(words(ledger), ["1 bound 1", "2 bound 1"]);
    settle(ledger, &deployed).await;
    assert_eq!(words(ledger), ["1 bound 1", "2 bound 1"]);

    let next = JobId::new();
    let _ = ledger.reserve(&region(), &one, next, &tcps([2, 3])).await.unwrap();
    assert_eq!(words(ledger), ["1 bound 1", "2 bound 1", "3 reserved"]);
    let deployed =
        Desired { bound: Some((sequence(2), tcps([2, 3]))), ended: Some(failed(next)), ..Desired::default() };
    settle(ledger, &deployed).await;
    assert_eq!(words(ledger), ["1 cooling", "2 bound 1", "3 bound 2"]);

    // Cooling is over when its time is, and when the region says that nobody has the port any more.
    let still = ObservedPort { protocol: Protocol::Tcp, port: tcp(1).port, order: Some(one.clone()) };
    let foreign = ObservedPort { protocol: Protocol::Tcp, port: tcp(77).port, order: None };
    observe(&worker, &Observed { ports: vec![still, foreign], ..nothing_observed() }).await;
    until("its word has come", async || ledger.occupied(&region(), &[tcp(77)], None).unwrap() == [tcp(77)]).await;
    let (_, cooling) = ledger.held_by(&region(), &one).into_iter().find(|(host, _)| *host == tcp(1)).unwrap();
    let PortState::Cooling { until: over, .. } = cooling else { panic!("{cooling:?}") };
    until("its time is over", async || Timestamp::now() > over).await;
    assert_eq!(ledger.due(), []);
    observe(&worker, &nothing_observed()).await;
    until("the port has cooled", async || ledger.due().len() == 1).await;
    let due = ledger.due();
    assert_eq!((due[0].host, &due[0].order), (tcp(1), &one));
    assert!(ledger.free(&due[0]).await.unwrap());
    assert!(!ledger.free(&due[0]).await.unwrap());
    assert_eq!(words(ledger), ["2 bound 1", "3 bound 2"]);
    let _ = ledger.reserve(&region(), &order("two"), JobId::new(), &tcps([1])).await.unwrap();
}

#[tokio::test]
async fn a_cooling_port_is_its_orders_to_reserve_and_nobody_elses() {
    let (_server, bus) = start().await;
    let (ledger, one) = (&bus.ledger, order("one"));
    let _ = ledger.reserve(&region(), &one, JobId::new(), &tcps([1])).await.unwrap();
    settle(ledger, &Desired { bound: Some((sequence(1), tcps([1]))), ..Desired::default() }).await;
    settle(ledger, &Desired::default()).await;
    assert_eq!(words(ledger), ["1 cooling"]);
    assert!(ledger.reserve(&region(), &order("two"), JobId::new(), &tcps([1])).await.is_err());
    let reserved = ledger.reserve(&region(), &one, JobId::new(), &tcps([1])).await.unwrap();
    assert_eq!(words(ledger), ["1 reserved"]);
    ledger.release(reserved).await;
    assert_eq!(words(ledger), ["1 cooling"]);

    // A job that wanted it and failed shortens nothing.
    let job = JobId::new();
    let _ = ledger.reserve(&region(), &one, job, &tcps([1])).await.unwrap();
    let _ = ledger.reserve(&region(), &one, JobId::new(), &tcps([1])).await.unwrap();
    let _ = ledger.reserve(&region(), &one, job, &tcps([1])).await.unwrap();
    settle(ledger, &Desired { ended: Some(failed(job)), ..Desired::default() }).await;
    assert_eq!(words(ledger), ["1 cooling"]);
}

#[tokio::test]
async fn more_ports_than_one_write_takes_are_settled() {
    let (_server, bus) = start().await;
    let ledger = &bus.ledger;
    let before = Desired { bound: Some((sequence(1), tcps(1..=600))), ..Desired::default() };
    settle(ledger, &before).await;
    let after = Desired { bound: Some((sequence(2), tcps(601..=1200))), ..Desired::default() };
    settle(ledger, &after).await;
    let held = ledger.held_by(&region(), &order("one"));
    assert_eq!(held.iter().filter(|(_, state)| is_bound(state)).count(), 600);
    assert_eq!(held.len(), 1200);
}

#[tokio::test]
async fn a_failed_jobs_ports_are_free_at_once_and_an_unknown_jobs_after_a_while() {
    let (server, bus) = start().await;
    let (ledger, one, job) = (&bus.ledger, order("one"), JobId::new());
    let _ = ledger.reserve(&region(), &one, job, &tcps([1, 2])).await.unwrap();
    settle(ledger, &Desired::default()).await;
    assert_eq!(words(ledger), ["1 reserved", "2 reserved"], "its request may be under way");
    settle(ledger, &Desired { ended: Some(failed(job)), ..Desired::default() }).await;
    assert_eq!(words(ledger), [""; 0]);

    let worker = outside(&server).await;
    for port in [3, 4] {
        let since = Timestamp::now() - jiff::SignedDuration::from_secs(61);
        let state = PortState::Reserved { order: one.clone(), job: JobId::new(), since, cooling: None };
        let key = subject::bucket_subject(stream::HOSTPORTS, &subject::port_key(&region(), tcp(port)));
        worker.publish(key, serde_json::to_vec(&state).unwrap().into()).await.unwrap().await.unwrap();
    }
    until("both are due", async || ledger.due().len() == 2).await;
    let due = ledger.due().into_iter().find(|due| due.host == tcp(3)).unwrap();
    assert!(due.is_over(Timestamp::now()) && !due.is_over(Timestamp::now() - jiff::SignedDuration::from_secs(2)));
    assert!(ledger.free(&due).await.unwrap());
    assert_eq!(words(ledger), ["4 reserved"]);
    settle(ledger, &Desired::default()).await;
    assert_eq!(words(ledger), ["4 reserved"], "by our clock alone it is old");
    settle(ledger, &Desired { at: Timestamp::now(), ..Desired::default() }).await;
    assert_eq!(words(ledger), [""; 0]);
}

#[tokio::test]
async fn a_port_that_a_replaced_pod_may_have_used_cools() {
    let (_server, bus) = start().await;
    let (ledger, one, job) = (&bus.ledger, order("one"), JobId::new());
    let _ = ledger.reserve(&region(), &one, job, &tcps([1])).await.unwrap();
    let superseded = EndedJob { id: job, may_have_run: true };
    settle(ledger, &Desired { ended: Some(superseded), ..Desired::default() }).await;
    assert_eq!(words(ledger), ["1 cooling"]);

    // What is deployed is bound, though another job has reserved it since.
    let (second, third) = (JobId::new(), JobId::new());
    let _ = ledger.reserve(&region(), &one, second, &tcps([2])).await.unwrap();
    let _ = ledger.reserve(&region(), &one, third, &tcps([2])).await.unwrap();
    let pending = vec![(third, tcps([2]))];
    let ended = Some(EndedJob { id: second, may_have_run: true });
    settle(ledger, &Desired { bound: Some((sequence(2), tcps([2]))), pending, ended, ..Desired::default() }).await;
    assert_eq!(words(ledger), ["1 cooling", "2 bound 2"]);
    settle(ledger, &Desired { ended: Some(failed(third)), ..Desired::default() }).await;
    assert_eq!(words(ledger), ["1 cooling", "2 cooling"]);
    // Nor does one that is pending and fails shorten it.
    let fourth = JobId::new();
    settle(ledger, &Desired { pending: vec![(fourth, tcps([2]))], ..Desired::default() }).await;
    assert_eq!(words(ledger), ["1 cooling", "2 reserved"]);
    settle(ledger, &Desired { ended: Some(failed(fourth)), ..Desired::default() }).await;
    assert_eq!(words(ledger), ["1 cooling", "2 cooling"]);
}

#[tokio::test]
async fn an_empty_ledger_is_rebuilt_from_the_record() {
    let server = NatsServer::start().await;
    let bus = connect(&server).await;
    let job = JobId::new();
    let desired =
        Desired { bound: Some((sequence(4), tcps([1, 2]))), pending: vec![(job, tcps([2, 3]))], ..Desired::default() };
    settle(&bus.ledger, &desired).await;
    assert_eq!(words(&bus.ledger), ["1 bound 4", "2 bound 4", "3 reserved"]);
    settle(&bus.ledger, &desired).await;
    bus.ledger.complete().await.unwrap();
    let occupied = bus.ledger.occupied(&region(), &[1, 2, 3, 4].map(tcp), None).unwrap();
    assert_eq!(occupied, [1, 2, 3].map(tcp));
}

/// Two instances settle one order: whoever asked the record first comes last.
#[tokio::test]
async fn an_older_answer_of_the_record_never_overwrites_a_newer_one() {
    let (server, first) = start().await;
    let second = connect(&server).await;
    let one = order("one");
    let old = Desired { bound: Some((sequence(1), tcps([1, 2]))), ..Desired::default() };
    settle(&first.ledger, &old).await;
    until("both know", async || second.ledger.held_by(&region(), &one).len() == 2).await;

    let view = first.ledger.view(&region(), &one);
    settle(&second.ledger, &Desired { bound: Some((sequence(2), tcps([2, 3]))), ..Desired::default() }).await;
    let newer = ["1 cooling", "2 bound 1", "3 bound 2"];
    assert_eq!(words(&second.ledger), newer);
    until("the first knows", async || words(&first.ledger) == newer).await;
    assert_eq!(first.ledger.settle(&view, &old).await.unwrap(), Settled::Outdated);
    assert_eq!(words(&first.ledger), newer);
}

#[tokio::test]
async fn another_orders_port_is_never_taken_over() {
    let (_server, bus) = start().await;
    let _ = bus.ledger.reserve(&region(), &order("two"), JobId::new(), &tcps([2])).await.unwrap();
    settle(&bus.ledger, &Desired { bound: Some((sequence(1), tcps([1, 2]))), ..Desired::default() }).await;
    assert_eq!(words(&bus.ledger), ["1 bound 1"]);
    assert_eq!(bus.ledger.held_by(&region(), &order("two")).len(), 1);
    assert!(!is_bound(&bus.ledger.held_by(&region(), &order("two"))[0].1));
}
