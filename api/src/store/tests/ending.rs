//! Ends of jobs, and what they mean for their order.

use common::ingress::Exposure;
use common::job::{JobResult, JobStarted, Outcome};
use common::name::JobId;
use futures::future::join_all;
use jiff::SignedDuration;

use super::super::acceptance::{Acceptance, Accepted};
use super::super::jobs::{Job, JobState};
use super::cluster::{shared_database, shared_store};
use super::{
    abort, at, deploy, elsewhere, end, failed, fresh_order, now, overtaken, region, succeed, superseded, unready,
};

#[tokio::test]
async fn an_end_is_on_record_as_the_worker_told_it() {
    let store = shared_store().await;
    for (outcome, state) in [
        (Outcome::Succeeded, JobState::Succeeded),
        (failed(), JobState::Failed),
        (unready(), JobState::Failed),
        (superseded(), JobState::Superseded),
        (overtaken(), JobState::Superseded),
    ] {
        let order = fresh_order(&store).await;
        let job = deploy(&store, &order).await;
        let mut result = end(&job, outcome.clone());
        result.attempts = 3;
        store.job_ended(&region(), &result).await.unwrap();
        let recorded = store.job(&order, job.id).await.unwrap().unwrap();
        assert_eq!(recorded, job.ended(result));
        assert_eq!((recorded.state, recorded.outcome), (state, Some(outcome)));
    }
}

#[tokio::test]
async fn only_the_first_end_counts() {
    let store = shared_store().await;
    for (n, first, second) in [
        (1, Outcome::Succeeded, failed()),
        (2, failed(), Outcome::Succeeded),
        (3, superseded(), Outcome::Succeeded),
        (4, Outcome::Succeeded, Outcome::Succeeded),
    ] {
        let order = fresh_order(&store).await;
        let job = deploy(&store, &order).await;
        store.job_ended(&region(), &end(&job, first)).await.unwrap();
        let (job, whole) = (store.job(&order, job.id).await.unwrap().unwrap(), now(&store, &order).await);
        let mut late = end(&job, second);
        late.attempts = 9;
        late.finished_at = at(3600);
        store.job_ended(&region(), &late).await.unwrap();
        assert_eq!(store.job(&order, job.id).await.unwrap().unwrap(), job, "{n}");
        assert_eq!(now(&store, &order).await, whole, "{n}");
    }
}

#[tokio::test]
async fn of_ends_that_come_at_once_one_counts() {
    let store = shared_store().await;
    for _ in 0..10 {
        let order = fresh_order(&store).await;
        let job = deploy(&store, &order).await;
        let ends = [Outcome::Succeeded, failed()].map(|outcome| end(&job, outcome));
        let here = region();
        for ended in join_all(ends.iter().cycle().take(8).map(|end| store.job_ended(&here, end))).await {
            ended.unwrap();
        }
        let job = store.job(&order, job.id).await.unwrap().unwrap();
        let deployed = now(&store, &order).await.deployed_revision();
        assert_eq!(deployed.is_some(), job.state == JobState::Succeeded);
    }
}

#[tokio::test]
async fn nobody_elses_word_ends_a_job() {
    let store = shared_store().await;
    let (one, two) = (fresh_order(&store).await, fresh_order(&store).await);
    let (job, other) = (deploy(&store, &one).await, deploy(&store, &two).await);
    let result = end(&job, Outcome::Succeeded);
    store.job_ended(&elsewhere(), &result).await.unwrap();
    store.job_ended(&region(), &JobResult { order: two.clone(), ..result.clone() }).await.unwrap();
    store.job_ended(&region(), &JobResult { id: JobId::new(), ..result.clone() }).await.unwrap();
    assert_eq!(store.job(&one, job.id).await.unwrap().unwrap(), job);
    assert_eq!(store.job(&two, other.id).await.unwrap().unwrap(), other);
    assert_eq!(now(&store, &two).await.deployed_revision(), None);
    store.job_ended(&region(), &result).await.unwrap();
    assert_eq!(store.job(&one, job.id).await.unwrap().unwrap(), job.ended(result));
}

