//! What operators change, that it is changed once, and who is on record for it.

use std::collections::BTreeSet;

use common::name::OrderId;
use futures::future::join_all;
use jiff::SignedDuration;

use super::super::Store;
use super::super::history::{CUSTOMER, Changed, Detail, Event, Word};
use super::super::orders::{Created, NewOrder, Order};
use super::cluster::{database, shared_database, shared_store};
use super::{
    Accepted, abort, deploy, digest, elsewhere, fresh_order, id, now, pod, purchase, region, succeed, try_deploy, word,
};

/// More hours than any order has.
const MOST: u32 = 1000;

/// An order that was activated, and so has an end.
async fn active(store: &Store) -> OrderId {
    let order = fresh_order(store).await;
    let job = deploy(store, &order).await;
    succeed(store, &job).await;
    order
}

async fn extend(store: &Store, order: &OrderId, hours: u32) -> Option<Order> {
    match store.extend_order(order, hours, MOST, &word()).await.unwrap() {
        Changed::Yes(order) => Some(*order),
        Changed::No => None,
        Changed::KeyTaken => panic!("there is no key"),
    }
}

/// Moves an order's end, and tells when it is.
async fn move_end(order: &OrderId, to: &str) {
    shared_database().await.run(&format!("update orders set ends_at = {to} where id = '{order}'")).await;
}

#[tokio::test]
async fn an_order_that_was_never_activated_only_gets_longer() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let extended = extend(&store, &order, 7).await.unwrap();
    assert_eq!((extended.purchase.duration_hours, extended.ends_at), (107, None));
    let job = deploy(&store, &order).await;
    succeed(&store, &job).await;
    let active = now(&store, &order).await;
    let lasts = active.ends_at.unwrap().duration_since(active.activated_at.unwrap());
    assert_eq!(lasts, SignedDuration::from_hours(107));
}

#[tokio::test]
async fn an_extension_is_counted_from_the_end_or_from_now_if_that_is_past() {
    let store = shared_store().await;
    let order = active(&store).await;
    let before = now(&store, &order).await;
    let extended = extend(&store, &order, 7).await.unwrap();
    let more = extended.ends_at.unwrap().duration_since(before.ends_at.unwrap());
    assert_eq!(more, SignedDuration::from_hours(7));

    move_end(&order, "now() - interval '2 days'").await;
    let extended = extend(&store, &order, 7).await.unwrap();
    let left = extended.ends_at.unwrap().duration_since(extended.updated_at);
    assert_eq!((left, extended.is_over), (SignedDuration::from_hours(7), false));
    assert_eq!(extended.purchase.duration_hours, 114);
}

#[tokio::test]
async fn an_order_is_extended_up_to_a_limit_and_not_once_it_is_gone() {
    let store = shared_store().await;
    let order = active(&store).await;
    assert!(extend(&store, &order, 901).await.is_none());
    assert!(extend(&store, &order, 900).await.is_some());
    assert!(extend(&store, &order, 1).await.is_none());
    assert!(extend(&store, &id("nobody"), 1).await.is_none());
    let order = active(&store).await;
    abort(&store, &order).await;
    assert!(extend(&store, &order, 1).await.is_none(), "aborted");
    let order = active(&store).await;
    shared_database().await.run(&format!("update orders set deleted_at = now() where id = '{order}'")).await;
    assert!(extend(&store, &order, 1).await.is_none(), "deleted");
    assert_eq!(store.history(&order, 10).await.unwrap().len(), 1, "a refusal is no event");
}

#[tokio::test]
async fn one_key_changes_once_however_often_it_is_repeated_at_once() {
    let store = shared_database().await.store_with(|settings| settings.pool_size = 16);
    let (order, other) = (active(&store).await, active(&store).await);
    let before = now(&store, &order).await;
    let request = digest("extend");
    let keyed = Word { idempotency: Some(("key", &request)), ..word() };
    let all = join_all((0..16).map(|_| store.extend_order(&order, 5, MOST, &keyed))).await;
    let changed = all.into_iter().filter(|one| matches!(one.as_ref().unwrap(), Changed::Yes(_))).count();
    assert_eq!(changed, 1);
    let after = now(&store, &order).await;
    assert_eq!(after.purchase.duration_hours, before.purchase.duration_hours + 5);
    let earlier = store.done_by_key(&order, "anna", "key").await.unwrap().unwrap();
    assert_eq!((earlier.request_digest.as_slice(), earlier.job), (request.as_slice(), None));

    // The key is the order's: another change of it is refused, and another order's is not.
    let secret = digest("secret of a key");
    let replaced = store.replace_secret(&order, &secret.into(), 0, &keyed).await.unwrap();
    assert!(matches!(replaced, Changed::KeyTaken));
    assert!(matches!(store.extend_order(&other, 5, MOST, &keyed).await.unwrap(), Changed::Yes(_)));
    assert!(store.done_by_key(&order, "anna", "no key").await.unwrap().is_none());

    // So is the customer's own: it is another one.
    let customers = Word { actor: CUSTOMER, ..keyed.clone() };
    assert!(store.done_by_key(&order, CUSTOMER, "key").await.unwrap().is_none());
    assert!(matches!(store.set_label(&order, "mine", &customers).await.unwrap(), Changed::Yes(_)));
    assert!(matches!(store.set_label(&order, "mine", &customers).await.unwrap(), Changed::KeyTaken));

    let old = format!("update history set at = now() - interval '25 h' where order_id = '{order}'");
    shared_database().await.run(&old).await;
    assert!(store.forget_old_operator_keys().await.unwrap() >= 1);
    assert!(matches!(store.extend_order(&order, 5, MOST, &keyed).await.unwrap(), Changed::Yes(_)));
}

