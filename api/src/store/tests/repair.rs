//! Orders that were changed by hand: each is repaired once, when it is at rest, and not for ever.

use common::failure::{Failure, Reason};
use common::job::{Outcome, Verb};
use common::name::OrderId;
use common::presence::Drift;
use futures::future::join_all;

use super::super::Store;
use super::super::history::Event;
use super::super::life::Taken;
use super::super::repair::Drifted;
use super::cluster::database;
use super::{abort, deploy_pod, end, fresh_order, now, pod, region, step, succeed};

fn drift(order: &OrderId, sequence: u64) -> Drifted {
    let objects = vec!["NetworkPolicy/pod is missing".to_owned()];
    let volumes = vec!["PersistentVolumeClaim/data is missing".to_owned()];
    let drift = Drift { order: order.clone(), objects, volumes };
    Drifted { drift, sequence: sequence.try_into().unwrap(), is_left: false }
}

fn left(order: &OrderId, sequence: u64) -> Drifted {
    Drifted { is_left: true, ..drift(order, sequence) }
}

async fn running(store: &Store) -> OrderId {
    let order = fresh_order(store).await;
    let job = deploy_pod(store, &order, &pod(&[80])).await;
    succeed(store, &job).await;
    order
}

async fn repairs(store: &Store, drifted: &[Drifted]) -> Vec<Taken> {
    store.accept_repairs(&region(), drifted).await.unwrap()
}

/// The order is repaired after this job.
async fn repaired(store: &Store, order: &OrderId, sequence: u64) {
    let [taken] = repairs(store, &[drift(order, sequence)]).await.try_into().unwrap();
    let job = store.job(order, taken.job).await.unwrap().unwrap();
    succeed(store, &job).await;
}

async fn events(store: &Store, order: &OrderId) -> Vec<Event> {
    store.history(order, 100).await.unwrap().iter().rev().map(|entry| entry.event).collect()
}

#[tokio::test]
async fn a_repair_makes_the_order_what_it_is_to_be_and_leaves_its_pod() {
    let database = database().await;
    let store = &database.store;
    let order = running(store).await;
    let stop = step(store, &order, Verb::Stop).await;
    succeed(store, &stop).await;
    let before = now(store, &order).await;
    let [taken] = repairs(store, &[drift(&order, 2)]).await.try_into().unwrap();
    assert_eq!((&taken.order, taken.verb), (&order, Verb::Repair));
    assert_eq!(taken.message.unwrap().sequence.get(), 3);
    let job = store.job(&order, taken.job).await.unwrap().unwrap();
    assert_eq!(job.target, before.target);
    store.job_ended(&region(), &end(&job, Outcome::Succeeded)).await.unwrap();
    let after = now(store, &order).await;
    assert_eq!((after.target, after.deployed), (before.target.clone(), before.target));
    let history = store.history(&order, 1).await.unwrap();
    assert_eq!((history[0].event, history[0].job), (Event::Repaired, Some(taken.job.as_uuid())));
    let words = ["NetworkPolicy/pod is missing", "PersistentVolumeClaim/data is missing"].map(str::to_owned);
    assert_eq!(history[0].detail.objects.as_deref(), Some(words.as_slice()));
}

#[tokio::test]
async fn only_an_order_that_is_at_rest_after_the_same_job_is_repaired() {
    let database = database().await;
    let store = &database.store;
    let (order, aborted, fresh) = (running(store).await, running(store).await, fresh_order(store).await);
    abort(store, &aborted).await;
    let told = [drift(&order, 2), drift(&aborted, 1), drift(&aborted, 2), drift(&fresh, 1)];
    assert!(repairs(store, &told).await.is_empty());
    let resting = async || store.at_rest(&region(), &[&order, &aborted, &fresh]).await.unwrap();
    assert_eq!(resting().await, [(order.clone(), 1.try_into().unwrap())]);
    // A delete that came to nothing leaves the target; it is tried again, and nothing is repaired.
    database
        .run(&format!(
            "update jobs set finished_at = now() where order_id = '{aborted}'; \
             update orders set target = deployed where id = '{aborted}'"
        ))
        .await;
    assert!(repairs(store, &told).await.is_empty());
    assert_eq!(resting().await.len(), 1);
    database.run(&format!("update orders set ends_at = now() - interval '1 s' where id = '{order}'")).await;
    assert!(repairs(store, &[drift(&order, 1)]).await.is_empty() && resting().await.is_empty(), "its time is over");
    database.run(&format!("update orders set ends_at = now() + interval '1 h' where id = '{order}'")).await;
    assert!(store.accept_repairs(&"elsewhere".parse().unwrap(), &[drift(&order, 1)]).await.unwrap().is_empty());
    let stop = step(store, &order, Verb::Stop).await;
    assert!(repairs(store, &[drift(&order, 1), drift(&order, 2)]).await.is_empty(), "a job is at work");
    assert!(store.note_drift(&region(), &[left(&order, 2)]).await.unwrap().is_empty());
    assert!(resting().await.is_empty());
    succeed(store, &stop).await;
    assert_eq!(repairs(store, &[drift(&order, 1), drift(&order, 2)]).await.len(), 1);
}

