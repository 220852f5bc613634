//! How orders are deleted long after their end: never too many at once without an operator's word.

use super::super::super::operator::Approved;
use super::*;

#[tokio::test]
async fn an_order_is_deleted_long_after_its_end() {
    let lives = Lives::new().await;
    let order = lives.running().await;
    lives.move_end(&order, -3595).await;
    assert_eq!((lives.deletes().await, lives.held().await), (vec![], 0), "not before");
    lives.move_end(&order, -3600).await;
    assert_eq!(lives.held().await, 1);
    let taken = lives.0.store.accept_deletes(&region(), DELETE_AFTER).await.unwrap();
    let job = lives.job(&taken[0]).await;
    assert_eq!((job.verb, job.target.clone(), job.revision), (Verb::Delete, None, None));
    assert!(matches!(taken[0].message.as_ref().unwrap().change, Change::Delete(_)));
    assert_eq!((lives.deletes().await, lives.held().await), (vec![], 0), "once");
    let deleted = lives.now(&order).await;
    assert!(deleted.deleted_at.is_some() && deleted.aborted_at.is_none());
    assert_eq!(deleted.service_status(), ServiceStatus::Done);
    for change in [
        matches!(try_deploy(&lives.0.store, &order, &region(), &pod(&[]), None).await, super::super::Accepted::No),
        matches!(try_step(&lives.0.store, &order, Verb::Start).await, (super::super::Accepted::No, None)),
        matches!(super::super::try_abort(&lives.0.store, &order, &region()).await, super::super::Accepted::No),
    ] {
        assert!(change, "it takes no more changes");
    }
    assert!(lives.0.store.holdings(&region(), &order).await.unwrap().deployed.is_some(), "until it is gone");
    lives.ends(&taken[0], Outcome::Succeeded).await;
    let holdings = lives.0.store.holdings(&region(), &order).await.unwrap();
    assert!(holdings.deployed.is_none() && holdings.pending.is_empty());
    assert!(lives.take(Due::DeleteAgain).await.is_empty());
}

#[tokio::test]
async fn a_delete_that_came_to_nothing_is_tried_again() {
    let lives = Lives::new().await;
    let (over, aborted) = (lives.ended(1, 3600).await.remove(0), lives.running().await);
    let first = lives.0.store.accept_deletes(&region(), DELETE_AFTER).await.unwrap();
    let abort = abort(&lives.0.store, &aborted).await;
    assert!(lives.take(Due::DeleteAgain).await.is_empty(), "both are under way");
    lives.ends(&first[0], failed()).await;
    lives.0.store.job_ended(&region(), &end(&abort, failed())).await.unwrap();
    lives.rest().await;
    let again = lives.take(Due::DeleteAgain).await;
    assert_eq!(orders(&again).into_iter().collect::<BTreeSet<_>>(), [over.clone(), aborted.clone()].into());
    assert!(lives.take(Due::DeleteAgain).await.is_empty());
    let (over, aborted) = (lives.now(&over).await, lives.now(&aborted).await);
    assert!(over.deleted_at.is_some() && aborted.deleted_at.is_none());
    assert_eq!(aborted.service_status(), ServiceStatus::Abort);
    for taken in &again {
        lives.ends(taken, Outcome::Succeeded).await;
    }
    lives.rest().await;
    assert!(lives.take(Due::DeleteAgain).await.is_empty());
}

#[tokio::test]
async fn no_more_than_a_tenth_of_a_regions_orders_is_deleted_within_an_hour() {
    let lives = Lives::new().await;
    let over = lives.ended(25, 3600).await;
    for _ in 0..11 {
        lives.running().await;
    }
    // 36 orders are there: three at a time, those first whose end was first.
    assert_eq!(lives.deletes().await, over[..3]);
    assert_eq!((lives.deletes().await, lives.held().await), (vec![], 22));
    lives.0.run("update orders set deleted_at = deleted_at - interval '1 h' where deleted_at is not null").await;
    // 33 are left.
    assert_eq!(lives.deletes().await, over[3..6]);
    assert_eq!(lives.held().await, 19);
    let elsewhere = super::super::elsewhere();
    assert!(lives.0.store.accept_deletes(&elsewhere, DELETE_AFTER).await.unwrap().is_empty());
}

#[tokio::test]
async fn however_many_delete_at_once_they_stay_below_the_limit() {
    let lives = Lives::new().await;
    lives.ended(20, 3600).await;
    let stores: Vec<_> = (0..8).map(|_| lives.0.store_with(|settings| settings.pool_size = 4)).collect();
    let here = region();
    let deleting = (0..32).map(|n| stores[n % 8].accept_deletes(&here, DELETE_AFTER));
    let deleted: usize = join_all(deleting).await.into_iter().map(|taken| taken.unwrap().len()).sum();
    assert_eq!((deleted, lives.held().await), (2, 18));
}

#[tokio::test]
async fn one_order_may_always_be_deleted() {
    let lives = Lives::new().await;
    let over = lives.ended(2, 3600).await;
    assert_eq!(lives.deletes().await, over[..1]);
    assert_eq!((lives.deletes().await, lives.held().await), (vec![], 1));
}

#[tokio::test]
async fn an_operators_word_lets_those_pass_that_are_due_and_no_later_ones() {
    let lives = Lives::new().await;
    let store = &lives.0.store;
    let over = lives.ended(5, 3600).await;
    assert_eq!(lives.deletes().await, over[..1]);
    let request = super::super::digest("approve");
    let keyed = Word { idempotency: Some(("key", &request)), ..word() };
    let here = region();
    let approved = store.approve_deletes(&here, DELETE_AFTER, &keyed).await.unwrap();
    assert_eq!((approved, lives.held().await), (Approved::Yes(4), 0));
    let again = store.approve_deletes(&here, DELETE_AFTER, &keyed).await.unwrap();
    assert_eq!(again, Approved::KeyTaken);
    assert_eq!(store.approved_by_key(&here, "key").await.unwrap(), Some((4, request.to_vec())));

    let later = lives.ended(3, 3600).await;
    // Extended meanwhile: its next end is not what the operator meant.
    store.extend_order(&over[4], 1, MOST, &word()).await.unwrap();
    lives.move_end(&over[4], -7200).await;
    let passed: BTreeSet<OrderId> = orders(&lives.take(Due::ApprovedDelete).await).into_iter().collect();
    assert_eq!(passed, over[1..4].iter().cloned().collect());
    assert!(lives.take(Due::ApprovedDelete).await.is_empty());
    assert_eq!((lives.deletes().await, lives.held().await), (vec![], 4), "the hour's one is gone");
    assert_eq!(lives.events(&over[1]).await, [Event::Created, Event::DeleteApproved, Event::Deleted]);
    let history = store.history(&over[1], 10).await.unwrap();
    assert_eq!((history[1].actor.as_str(), history[0].actor.as_str()), ("anna", "system"));
    assert_eq!(lives.events(&later[0]).await, [Event::Created]);
    let none = store.approve_deletes(&super::super::elsewhere(), DELETE_AFTER, &word()).await.unwrap();
    assert_eq!(none, Approved::Yes(0));
}
