//! What is accepted, and that it is accepted whole or not at all.

use std::collections::BTreeSet;

use common::ingress::Exposure;
use common::job::{Until, Verb};
use common::name::JobId;
use futures::future::join_all;
use uuid::Uuid;

use super::super::acceptance::{Acceptance, Accepted, MAX_UNFINISHED};
use super::super::history::Changed;
use super::super::jobs::JobState;
use super::super::life::Due;
use super::cluster::{database, shared_database, shared_store};
use super::{
    abort, at, deploy, digest, elsewhere, fresh_order, make, now, pod, purchase, region, succeed, try_abort,
    try_deploy, try_step, word,
};

#[tokio::test]
async fn an_accepted_deploy_is_on_record_whole() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let (id, request, region) = (JobId::new(), digest("body"), region());
    let acceptance = Acceptance { order: &order, region: &region, job: id, idempotency: Some(("key", &request)) };
    let accepted = store.accept_deploy(&acceptance, &pod(&[80]), Until::Available, None).await.unwrap();
    let Accepted::Yes(job) = accepted else { panic!("{accepted:?}") };
    assert_eq!((job.id, &job.order, &job.region, job.verb), (id, &order, &region, Verb::Deploy));
    assert_eq!((job.sequence.get(), job.revision.map(u64::from)), (1, Some(1)));
    assert_eq!((job.state, job.attempts, &job.outcome), (JobState::Queued, 0, &None));
    assert_eq!(job.request_digest.as_deref(), Some(request.as_slice()));
    assert!((at(-5)..=at(1)).contains(&job.created_at));
    assert_eq!((job.started_at, job.finished_at), (None, None));
    assert_eq!(store.job(&order, id).await.unwrap().as_ref(), Some(&job));
    assert_eq!(store.job_by_key(&order, "key").await.unwrap().as_ref(), Some(&job));
    assert_eq!(store.pod(&order, job.revision.unwrap()).await.unwrap(), Some(pod(&[80])));
}

#[tokio::test]
async fn concurrent_accepts_take_every_number_once() {
    let store = shared_database().await.store_with(|settings| settings.pool_size = 32);
    let order = fresh_order(&store).await;
    let jobs = join_all((0..32).map(|_| deploy(&store, &order))).await;
    let all: BTreeSet<u64> = (1..=32).collect();
    assert_eq!(jobs.iter().map(|job| job.sequence.get()).collect::<BTreeSet<_>>(), all);
    assert_eq!(jobs.iter().map(|job| job.revision.unwrap().get()).collect::<BTreeSet<_>>(), all);
    assert!(jobs.iter().all(|job| job.sequence.get() == job.revision.unwrap().get()));
    assert_eq!(now(&store, &order).await.last_revision.unwrap().get(), 32);
    assert_eq!(store.revisions(&order, 50).await.unwrap().len(), 32);
}

#[tokio::test]
async fn one_of_many_requests_with_one_key_is_accepted() {
    let store = &shared_store().await;
    let order = fresh_order(store).await;
    let nothing = pod(&[]);
    let place = region();
    let all = join_all((0..16).map(|_| try_deploy(store, &order, &place, &nothing, Some("key")))).await;
    let accepted = all.iter().filter(|one| matches!(one, Accepted::Yes(_))).count();
    let taken = all.iter().filter(|one| matches!(one, Accepted::KeyTaken)).count();
    assert_eq!((accepted, taken), (1, 15));

    let before = now(store, &order).await;
    assert!(matches!(try_deploy(store, &order, &place, &pod(&[80]), Some("key")).await, Accepted::KeyTaken));
    assert_eq!(now(store, &order).await, before, "nothing changed");
    assert_eq!(before.last_revision.unwrap().get(), 1);
    assert_eq!(store.revisions(&order, 50).await.unwrap().len(), 1);
    assert_eq!(store.jobs(&order, None, 50).await.unwrap().items.len(), 1);
    assert_eq!(deploy(store, &order).await.sequence.get(), 2, "no number is left out");
}

#[tokio::test]
async fn the_first_accepted_deploy_says_where_an_order_runs() {
    let store = shared_store().await;
    let free = fresh_order(&store).await;
    let (here, there) = (region(), elsewhere());
    let nothing = pod(&[]);
    let racers = join_all((0..8).map(|n| {
        let place = if n % 2 == 0 { &here } else { &there };
        try_deploy(&store, &free, place, &nothing, None)
    }));
    let accepted = racers.await.into_iter().filter_map(|one| match one {
        Accepted::Yes(job) => Some(job.region),
        _ => None,
    });
    let accepted: Vec<_> = accepted.collect();
    let place = now(&store, &free).await.purchase.region.unwrap();
    assert_eq!(accepted, [place.clone(), place.clone(), place.clone(), place.clone()]);
    let other = if place == here { &there } else { &here };
    let before = now(&store, &free).await;
    assert!(matches!(try_deploy(&store, &free, other, &nothing, None).await, Accepted::No));
    assert!(matches!(try_abort(&store, &free, other).await, Accepted::No));
    assert_eq!(now(&store, &free).await, before, "nothing changed");

    let bound = make(&store, "bound", &super::Purchase { region: Some(region()), ..purchase() }).await.id;
    assert!(matches!(try_deploy(&store, &bound, &there, &nothing, None).await, Accepted::No));
    deploy(&store, &bound).await;
}

