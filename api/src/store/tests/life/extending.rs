//! What an extension makes of an order that its end has stopped.

use common::ingress::Exposure;
use common::job::Until;
use common::name::JobId;

use super::super::super::acceptance::{Acceptance, Accepted};
use super::*;

#[tokio::test]
async fn an_extension_starts_again_what_its_end_has_stopped() {
    let lives = Lives::new().await;
    let store = &lives.0.store;
    let [by_end, by_customer, both, still_stopping] =
        [lives.running().await, lives.running().await, lives.running().await, lives.running().await];
    let stop = step(store, &by_customer, Verb::Stop).await;
    succeed(store, &stop).await;
    for order in [&by_end, &by_customer, &both, &still_stopping] {
        lives.move_end(order, 0).await;
    }
    let taken = lives.take(Due::Stop).await;
    assert_eq!(taken.len(), 3);
    for stop in taken.iter().filter(|stop| stop.order != still_stopping) {
        lives.ends(stop, Outcome::Succeeded).await;
    }
    assert!(lives.take(Due::Start).await.is_empty(), "not before it is extended");
    for order in [&by_end, &by_customer, &both, &still_stopping] {
        store.extend_order(order, 1, MOST, &word()).await.unwrap();
    }
    // Its customer was faster.
    let own = try_step(store, &both, Verb::Stop).await;
    assert!(matches!(own, (Accepted::Yes(_), _)));

    let taken = lives.take(Due::Start).await;
    let started: BTreeSet<OrderId> = orders(&taken).into_iter().collect();
    assert_eq!(started, [by_end.clone(), still_stopping].into());
    let start = taken.iter().find(|start| start.order == by_end).unwrap();
    let job = lives.job(start).await;
    let target = job.target.clone().unwrap();
    assert_eq!((job.verb, target.run.is_running(), target.pod_job), (Verb::Start, true, job.id));
    assert!(matches!(start.message.as_ref().unwrap().change, Change::Start(_)));
    assert!(lives.take(Due::Start).await.is_empty(), "it is under way");

    // A start that came to nothing is tried again; one that succeeded leaves what follows to the customer.
    lives.ends(start, failed()).await;
    assert!(lives.take(Due::Start).await.is_empty(), "not at once");
    lives.rest().await;
    let taken = lives.take(Due::Start).await;
    assert_eq!(orders(&taken), std::slice::from_ref(&by_end));
    lives.ends(&taken[0], Outcome::Succeeded).await;
    assert_eq!(lives.now(&by_end).await.service_status(), ServiceStatus::Running);
    let stop = step(store, &by_end, Verb::Stop).await;
    succeed(store, &stop).await;
    lives.rest().await;
    assert!(lives.take(Due::Start).await.is_empty());
}

/// What a customer does between the extension and the start.
#[derive(Debug, Clone, Copy)]
enum Customer {
    Edits,
    Exposes,
    Stops,
}

impl Customer {
    async fn does(self, lives: &Lives, order: &OrderId) -> Job {
        let (store, region) = (&lives.0.store, region());
        let acceptance = Acceptance { order, region: &region, job: JobId::new(), idempotency: None };
        let accepted = match self {
            Self::Edits => {
                let base = Some(1.try_into().unwrap());
                store.accept_deploy(&acceptance, &pod(&[80]), Until::Created, base).await
            }
            Self::Exposes => {
                let base = now(store, order).await.target_sequence.unwrap();
                store.accept_expose(&acceptance, base, &Exposure::Unbound, &[]).await
            }
            Self::Stops => Ok(try_step(store, order, Verb::Stop).await.0),
        };
        let Accepted::Yes(job) = accepted.unwrap() else { panic!("{self:?}") };
        job
    }
}

/// What becomes of that.
#[derive(Debug, Clone, Copy)]
enum Then {
    Waits,
    Succeeds,
    Fails,
    IsCancelled,
}

#[tokio::test]
async fn an_extended_order_starts_again_unless_its_customer_has_stopped_it() {
    let lives = Lives::new().await;
    let store = &lives.0.store;
    for (customer, then, starts) in [
        (Customer::Edits, Then::Waits, true),
        (Customer::Edits, Then::Succeeds, true),
        (Customer::Edits, Then::Fails, true),
        (Customer::Edits, Then::IsCancelled, true),
        (Customer::Exposes, Then::Waits, true),
        (Customer::Exposes, Then::Succeeds, true),
        (Customer::Exposes, Then::Fails, true),
        (Customer::Exposes, Then::IsCancelled, true),
        (Customer::Stops, Then::Waits, false),
        (Customer::Stops, Then::Succeeds, false),
        (Customer::Stops, Then::Fails, true),
        (Customer::Stops, Then::IsCancelled, true),
    ] {
        let order = lives.running().await;
        lives.move_end(&order, 0).await;
        let stop = lives.take(Due::Stop).await.remove(0);
        lives.ends(&stop, Outcome::Succeeded).await;
        store.extend_order(&order, 1, MOST, &word()).await.unwrap();
        let job = customer.does(&lives, &order).await;
        match then {
            Then::Waits => {}
            Then::Succeeds => succeed(store, &job).await,
            Then::Fails => store.job_ended(&region(), &end(&job, failed())).await.unwrap(),
            Then::IsCancelled => {
                let acceptance = Acceptance { order: &order, region: &region(), job: JobId::new(), idempotency: None };
                let cancelled = store.accept_cancel(&acceptance, job.id).await.unwrap();
                assert!(matches!(cancelled, Accepted::Yes(_)));
            }
        }
        let started = orders(&lives.take(Due::Start).await);
        assert_eq!(started.contains(&order), starts, "{customer:?}, {then:?}");
    }
}

#[tokio::test]
async fn an_order_that_is_deployed_anew_is_stopped_by_its_end_no_longer() {
    let lives = Lives::new().await;
    let store = &lives.0.store;
    let order = lives.running().await;
    lives.move_end(&order, 0).await;
    let stop = lives.take(Due::Stop).await.remove(0);
    lives.ends(&stop, Outcome::Succeeded).await;
    store.extend_order(&order, 1, MOST, &word()).await.unwrap();
    succeed(store, &deploy_pod(store, &order, &pod(&[80])).await).await;
    assert!(lives.take(Due::Start).await.is_empty(), "it runs");
    succeed(store, &step(store, &order, Verb::Stop).await).await;
    assert!(lives.take(Due::Start).await.is_empty(), "its customer stopped it");
}
