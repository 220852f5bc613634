//! Jobs, revisions and holdings as they are read back.

use std::collections::BTreeSet;

use common::name::{OrderId, RegionCode};

use super::super::StoreError;
use super::super::acceptance::Accepted;
use super::cluster::{database, shared_store};
use super::{
    abort, deploy, deploy_pod, elsewhere, end, failed, fresh_order, now, order, pod, region, succeed, tcp, try_deploy,
};

#[tokio::test]
async fn an_order_needs_the_ports_of_what_runs_and_of_what_is_on_its_way() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let stranger = fresh_order(&store).await;
    deploy_pod(&store, &stranger, &pod(&[9])).await;
    let holdings = async || {
        let holdings = store.holdings(&region(), &order).await.unwrap();
        let deployed = holdings.deployed.map(|(sequence, ports)| (sequence.get(), ports));
        (deployed, holdings.pending)
    };
    let ports = |numbers: &[i64]| numbers.iter().copied().map(tcp).collect::<BTreeSet<_>>();
    assert_eq!(holdings().await, (None, vec![]));

    let first = deploy_pod(&store, &order, &pod(&[1, 2])).await;
    assert_eq!(holdings().await, (None, vec![(first.id, ports(&[1, 2]))]));
    let there = store.holdings(&elsewhere(), &order).await.unwrap();
    assert_eq!((there.deployed, there.pending), (None, vec![]), "nothing in another region");
    succeed(&store, &first).await;
    assert_eq!(holdings().await, (Some((1, ports(&[1, 2]))), vec![]));
    assert_eq!(store.holdings(&elsewhere(), &order).await.unwrap().deployed, None);

    let second = deploy_pod(&store, &order, &pod(&[2, 3])).await;
    let third = deploy_pod(&store, &order, &pod(&[])).await;
    let pending = vec![(second.id, ports(&[2, 3])), (third.id, ports(&[]))];
    assert_eq!(holdings().await, (Some((1, ports(&[1, 2]))), pending), "in the order of their sequences");

    store.job_ended(&region(), &end(&second, failed())).await.unwrap();
    assert_eq!(holdings().await, (Some((1, ports(&[1, 2]))), vec![(third.id, ports(&[]))]));
    succeed(&store, &third).await;
    assert_eq!(holdings().await, (Some((3, ports(&[]))), vec![]));

    let fourth = deploy_pod(&store, &order, &pod(&[4])).await;
    let delete = abort(&store, &order).await;
    assert_eq!(holdings().await, (Some((3, ports(&[]))), vec![(fourth.id, ports(&[4]))]));
    succeed(&store, &delete).await;
    assert_eq!(holdings().await, (None, vec![(fourth.id, ports(&[4]))]));
    store.job_ended(&region(), &end(&fourth, super::superseded())).await.unwrap();
    assert_eq!(holdings().await, (None, vec![]));
}

#[tokio::test]
async fn a_ledger_is_rebuilt_from_orders_that_run_or_change() {
    let store = database().await.store;
    let names = ["fresh", "pending", "running", "failed", "deleting", "deleted", "elsewhere"];
    let mut orders = Vec::new();
    for name in names {
        orders.push(order(&store, name).await);
    }
    let [_, pending, running, broken, deleting, deleted, other] = &orders[..] else { panic!() };
    deploy(&store, pending).await;
    for order in [running, deleting, deleted] {
        succeed(&store, &deploy(&store, order).await).await;
    }
    let job = deploy(&store, broken).await;
    store.job_ended(&region(), &end(&job, failed())).await.unwrap();
    abort(&store, deleting).await;
    succeed(&store, &abort(&store, deleted).await).await;
    let Accepted::Yes(_) = try_deploy(&store, other, &elsewhere(), &pod(&[]), None).await else { panic!() };

    let all: BTreeSet<(RegionCode, OrderId)> = store.orders_with_ports().await.unwrap().into_iter().collect();
    let here = [pending, running, deleting].map(|order| (region(), order.clone()));
    assert_eq!(all, here.into_iter().chain([(elsewhere(), other.clone())]).collect());
}

#[tokio::test]
async fn jobs_and_revisions_are_listed_newest_first() {
    let store = shared_store().await;
    let (one, two) = (fresh_order(&store).await, fresh_order(&store).await);
    let mut jobs = Vec::new();
    for _ in 0..10 {
        jobs.push(deploy(&store, &one).await);
    }
    deploy(&store, &two).await;
    jobs.push(abort(&store, &one).await);
    jobs.reverse();
    for limit in [1, 3, 11, 12] {
        let (mut after, mut walked) = (None, Vec::new());
        loop {
            let page = store.jobs(&one, after, limit).await.unwrap();
            after = page.items.last().map(|job| job.sequence);
            walked.extend(page.items);
            if !page.more {
                break;
            }
        }
        assert_eq!(walked, jobs, "pages of {limit}");
    }
    assert!(store.jobs(&one, Some(1.try_into().unwrap()), 5).await.unwrap().items.is_empty());
    assert_eq!(store.jobs(&one, Some(u64::from(u32::MAX).try_into().unwrap()), 50).await.unwrap().items, jobs);

    let revisions = store.revisions(&one, 3).await.unwrap();
    assert_eq!(revisions.iter().map(|one| one.revision.get()).collect::<Vec<_>>(), [10, 9, 8]);
    assert_eq!(revisions[0].created_at, jobs[1].created_at);
    assert_eq!(store.revisions(&one, 50).await.unwrap().len(), 10);
}