#[tokio::test]
async fn a_deploy_whose_ports_may_be_free_for_others_by_now_is_not_accepted() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let before = now(&store, &order).await;
    let made_ago = |seconds: i64| {
        let at = u64::try_from(at(-seconds).as_second()).unwrap();
        JobId::from(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, at, 0)))
    };
    let place = region();
    let accept = async |job| {
        let acceptance = Acceptance { order: &order, region: &place, job, idempotency: None };
        store.accept_deploy(&acceptance, &pod(&[]), Until::Created, None).await.unwrap()
    };
    assert!(matches!(accept(made_ago(50)).await, Accepted::No));
    assert_eq!(now(&store, &order).await, before, "nothing changed");
    assert!(matches!(accept(made_ago(10)).await, Accepted::Yes(_)));
}

#[tokio::test]
async fn an_aborted_order_takes_no_more_changes() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let deployed = deploy(&store, &order).await;
    succeed(&store, &deployed).await;
    let job = abort(&store, &order).await;
    assert_eq!((job.verb, job.sequence.get(), job.revision), (Verb::Delete, 2, None));
    assert_eq!(store.job(&order, job.id).await.unwrap(), Some(job));
    let ended = now(&store, &order).await;
    assert!(ended.aborted_at.is_some() && ended.updated_at == ended.aborted_at.unwrap());
    assert!(matches!(try_deploy(&store, &order, &region(), &pod(&[]), Some("key")).await, Accepted::No));
    assert!(matches!(try_abort(&store, &order, &region()).await, Accepted::No));
    assert!(matches!(store.abort_unplaced(&order, &word()).await.unwrap(), Changed::No));
    assert_eq!(now(&store, &order).await, ended);
    assert_eq!(store.job_by_key(&order, "key").await.unwrap(), None);
    assert!(matches!(try_deploy(&store, &super::id("none"), &region(), &pod(&[]), None).await, Accepted::No));
}

#[tokio::test]
async fn an_order_is_aborted_once() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    assert!(matches!(try_abort(&store, &order, &region()).await, Accepted::No), "it runs nowhere");
    deploy(&store, &order).await;
    let place = region();
    let all = join_all((0..8).map(|_| try_abort(&store, &order, &place))).await;
    assert_eq!(all.iter().filter(|one| matches!(one, Accepted::Yes(_))).count(), 1);
    assert_eq!(store.jobs(&order, None, 10).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn an_order_is_either_deployed_or_aborted_without_a_job() {
    let store = shared_store().await;
    let (place, nothing, word) = (region(), pod(&[]), word());
    for _ in 0..20 {
        let order = fresh_order(&store).await;
        let (deployed, aborted) =
            tokio::join!(try_deploy(&store, &order, &place, &nothing, None), store.abort_unplaced(&order, &word));
        let aborted = matches!(aborted.unwrap(), Changed::Yes(_));
        assert_eq!(matches!(deployed, Accepted::Yes(_)), !aborted);
        assert_eq!(now(&store, &order).await.aborted_at.is_some(), aborted);
        assert_eq!(store.jobs(&order, None, 10).await.unwrap().items.is_empty(), aborted);
        assert!(matches!(store.abort_unplaced(&order, &word).await.unwrap(), Changed::No));
    }
}

#[tokio::test]
async fn an_order_has_so_many_jobs_that_have_not_ended_and_no_more_but_it_can_be_ended() {
    let database = database().await;
    let store = &database.store;
    let order = fresh_order(store).await;
    succeed(store, &deploy(store, &order).await).await;
    let mut jobs = Vec::new();
    for _ in 0..MAX_UNFINISHED {
        jobs.push(deploy(store, &order).await);
    }
    let before = now(store, &order).await;
    let place = region();
    let acceptance = || Acceptance { order: &order, region: &place, job: JobId::new(), idempotency: None };
    for refused in [
        try_deploy(store, &order, &region(), &pod(&[]), None).await,
        store.accept_deploy(&acceptance(), &pod(&[]), Until::Created, before.last_revision).await.unwrap(),
        try_step(store, &order, Verb::Stop).await.0,
        store.accept_expose(&acceptance(), before.target_sequence.unwrap(), &Exposure::Unbound, &[]).await.unwrap(),
    ] {
        assert!(matches!(refused, Accepted::No));
    }
    assert!(store.is_full(&order).await.unwrap());
    assert_eq!(now(store, &order).await, before, "nothing changed");
    assert!(!store.is_full(&fresh_order(store).await).await.unwrap(), "another order's room is its own");

    // What takes back or ends what the order has needs no room.
    let newest = jobs.last().unwrap().id;
    assert!(matches!(store.accept_cancel(&acceptance(), newest).await.unwrap(), Accepted::Yes(_)));
    database.run("update orders set ends_at = now() where activated_at is not null").await;
    assert_eq!(store.take_steps(Due::Stop, 3600.0).await.unwrap().len(), 1);
    database.run("update orders set ends_at = now() + interval '1 h' where activated_at is not null").await;
    for job in &jobs[..4] {
        succeed(store, job).await;
    }
    assert!(
        matches!(try_deploy(store, &order, &region(), &pod(&[]), None).await, Accepted::Yes(_)),
        "there is room again"
    );
    assert!(matches!(try_abort(store, &order, &region()).await, Accepted::Yes(_)));
}
