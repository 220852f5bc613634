//! Orders: made once, found by their secret, listed in pages.

use std::collections::BTreeSet;

use common::pod::Storage;
use futures::future::join_all;
use jiff::Timestamp;

use super::super::StoreError;
use super::super::digest::{Digest, KeyId};
use super::super::history::{CUSTOMER, Changed, Word};
use super::super::orders::{Created, Filter, KeyUse, NewOrder, Order, PortSpecification, Purchase, ServiceStatus};
use super::cluster::{Database, database, shared_database, shared_store};
use super::{
    abort, at, deploy, digest, elsewhere, fresh_order, id, make, now, order, purchase, region, stop, succeed,
    try_deploy, word,
};

#[tokio::test]
async fn an_order_reads_back_as_it_was_made() {
    let store = shared_store().await;
    let all = Purchase {
        units: 1000.try_into().unwrap(),
        port_specification: PortSpecification::Random,
        storage: Storage::Persistent,
        region: Some(elsewhere()),
        duration_hours: 87_600,
        amount: i64::MAX.unsigned_abs(),
        email: "o'hara@example.com".to_owned(),
        address: "0x\\00 \"%s\" $1 {}".to_owned(),
        recipient: "Žemaitė".to_owned(),
        provider: "a\nb\tc".to_owned(),
        service: "\u{1F980}".to_owned(),
        service_id: "id".to_owned(),
        service_category_id: "category".to_owned(),
        public_key: "key".to_owned(),
    };
    let before = at(-1);
    let made = make(&store, "all", &all).await;
    assert_eq!(made.purchase, all);
    assert_eq!(made.made_by, "the tests");
    assert!((before..=at(1)).contains(&made.created_at) && made.updated_at == made.created_at);
    assert_eq!((made.activated_at, made.ends_at, made.aborted_at), (None, None, None));
    assert_eq!((made.last_revision, made.deployed_revision()), (None, None));
    assert_eq!(now(&store, &made.id).await, made);
    assert_eq!(store.order(&id("none")).await.unwrap(), None);
}

#[tokio::test]
async fn an_order_is_made_once_by_its_id() {
    let database = database().await;
    let store = &database.store;
    let (id, purchase, request) = (id("one"), purchase(), digest("body"));
    let create = async |secret: &str, request: &[u8; 32]| {
        let secret_digest = &digest(secret);
        let new = NewOrder {
            id: &id,
            purchase: &purchase,
            secret_digest: &(*secret_digest).into(),
            request_digest: &(*request).into(),
            made_by: "the tests",
            idempotency_key: None,
        };
        store.create_order(&new).await.unwrap()
    };
    let secrets: Vec<String> = (0..16).map(|n| format!("secret {n}")).collect();
    let all = join_all(secrets.iter().map(|secret| create(secret, &request))).await;
    let new: Vec<usize> = (0..16).filter(|n| matches!(all[*n], Created::New(_))).collect();
    let [winner] = new[..] else { panic!("made {} times", new.len()) };
    let made = now(store, &id).await;
    assert!(all.iter().all(|one| matches!(one, Created::New(order) | Created::Before(order) if *order == made)));

    assert!(matches!(create("late", &request).await, Created::Before(order) if order == made));
    assert!(matches!(create("other", &digest("another body")).await, Created::Taken));
    // Only the secret that was shown opens it.
    for (n, secret) in secrets.iter().enumerate() {
        let opened = store.order_by_secret(&digest(secret).into(), None).await.unwrap();
        assert_eq!(opened.is_some(), n == winner, "{secret}");
    }
    assert_eq!(database.number("select count(*) from orders").await, 1);
}