#[tokio::test]
async fn nobody_reads_what_another_order_has() {
    let store = shared_store().await;
    let (one, two) = (fresh_order(&store).await, fresh_order(&store).await);
    let Accepted::Yes(job) = try_deploy(&store, &one, &region(), &pod(&[80]), Some("key")).await else { panic!() };
    assert_eq!(store.job(&one, job.id).await.unwrap().as_ref(), Some(&job));
    assert_eq!(store.job(&two, job.id).await.unwrap(), None);
    assert_eq!(store.job_by_key(&two, "key").await.unwrap(), None);
    assert_eq!(store.pod(&one, 1.try_into().unwrap()).await.unwrap(), Some(pod(&[80])));
    assert_eq!(store.pod(&one, 2.try_into().unwrap()).await.unwrap(), None);
    assert_eq!(store.pod(&two, 1.try_into().unwrap()).await.unwrap(), None);
    assert!(store.jobs(&two, None, 10).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn keys_are_forgotten_after_a_day_and_their_jobs_are_not() {
    let database = database().await;
    let store = &database.store;
    let order = order(store, "one").await;
    for key in ["old", "young"] {
        try_deploy(store, &order, &region(), &pod(&[]), Some(key)).await;
    }
    let keyless = deploy(store, &order).await;
    assert_eq!(store.forget_old_keys().await.unwrap(), 0);
    let age = |key: &str, hours: &str| {
        format!("update jobs set created_at = now() - interval '{hours}' where idempotency_key = '{key}'")
    };
    database.run(&age("old", "24 hours 1 second")).await;
    database.run(&age("young", "23 hours 59 minutes")).await;
    let old = store.job_by_key(&order, "old").await.unwrap().unwrap();
    assert_eq!(store.forget_old_keys().await.unwrap(), 1);
    assert_eq!(store.forget_old_keys().await.unwrap(), 0);
    assert_eq!(store.job_by_key(&order, "old").await.unwrap(), None);
    assert!(store.job_by_key(&order, "young").await.unwrap().is_some());
    let kept = store.job(&order, old.id).await.unwrap().unwrap();
    assert_eq!(kept, super::Job { request_digest: None, ..old });
    assert_eq!(store.job(&order, keyless.id).await.unwrap(), Some(keyless));
    let again = try_deploy(store, &order, &region(), &pod(&[]), Some("old")).await;
    assert!(matches!(again, Accepted::Yes(_)), "{again:?}");
}

#[tokio::test]
async fn instances_that_forget_keys_at_once_do_not_hold_each_other_up() {
    let database = database().await;
    let store = &database.store;
    let nothing = pod(&[]);
    for name in ["one", "two", "three", "four"] {
        let order = order(store, name).await;
        for n in 0..25 {
            try_deploy(store, &order, &region(), &nothing, Some(&format!("key-{n}"))).await;
        }
    }
    database.run("update jobs set created_at = created_at - interval '2 days'").await;
    let forgotten = futures::future::join_all((0..8).map(|_| store.forget_old_keys())).await;
    let forgotten: u64 = forgotten.into_iter().map(Result::unwrap).sum();
    assert_eq!(forgotten + store.forget_old_keys().await.unwrap(), 100);
}

/// The column that could not be read.
fn wrong<T>(read: Result<T, StoreError>) -> Option<&'static str> {
    match read.err()? {
        StoreError::Row { column } => Some(column),
        _ => None,
    }
}

#[tokio::test]
async fn what_no_code_of_ours_wrote_is_told_by_its_column() {
    let database = database().await;
    let store = &database.store;
    let order = order(store, "one").await;
    let job = deploy(store, &order).await;
    succeed(store, &job).await;
    database.run("update revisions set pod = '{}'").await;
    assert_eq!(wrong(store.pod(&order, job.revision.unwrap()).await), Some("pod"));
    assert_eq!(wrong(store.holdings(&region(), &order).await), Some("pod"));
    database.run("update orders set region = 'No Code'").await;
    assert_eq!(wrong(store.order(&order).await), Some("region"));
    database.run("update orders set region = 'ausrine'; update jobs set sequence = 0").await;
    assert_eq!(now(store, &order).await.deployed_revision(), job.revision);
    assert_eq!(wrong(store.job(&order, job.id).await), Some("sequence"));
    assert_eq!(wrong(store.jobs(&order, None, 10).await), Some("sequence"));
}