#[tokio::test]
async fn paid_time_begins_with_the_first_deploy_that_succeeds() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let jobs = [deploy(&store, &order).await, deploy(&store, &order).await, deploy(&store, &order).await];
    store.job_ended(&region(), &end(&jobs[0], failed())).await.unwrap();
    let still = now(&store, &order).await;
    assert_eq!((still.activated_at, still.ends_at, still.deployed_revision()), (None, None, None));

    // The region's clock is a day behind.
    let result = JobResult { finished_at: at(-86_400), ..end(&jobs[1], Outcome::Succeeded) };
    store.job_ended(&region(), &result).await.unwrap();
    let active = now(&store, &order).await;
    let begun = active.activated_at.unwrap();
    assert!(begun >= active.created_at && begun <= active.updated_at, "{active:?}");
    assert_eq!(active.ends_at, Some(begun + SignedDuration::from_hours(100)));
    assert_eq!(active.deployed_revision().unwrap().get(), 2);

    let mut later = end(&jobs[2], Outcome::Succeeded);
    later.finished_at = at(3600);
    store.job_ended(&region(), &later).await.unwrap();
    let again = now(&store, &order).await;
    assert_eq!((again.activated_at, again.ends_at), (active.activated_at, active.ends_at));
    assert_eq!(again.deployed_revision().unwrap().get(), 3);
}

#[tokio::test]
async fn what_stands_without_having_succeeded_is_not_paid_for() {
    let store = shared_store().await;
    for outcome in [unready(), overtaken()] {
        let order = fresh_order(&store).await;
        let first = deploy(&store, &order).await;
        store.job_ended(&region(), &end(&first, outcome)).await.unwrap();
        let still = now(&store, &order).await;
        assert_eq!((still.activated_at, still.ends_at, still.deployed_revision()), (None, None, first.revision));
        let acceptance = Acceptance { order: &order, region: &region(), job: JobId::new(), idempotency: None };
        let base = still.target_sequence.unwrap();
        let bound = store.accept_expose(&acceptance, base, &Exposure::Unbound, &[]).await.unwrap();
        let Accepted::Yes(bound) = bound else { panic!("{bound:?}") };
        succeed(&store, &bound).await;
        assert_eq!(now(&store, &order).await.ends_at, None, "whoever binds a domain waits for no pod");
        let second = deploy(&store, &order).await;
        succeed(&store, &second).await;
        assert!(now(&store, &order).await.ends_at.is_some());
    }
}

#[tokio::test]
async fn a_deploy_that_does_not_come_up_is_what_stands_in_the_cluster() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let (first, second) = (deploy(&store, &order).await, deploy(&store, &order).await);
    succeed(&store, &first).await;
    store.job_ended(&region(), &end(&second, unready())).await.unwrap();
    assert_eq!(now(&store, &order).await.deployed_revision(), second.revision);
    assert_eq!(store.holdings(&region(), &order).await.unwrap().deployed.unwrap().0, second.sequence);

    // A delete that is not complete leaves what there was.
    let delete = abort(&store, &order).await;
    store.job_ended(&region(), &end(&delete, unready())).await.unwrap();
    assert_eq!(now(&store, &order).await.deployed_revision(), second.revision);
}

#[tokio::test]
async fn a_delete_that_succeeds_leaves_nothing_deployed() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let deployed = deploy(&store, &order).await;
    succeed(&store, &deployed).await;
    let active = now(&store, &order).await;
    let delete = abort(&store, &order).await;
    store.job_ended(&region(), &end(&delete, failed())).await.unwrap();
    assert_eq!(now(&store, &order).await.deployed_revision(), active.deployed_revision(), "it may still run");

    let order = fresh_order(&store).await;
    let deployed = deploy(&store, &order).await;
    succeed(&store, &deployed).await;
    let active = now(&store, &order).await;
    let delete = abort(&store, &order).await;
    succeed(&store, &delete).await;
    let ended = now(&store, &order).await;
    assert_eq!(ended.deployed_revision(), None);
    assert_eq!((ended.activated_at, ended.ends_at), (active.activated_at, active.ends_at));
    assert_eq!(ended.last_revision.unwrap().get(), 1);
}

