//! What an order is to be in its region: every change starts from what may still come true.

use common::ingress::Exposure;
use common::job::{JobStarted, Outcome, Run, Until, Verb};
use common::name::{JobId, OrderId};
use futures::future::join_all;

use super::super::Store;
use super::super::acceptance::{Acceptance, Accepted};
use super::super::jobs::Job;
use super::super::life::Due;
use super::super::target::StoredTarget;
use super::cluster::{database, shared_database, shared_store};
use super::{
    abort, at, deploy, deploy_pod, end, failed, fresh_order, now, overtaken, pod, region, step, stop, succeed,
    superseded, try_step, unready,
};

async fn ends(store: &Store, job: &Job, outcome: Outcome) {
    store.job_ended(&region(), &end(job, outcome)).await.unwrap();
}

/// An order that runs its first revision, and the job that deployed it.
async fn deployed(store: &Store) -> (OrderId, Job) {
    let order = fresh_order(store).await;
    let job = deploy_pod(store, &order, &pod(&[80])).await;
    succeed(store, &job).await;
    (order, job)
}

fn target(revision: u64, run: Run, pod_job: &Job) -> StoredTarget {
    StoredTarget { revision: revision.try_into().unwrap(), run, pod_job: pod_job.id, exposure: Exposure::Never }
}

#[tokio::test]
async fn a_step_carries_the_revision_and_its_pod() {
    let store = shared_store().await;
    let (order, first) = deployed(&store).await;
    let (Accepted::Yes(stopped), stopped_pod) = try_step(&store, &order, Verb::Stop).await else { panic!() };
    assert_eq!((stopped.verb, stopped.revision, stopped_pod), (Verb::Stop, first.revision, Some(pod(&[80]))));
    assert_eq!(stopped.target, Some(target(1, Run::Stopped, &first)));
    let started = step(&store, &order, Verb::Start).await;
    assert_eq!(started.target, Some(target(1, Run::Running, &started)));
    let restarted = step(&store, &order, Verb::Restart).await;
    assert_eq!(restarted.target, Some(target(1, Run::Running, &restarted)));
    assert_eq!(now(&store, &order).await.last_revision, first.revision, "no step makes a revision");
    let again = step(&store, &order, Verb::Start).await;
    assert_eq!(again.target, Some(target(1, Run::Running, &restarted)), "a start of what runs leaves the pod alone");
}

#[tokio::test]
async fn a_step_wants_something_that_is_there() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    for verb in [Verb::Stop, Verb::Start, Verb::Restart] {
        assert!(matches!(try_step(&store, &order, verb).await, (Accepted::No, None)), "{verb:?}, nothing deployed");
    }
    let (order, _) = deployed(&store).await;
    stop(&store, &order).await;
    assert!(matches!(try_step(&store, &order, Verb::Restart).await, (Accepted::No, None)), "stopped");
    let over = format!("update orders set ends_at = now() where id = '{order}'");
    shared_database().await.run(&over).await;
    assert!(matches!(try_step(&store, &order, Verb::Start).await, (Accepted::No, None)), "its time is over");
    let (order, _) = deployed(&store).await;
    abort(&store, &order).await;
    assert!(matches!(try_step(&store, &order, Verb::Stop).await, (Accepted::No, None)), "aborted");
}

#[tokio::test]
async fn a_deploy_of_a_stopped_order_runs() {
    let store = shared_store().await;
    let (order, _) = deployed(&store).await;
    let stopped = stop(&store, &order).await;
    succeed(&store, &stopped).await;
    let second = deploy(&store, &order).await;
    assert_eq!(second.target, Some(target(2, Run::Running, &second)));
}

#[tokio::test]
async fn a_revision_changed_from_another_is_accepted_while_that_is_the_orders_and_runs_if_it_does() {
    let store = shared_store().await;
    let (order, first) = deployed(&store).await;
    let region = region();
    let edit = async |base: u64| {
        let acceptance = Acceptance { order: &order, region: &region, job: JobId::new(), idempotency: None };
        let base = Some(base.try_into().unwrap());
        store.accept_deploy(&acceptance, &pod(&[81]), Until::Created, base).await.unwrap()
    };
    assert!(matches!(edit(2).await, Accepted::No));
    let Accepted::Yes(second) = edit(1).await else { panic!() };
    assert_eq!(second.target, Some(target(2, Run::Running, &second)));
    assert!(matches!(edit(1).await, Accepted::No), "the second is under way");
    ends(&store, &second, failed()).await;
    let stopped = stop(&store, &order).await;
    assert_eq!(stopped.target, Some(target(1, Run::Stopped, &first)));
    let Accepted::Yes(third) = edit(1).await else { panic!() };
    assert_eq!(third.target, Some(target(3, Run::Stopped, &third)), "a stopped order stays so");
}