#[tokio::test]
async fn an_order_is_repaired_once_by_however_many_instances() {
    let database = database().await;
    let store = &database.store;
    let orders = [running(store).await, running(store).await, running(store).await];
    let drifted: Vec<Drifted> = orders.iter().map(|order| drift(order, 1)).collect();
    let taken = join_all((0..8).map(|_| repairs(store, &drifted))).await;
    let mut repaired: Vec<OrderId> = taken.into_iter().flatten().map(|taken| taken.order).collect();
    repaired.sort();
    let mut expected = orders.to_vec();
    expected.sort();
    assert_eq!(repaired, expected);
}

#[tokio::test]
async fn what_is_changed_again_and_again_is_repaired_ever_later_and_told_of_once_for_each_job() {
    let database = database().await;
    let store = &database.store;
    let order = running(store).await;
    let earlier = async |seconds: u32| {
        let sql = "update jobs set created_at = created_at - interval '1 s'";
        database.run(&format!("{sql} * {seconds} where order_id = '{order}'")).await;
    };
    for (sequence, pause) in [(1, 0), (2, 0), (3, 0), (4, 120), (5, 480)] {
        if pause > 0 {
            earlier(pause - 5).await;
            assert!(repairs(store, &[drift(&order, sequence)]).await.is_empty(), "{pause} s");
        }
        let (region, told) = (region(), [drift(&order, sequence)]);
        let noted = join_all((0..8).map(|_| store.note_drift(&region, &told))).await;
        assert!(noted.iter().all(Result::is_ok), "{noted:?}");
        earlier(6).await;
        repaired(store, &order, sequence).await;
    }
    let [repaired, drifted] = [Event::Repaired, Event::Drifted];
    let told = events(store, &order).await;
    assert_eq!(told[1..], [repaired, repaired, repaired, drifted, repaired, drifted, repaired]);
    let stop = step(store, &order, Verb::Stop).await;
    succeed(store, &stop).await;
    assert_eq!(repairs(store, &[drift(&order, 7)]).await.len(), 1, "somebody asked for something meanwhile");
}

#[tokio::test]
async fn a_repair_that_was_accepted_while_the_clock_was_ahead_holds_none_up() {
    let database = database().await;
    let store = &database.store;
    let order = running(store).await;
    for sequence in 1..=3 {
        repaired(store, &order, sequence).await;
    }
    assert!(repairs(store, &[drift(&order, 4)]).await.is_empty());
    database.run(&format!("update jobs set created_at = now() + interval '1 h' where order_id = '{order}'")).await;
    assert_eq!(repairs(store, &[drift(&order, 4)]).await.len(), 1);
}

#[tokio::test]
async fn what_is_to_be_left_is_not_repaired_and_told_of_once_for_each_job() {
    let database = database().await;
    let store = &database.store;
    let order = running(store).await;
    for sequence in 1..=2 {
        assert!(repairs(store, &[left(&order, sequence)]).await.is_empty());
        let (region, told) = (region(), [left(&order, sequence)]);
        let noted = join_all((0..8).map(|_| store.note_drift(&region, &told))).await;
        let noted: Vec<OrderId> = noted.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(noted, std::slice::from_ref(&order));
        let stop = step(store, &order, Verb::Stop).await;
        succeed(store, &stop).await;
    }
    assert_eq!(events(store, &order).await[1..], [Event::Drifted, Event::Drifted]);
}

#[tokio::test]
async fn a_repair_begins_no_paid_time() {
    let database = database().await;
    let store = &database.store;
    let order = fresh_order(store).await;
    let job = deploy_pod(store, &order, &pod(&[80])).await;
    let failure = Failure::new(Reason::ImagePullRefused, "no");
    store.job_ended(&region(), &end(&job, Outcome::Unready(failure))).await.unwrap();
    repaired(store, &order, 1).await;
    let begun = format!("select count(*) from orders where id = '{order}' and num_nulls(activated_at, ends_at) < 2");
    assert_eq!(database.number(&begun).await, 0);
}