#[tokio::test]
async fn a_secret_moves_to_the_key_of_now_when_it_is_used() {
    let database = database().await;
    let store = &database.store;
    let (then, now) = (KeyId(1), KeyId(2));
    let under = |text: &str, key| Digest { key, ..digest(&format!("{text} under {key}")).into() };
    let both = |text: &str| Digest { older: vec![under(text, then).current], ..under(text, now) };
    for name in ["used", "unused"] {
        let (purchase, secret, request) = (purchase(), under(name, then), under("body", then));
        let new = NewOrder {
            id: &id(name),
            purchase: &purchase,
            secret_digest: &secret,
            request_digest: &request,
            made_by: "tests",
            idempotency_key: None,
        };
        assert!(matches!(store.create_order(&new).await.unwrap(), Created::New(_)));
        // The same request is known again though it is kept under another key.
        let again = NewOrder { secret_digest: &both("other"), request_digest: &both("body"), ..new };
        assert!(matches!(store.create_order(&again).await.unwrap(), Created::Before(_)));
    }
    let opens = async |digest: &Digest| store.order_by_secret(digest, None).await.unwrap().is_some();
    assert!(!opens(&under("used", now)).await);
    assert!(opens(&both("used")).await);
    assert!(opens(&under("used", now)).await && !opens(&under("used", then)).await);
    let keys = store.secret_keys().await.unwrap();
    let keys = keys.iter().map(|used| (used.key.as_deref().unwrap(), used.orders, used.some.as_slice()));
    assert_eq!(
        keys.collect::<Vec<_>>(),
        [("00000001", 1, &["unused".to_owned()][..]), ("00000002", 1, &["used".to_owned()])]
    );

    // A secret that was replaced is moved when it is used, and so is the one before it not: it ends soon.
    let replaced = store.replace_secret(&id("unused"), &under("newer", then), 60, &word()).await.unwrap();
    assert!(matches!(replaced, Changed::Yes(_)));
    assert!(opens(&both("unused")).await && opens(&both("newer")).await && opens(&both("unused")).await);
    assert!(opens(&under("newer", now)).await && !opens(&under("unused", now)).await);
}

#[tokio::test]
async fn an_amount_that_postgresql_cannot_hold_is_refused() {
    let store = shared_store().await;
    let (id, purchase) = (id("one"), Purchase { amount: u64::MAX, ..purchase() });
    let digest = digest("one");
    let new = NewOrder {
        id: &id,
        purchase: &purchase,
        secret_digest: &digest.into(),
        request_digest: &digest.into(),
        made_by: "tests",
        idempotency_key: None,
    };
    assert!(matches!(store.create_order(&new).await, Err(StoreError::Row { column: "amount" })));
}

#[tokio::test]
async fn a_secret_opens_its_order_and_finds_the_job_of_a_key() {
    let store = database().await.store;
    let (one, two) = (order(&store, "one").await, order(&store, "two").await);
    for order in [&one, &two] {
        deploy(&store, order).await;
        assert!(matches!(
            try_deploy(&store, order, &region(), &super::pod(&[]), Some("key")).await,
            super::Accepted::Yes(_)
        ));
    }
    try_deploy(&store, &two, &region(), &super::pod(&[]), Some("of two")).await;
    let job = store.job_by_key(&one, "key").await.unwrap().unwrap();
    assert_eq!((&job.order, job.sequence.get()), (&one, 2));
    for (actor, key) in [(CUSTOMER, "said"), ("anna", "operator's")] {
        let request = digest(key);
        let word = Word { actor, idempotency: Some((key, &request)), ..word() };
        store.set_label(&one, "mine", &word).await.unwrap();
    }
    let whole = now(&store, &one).await;
    for (case, key, found) in [
        ("no key", None, None),
        ("a key of the order", Some("key"), Some(KeyUse::Job(job.clone()))),
        ("a key of what the customer said of the order", Some("said"), Some(KeyUse::Said)),
        ("a key of an operator", Some("operator's"), None),
        ("a key of another order", Some("of two"), None),
        ("a key of nobody", Some("unknown"), None),
        ("an empty key", Some(""), None),
    ] {
        let opened = store.order_by_secret(&digest("one").into(), key).await.unwrap();
        assert_eq!(opened, Some((whole.clone(), found)), "{case}");
    }
    assert_eq!(store.order_by_secret(&digest("ONE").into(), Some("key")).await.unwrap(), None);
}

/// Every page of a list, one after the other.
async fn walk(database: &Database, limit: usize, filter: impl Fn() -> Filter) -> Vec<Order> {
    let mut filter = filter();
    let mut all: Vec<Order> = Vec::new();
    loop {
        let page = database.store.orders(&filter, limit).await.unwrap();
        assert!(page.items.len() <= limit && (!page.more || page.items.len() == limit));
        filter.after = page.items.last().map(|last| (last.created_at, last.id.clone()));
        all.extend(page.items);
        if !page.more {
            return all;
        }
    }
}