/// What a step is about after jobs have ended so, in this order.
#[tokio::test]
async fn the_next_step_is_about_the_newest_revision_that_may_still_come_true() {
    let store = shared_store().await;
    for (case, outcome, revision) in [
        ("not ended", None, 2),
        ("succeeded", Some(Outcome::Succeeded), 2),
        ("stands, but is not ready", Some(unready()), 2),
        ("came to nothing", Some(failed()), 1),
    ] {
        let (order, _) = deployed(&store).await;
        let second = deploy(&store, &order).await;
        if let Some(outcome) = outcome {
            ends(&store, &second, outcome).await;
        }
        assert_eq!(stop(&store, &order).await.revision.unwrap().get(), revision, "{case}");
    }
}

#[tokio::test]
async fn a_step_that_came_to_nothing_is_no_longer_the_target() {
    let store = shared_store().await;
    let (order, first) = deployed(&store).await;
    let stopped = stop(&store, &order).await;
    ends(&store, &stopped, failed()).await;
    let whole = now(&store, &order).await;
    assert_eq!(
        (whole.target, whole.deployed),
        (Some(target(1, Run::Running, &first)), Some(target(1, Run::Running, &first)))
    );

    // The one before it has not ended either: it may still come true, and so long nothing is based on what was before it.
    for (outcome, revision) in [(overtaken(), 2), (superseded(), 1)] {
        let (order, first) = deployed(&store).await;
        let (second, third) = (deploy(&store, &order).await, stop(&store, &order).await);
        ends(&store, &third, failed()).await;
        assert_eq!(now(&store, &order).await.target, Some(target(2, Run::Running, &second)));
        ends(&store, &second, outcome).await;
        let stands = if revision == 1 { &first } else { &second };
        assert_eq!(now(&store, &order).await.target, Some(target(revision, Run::Running, stands)));
    }
}

#[tokio::test]
async fn an_older_end_takes_nothing_from_a_newer_target() {
    let store = shared_store().await;
    for outcome in [Outcome::Succeeded, failed(), unready(), superseded(), overtaken()] {
        let (order, _) = deployed(&store).await;
        let (second, third) = (deploy(&store, &order).await, stop(&store, &order).await);
        ends(&store, &second, outcome.clone()).await;
        assert_eq!(now(&store, &order).await.target, Some(target(2, Run::Stopped, &second)), "{outcome:?}");
        ends(&store, &third, Outcome::Succeeded).await;
        assert_eq!(now(&store, &order).await.deployed, Some(target(2, Run::Stopped, &second)), "{outcome:?}");
    }
}

#[tokio::test]
async fn of_steps_and_deploys_at_once_the_last_in_sequence_has_the_newest_revision() {
    let store = shared_database().await.store_with(|settings| settings.pool_size = 32);
    let (order, _) = deployed(&store).await;
    let jobs = join_all((0..30).map(async |n| match n % 3 {
        0 => deploy(&store, &order).await,
        1 => stop(&store, &order).await,
        _ => step(&store, &order, Verb::Start).await,
    }));
    let mut jobs = jobs.await;
    jobs.sort_by_key(|job| job.sequence);
    let mut newest = 1;
    for job in &jobs {
        if job.verb == Verb::Deploy {
            newest += 1;
        }
        assert_eq!(job.revision.unwrap().get(), newest, "each carries all that was accepted before it");
    }
    assert_eq!(now(&store, &order).await.target, jobs.last().unwrap().target);
}

async fn cancel(store: &Store, order: &OrderId, job: &Job) -> Accepted {
    let acceptance = Acceptance { order, region: &region(), job: JobId::new(), idempotency: None };
    store.accept_cancel(&acceptance, job.id).await.unwrap()
}