/// Every order of four things.
fn permutations() -> Vec<[usize; 4]> {
    let digits = |n: usize| [n / 64, n / 16 % 4, n / 4 % 4, n % 4];
    let whole = |digits: &[usize; 4]| (0..4).all(|n| digits.contains(&n));
    (0..256).map(digits).filter(whole).collect()
}

#[tokio::test]
async fn ends_mean_the_same_in_whatever_order_they_come() {
    let store = shared_store().await;
    for (case, deleted, outcomes, revision) in [
        ("deploys", false, [Outcome::Succeeded, failed(), Outcome::Succeeded, superseded()], Some(3)),
        ("a newer failure", false, [Outcome::Succeeded, Outcome::Succeeded, failed(), failed()], Some(2)),
        ("one that stands, as the newer fails", false, [Outcome::Succeeded, failed(), overtaken(), failed()], Some(3)),
        ("one that stood", false, [Outcome::Succeeded, overtaken(), Outcome::Succeeded, failed()], Some(3)),
        ("a delete", true, [failed(), Outcome::Succeeded, superseded(), Outcome::Succeeded], None),
        ("a delete that fails", true, [failed(), Outcome::Succeeded, superseded(), failed()], Some(2)),
    ] {
        let all = permutations();
        assert_eq!(all.len(), 24);
        for turn in all {
            let order = fresh_order(&store).await;
            let mut jobs: Vec<Job> = Vec::new();
            for _ in 0..3 {
                jobs.push(deploy(&store, &order).await);
            }
            jobs.push(if deleted { abort(&store, &order).await } else { deploy(&store, &order).await });
            for n in turn {
                store.job_ended(&region(), &end(&jobs[n], outcomes[n].clone())).await.unwrap();
            }
            let ended = now(&store, &order).await;
            assert_eq!(ended.deployed_revision().map(u64::from), revision, "{case}, {turn:?}");
            assert!(ended.activated_at.is_some() && ended.ends_at.is_some(), "{case}, {turn:?}");
        }
    }
}

#[tokio::test]
async fn ends_of_one_order_that_come_at_once_leave_the_newest_deployed() {
    let store = shared_database().await.store_with(|settings| settings.pool_size = 16);
    for _ in 0..10 {
        let order = fresh_order(&store).await;
        let jobs = join_all((0..12).map(|_| deploy(&store, &order))).await;
        let ended = jobs.iter().map(|job| succeed(&store, job));
        // Meanwhile the order takes more changes.
        let more = (0..4).map(|_| deploy(&store, &order));
        tokio::join!(join_all(ended), join_all(more));
        let whole = now(&store, &order).await;
        assert_eq!(whole.deployed_revision().unwrap().get(), 12);
        assert_eq!(whole.last_revision.unwrap().get(), 16);
        assert_eq!(whole.ends_at.unwrap(), whole.activated_at.unwrap() + SignedDuration::from_hours(100));
    }
}

#[tokio::test]
async fn a_start_is_on_record_until_the_end_is() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let job = deploy(&store, &order).await;
    let notice = |attempts, seconds| JobStarted { id: job.id, attempts, started_at: at(seconds) };
    let (first, second) = (notice(1, 0), notice(2, 30));
    store.job_started(&second).await.unwrap();
    store.job_started(&first).await.unwrap();
    let running = store.job(&order, job.id).await.unwrap().unwrap();
    assert_eq!((running.state, running.attempts), (JobState::Running, 2), "notices may overtake each other");
    assert_eq!(running.started_at, Some(second.started_at));

    let result = end(&job, failed());
    store.job_ended(&region(), &result).await.unwrap();
    store.job_started(&notice(7, 60)).await.unwrap();
    assert_eq!(store.job(&order, job.id).await.unwrap().unwrap(), job.ended(result));
    store.job_started(&JobStarted { id: JobId::new(), attempts: 1, started_at: at(0) }).await.unwrap();
}