#[tokio::test]
async fn pages_hold_every_order_once_newest_first() {
    let database = database().await;
    for n in 0..250 {
        order(&database.store, &format!("order-{n}")).await;
    }
    // Moments that many share, to the microsecond.
    database.run("update orders set created_at = '2026-01-01 00:00:00.000001Z'::timestamptz + (length(id) * interval '1 us')").await;
    let mut expected: Vec<(Timestamp, String)> = Vec::new();
    for n in 0..250 {
        let order = now(&database.store, &id(&format!("order-{n}"))).await;
        expected.push((order.created_at, order.id.to_string()));
    }
    expected.sort();
    expected.reverse();
    for limit in [1, 7, 50, 125, 249, 250, 251] {
        let walked = walk(&database, limit, Filter::default).await;
        let walked: Vec<_> = walked.into_iter().map(|order| (order.created_at, order.id.to_string())).collect();
        assert!(walked == expected, "pages of {limit}");
    }

    let first = database.store.orders(&Filter::default(), 10).await.unwrap();
    order(&database.store, "newcomer").await;
    let after = first.items.last().map(|last| (last.created_at, last.id.clone()));
    let second = database.store.orders(&Filter { after, ..Filter::default() }, 10).await.unwrap();
    let ids: Vec<String> = second.items.iter().map(|order| order.id.to_string()).collect();
    let expected: Vec<String> = expected[10..20].iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids, expected, "an order that was made meanwhile moves no page");
}

#[tokio::test]
async fn each_filter_keeps_what_it_names() {
    let database = database().await;
    let store = &database.store;
    let mut names = BTreeSet::new();
    for (n, region) in [None, Some(region()), Some(elsewhere())].into_iter().enumerate() {
        for email in ["anna@example.com", "Anna@example.com", ""] {
            for life in ["pending", "running", "done", "aborted", "aborted-running", "aborted-done"] {
                let name = format!("o{}-{life}", names.len());
                let purchase = Purchase { region: region.clone(), email: email.to_owned(), ..purchase() };
                let order = make(store, &name, &purchase).await.id;
                let place = region.clone().unwrap_or_else(super::region);
                if life.ends_with("running") || life.ends_with("done") {
                    let super::Accepted::Yes(job) = try_deploy(store, &order, &place, &super::pod(&[]), None).await
                    else {
                        panic!("{n}")
                    };
                    succeed(store, &job).await;
                }
                if life.ends_with("done") {
                    let sql = format!("update orders set ends_at = now() - interval '1 s' where id = '{order}'");
                    database.run(&sql).await;
                }
                if life.starts_with("aborted") {
                    match now(store, &order).await.purchase.region {
                        Some(place) => drop(super::try_abort(store, &order, &place).await),
                        None => drop(store.abort_unplaced(&order, &word()).await.unwrap()),
                    }
                }
                names.insert(name);
            }
        }
    }
    let all = walk(&database, 1000, Filter::default).await;
    assert_eq!(all.len(), names.len());
    let statuses = ServiceStatus::ALL.into_iter().map(Some).chain([None]);
    let emails = ["anna@example.com", "Anna@example.com", "", "nobody"].map(|email| Some(email.to_owned()));
    let emails: Vec<Option<String>> = emails.into_iter().chain([None]).collect();
    for status in statuses {
        for region in [Some(region()), Some(elsewhere()), Some("nowhere".parse().unwrap()), None] {
            for email in &emails {
                let filter = || Filter { region: region.clone(), email: email.clone(), status, after: None };
                let kept = all.iter().filter(|order| {
                    region.as_ref().is_none_or(|region| order.purchase.region.as_ref() == Some(region))
                        && email.as_ref().is_none_or(|email| order.purchase.email == *email)
                        && status.is_none_or(|status| order.service_status() == status)
                });
                let kept: Vec<Order> = kept.cloned().collect();
                assert_eq!(walk(&database, 20, filter).await, kept, "{:?}", filter());
            }
        }
    }
}

#[tokio::test]
async fn the_words_of_an_order_follow_its_life() {
    let store = shared_store().await;
    let order = fresh_order(&store).await;
    let status = async || now(&store, &order).await.service_status();
    assert_eq!(status().await, ServiceStatus::Pending);
    let job = deploy(&store, &order).await;
    assert_eq!(status().await, ServiceStatus::Pending);
    succeed(&store, &job).await;
    assert_eq!(status().await, ServiceStatus::Running);
    let stopped = stop(&store, &order).await;
    assert_eq!(status().await, ServiceStatus::Running);
    succeed(&store, &stopped).await;
    assert_eq!(status().await, ServiceStatus::Stop);
    let over = format!("update orders set ends_at = now() where id = '{order}'");
    shared_database().await.run(&over).await;
    assert_eq!(status().await, ServiceStatus::Done);
    abort(&store, &order).await;
    assert_eq!(status().await, ServiceStatus::Abort);
}