#[tokio::test]
async fn a_cancelled_job_leaves_the_order_as_it_was_to_be() {
    let store = shared_store().await;
    let (order, first) = deployed(&store).await;
    let second = deploy(&store, &order).await;
    let Accepted::Yes(canceller) = cancel(&store, &order, &second).await else { panic!() };
    assert_eq!((canceller.verb, canceller.revision), (Verb::Cancel, first.revision));
    assert_eq!(canceller.target, Some(target(1, Run::Running, &first)));
    assert_eq!(now(&store, &order).await.target, canceller.target);

    // Another that has not ended stands before it.
    let third = deploy(&store, &order).await;
    let stopped = stop(&store, &order).await;
    let Accepted::Yes(canceller) = cancel(&store, &order, &stopped).await else { panic!() };
    assert_eq!(canceller.target, Some(target(3, Run::Running, &third)));
}

#[tokio::test]
async fn a_cancelled_first_deploy_leaves_nothing() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let job = deploy(&store, &order).await;
    let Accepted::Yes(canceller) = cancel(&store, &order, &job).await else { panic!() };
    assert_eq!((canceller.revision, &canceller.target), (None, &None));
    ends(&store, &job, superseded()).await;
    succeed(&store, &canceller).await;
    let whole = now(&store, &order).await;
    assert_eq!((whole.target, whole.deployed, whole.activated_at), (None, None, None));
    assert_eq!(deploy(&store, &order).await.revision.unwrap().get(), 2, "it can be deployed");
}

#[tokio::test]
async fn a_cancel_that_brings_a_pod_up_begins_the_paid_time() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let (first, second) = (deploy(&store, &order).await, deploy(&store, &order).await);
    let Accepted::Yes(canceller) = cancel(&store, &order, &second).await else { panic!() };
    assert_eq!(canceller.target, Some(target(1, Run::Running, &first)));
    ends(&store, &second, superseded()).await;
    // Its worker has met the canceller, which made the pod.
    ends(&store, &first, superseded()).await;
    assert_eq!(now(&store, &order).await.activated_at, None);
    succeed(&store, &canceller).await;
    let whole = now(&store, &order).await;
    assert!(whole.activated_at.is_some() && whole.ends_at.is_some());
    assert_eq!(whole.deployed, Some(target(1, Run::Running, &first)));
}

#[tokio::test]
async fn only_the_newest_job_that_has_not_begun_is_cancelled() {
    let store = shared_store().await;
    let (order, first) = deployed(&store).await;
    assert!(matches!(cancel(&store, &order, &first).await, Accepted::No), "ended");
    let (second, third) = (deploy(&store, &order).await, deploy(&store, &order).await);
    assert!(matches!(cancel(&store, &order, &second).await, Accepted::No), "not the newest");
    let begun = JobStarted { id: third.id, attempts: 1, started_at: at(0) };
    store.job_started(&begun).await.unwrap();
    assert!(matches!(cancel(&store, &order, &third).await, Accepted::No), "begun");
    let fourth = deploy(&store, &order).await;
    let twice = join_all((0..8).map(|_| cancel(&store, &order, &fourth))).await;
    assert_eq!(twice.iter().filter(|one| matches!(one, Accepted::Yes(_))).count(), 1);
    let ended = abort(&store, &order).await;
    assert!(matches!(cancel(&store, &order, &ended).await, Accepted::No), "a delete");
}

#[tokio::test]
async fn the_stop_of_an_orders_end_is_not_cancelled_by_its_customer() {
    let database = database().await;
    let store = &database.store;
    let (order, _) = deployed(store).await;
    database.run(&format!("update orders set ends_at = now() where id = '{order}'")).await;
    let taken = store.take_steps(Due::Stop, 3600.0).await.unwrap().remove(0);
    let stop = store.job(&order, taken.job).await.unwrap().unwrap();
    assert!(matches!(cancel(store, &order, &stop).await, Accepted::No));
    assert_eq!(now(store, &order).await.target, stop.target);
}

#[tokio::test]
async fn a_job_in_the_queue_knows_how_many_are_before_it() {
    let store = database().await.store;
    let (one, two) = (fresh_order(&store).await, fresh_order(&store).await);
    let (first, second) = (deploy(&store, &one).await, deploy(&store, &two).await);
    assert_eq!(store.queue(&first).await.unwrap().ahead, 0);
    assert_eq!(store.queue(&second).await.unwrap().ahead, 1);
    succeed(&store, &first).await;
    let queue = store.queue(&second).await.unwrap();
    assert!(queue.ahead == 0 && queue.oldest_seconds < 60, "{queue:?}");
}