#[tokio::test]
async fn one_key_makes_one_order() {
    let store = shared_database().await.store_with(|settings| settings.pool_size = 16);
    let (purchase, request) = (purchase(), digest("make"));
    let make = async |n: usize, by: &'static str| {
        let (id, secret) = (id(&format!("keyed-{by}-{n}")), digest(&format!("keyed {by} {n}")));
        let new = NewOrder {
            id: &id,
            purchase: &purchase,
            secret_digest: &secret.into(),
            request_digest: &request.into(),
            made_by: by,
            idempotency_key: Some("key"),
        };
        store.create_order(&new).await.unwrap()
    };
    let all = join_all((0..16).map(|n| make(n, "clara"))).await;
    let new = all.iter().filter(|one| matches!(one, Created::New(_))).count();
    assert_eq!((new, all.iter().filter(|one| matches!(one, Created::KeyTaken)).count()), (1, 15));
    let (order, found) = store.made_by_key("clara", "key").await.unwrap().unwrap();
    assert_eq!((order.made_by.as_str(), found.as_slice()), ("clara", request.as_slice()));
    assert!(matches!(make(0, "dora").await, Created::New(_)), "another operator's key is another key");
}

#[tokio::test]
async fn a_replaced_secret_opens_its_order_until_its_overlap_is_over() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let opens =
        async |name: &str| store.order_by_secret(&digest(name).into(), None).await.unwrap().map(|(order, _)| order.id);
    let name = |n: u32| if n == 0 { order.to_string() } else { format!("{order}, secret {n}") };
    let replace = async |n: u32, overlap: u32| {
        let changed = store.replace_secret(&order, &digest(&name(n)).into(), overlap, &word()).await.unwrap();
        assert!(matches!(changed, Changed::Yes(_)));
    };
    let open = async || {
        let mut open = BTreeSet::new();
        for n in 0..5 {
            if let Some(found) = opens(&name(n)).await {
                assert_eq!(found, order);
                open.insert(n);
            }
        }
        open
    };
    assert_eq!(open().await, [0].into());
    replace(1, 0).await;
    assert_eq!(open().await, [1].into(), "at once");
    replace(2, 60).await;
    assert_eq!(open().await, [1, 2].into(), "both");
    replace(3, 60).await;
    assert_eq!(open().await, [2, 3].into(), "one old secret at most");
    shared_database().await.run(&format!("update orders set old_secret_until = now() where id = '{order}'")).await;
    assert_eq!(open().await, [3].into(), "over");
    replace(4, 60).await;
    assert_eq!(open().await, [3, 4].into());
    let changed = store.replace_secret(&id("nobody"), &digest("x").into(), 0, &word()).await.unwrap();
    assert!(matches!(changed, Changed::No));
}

#[tokio::test]
async fn the_history_says_who_did_what_newest_first() {
    let store = shared_store().await;
    let order = active(&store).await;
    let said = |actor, detail| Word { actor, detail, idempotency: None };
    let hours = Detail { hours: Some(3), ..Detail::default() };
    store.extend_order(&order, 3, MOST, &said("berta", hours.clone())).await.unwrap();
    let overlap = Detail { overlap_seconds: Some(9), ..Detail::default() };
    store.replace_secret(&order, &digest("history").into(), 9, &said("anna", overlap.clone())).await.unwrap();
    let job = abort(&store, &order).await;
    let history = store.history(&order, 10).await.unwrap();
    let told: Vec<_> = history.iter().map(|e| (e.actor.as_str(), e.event, e.detail.clone(), e.job)).collect();
    assert_eq!(
        told,
        [
            ("anna", Event::Aborted, Detail::default(), Some(job.id.as_uuid())),
            ("anna", Event::SecretReplaced, overlap, None),
            ("berta", Event::Extended, hours, None),
            ("the tests", Event::Created, Detail::default(), None),
        ]
    );
    assert!(history.is_sorted_by(|newer, older| newer.at >= older.at));
    assert_eq!(store.history(&order, 2).await.unwrap(), history[..2]);

    let unplaced = fresh_order(&store).await;
    let why = Detail { reason: Some("it was a mistake".to_owned()), ..Detail::default() };
    store.abort_unplaced(&unplaced, &said("berta", why.clone())).await.unwrap();
    assert_eq!(store.history(&unplaced, 1).await.unwrap()[0].detail, why);
}

#[tokio::test]
async fn regions_are_in_use_while_orders_are_there() {
    let store = database().await.store;
    assert_eq!(store.regions_in_use().await.unwrap(), []);
    let (here, there, never) = (fresh_order(&store).await, fresh_order(&store).await, fresh_order(&store).await);
    succeed(&store, &deploy(&store, &here).await).await;
    let Accepted::Yes(job) = try_deploy(&store, &there, &elsewhere(), &pod(&[]), None).await else { panic!() };
    succeed(&store, &job).await;
    deploy(&store, &never).await;
    assert_eq!(store.regions_in_use().await.unwrap(), [region(), elsewhere()]);
    abort(&store, &here).await;
    assert_eq!(store.regions_in_use().await.unwrap(), [elsewhere()]);
}
