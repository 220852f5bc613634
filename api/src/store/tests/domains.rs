//! A domain is one order's, whoever asks for it at the same time.

use std::time::Duration;

use common::ingress::{Domain, Exposure, Ingress, Route, Tls};
use common::name::{JobId, OrderId};

use super::super::Store;
use super::super::acceptance::{Acceptance, Accepted};
use super::cluster::{Database, database, shared_database};
use super::{deploy, id, now, order, region};

/// Domains that all lead to port 80.
fn bound(domains: &[&Domain]) -> Exposure {
    let route = Route { container_port: 80.try_into().unwrap(), tls: Tls::Issued };
    Exposure::Bound(Ingress { domains: domains.iter().map(|domain| ((*domain).clone(), route)).collect() })
}

/// Asks for domains besides none.
async fn bind(store: &Store, order: &OrderId, domains: &[&Domain]) -> Accepted {
    let acceptance = Acceptance { order, region: &region(), job: JobId::new(), idempotency: None };
    let claimed: Vec<Domain> = domains.iter().map(|domain| (*domain).clone()).collect();
    let base = now(store, order).await.target_sequence.unwrap();
    store.accept_expose(&acceptance, base, &bound(domains), &claimed).await.unwrap()
}

/// The order that has a domain.
async fn owner(database: &Database, domain: &Domain) -> Option<String> {
    let client = database.beside().await;
    let rows = client.query("select order_id from domains where domain = $1", &[&domain.as_str()]).await.unwrap();
    rows.first().map(|row| row.get(0))
}

#[tokio::test]
async fn a_change_that_names_another_orders_domain_is_not_accepted() {
    let database = database().await;
    let store = &database.store;
    let (one, two) = (order(store, "one").await, order(store, "two").await);
    for order in [&one, &two] {
        deploy(store, order).await;
    }
    let (shop, www): (Domain, Domain) = ("shop.lt".parse().unwrap(), "www.lt".parse().unwrap());
    assert!(matches!(bind(store, &one, &[&shop]).await, Accepted::Yes(_)));
    assert!(matches!(bind(store, &two, &[&shop, &www]).await, Accepted::No));
    assert_eq!(store.domains_of_others(&two, &[shop.clone(), www.clone()]).await.unwrap(), std::slice::from_ref(&shop));
    assert_eq!(now(store, &two).await.ingress(), None);

    // What it claimed is free a minute later.
    assert_eq!(owner(&database, &www).await.as_deref(), Some("two"));
    database.run("update domains set since = now() - interval '2 minutes'").await;
    assert_eq!(store.free_domains(&[shop.clone(), www.clone()]).await.unwrap(), 1);
    assert_eq!(owner(&database, &shop).await.as_deref(), Some("one"));
    assert_eq!(owner(&database, &www).await, None);
}

#[tokio::test]
async fn a_domain_is_not_freed_for_another_while_its_order_takes_it_again() {
    let database = database().await;
    let store = &database.store;
    let (one, two) = (order(store, "one").await, order(store, "two").await);
    for order in [&one, &two] {
        deploy(store, order).await;
    }
    let shop: Domain = "shop.lt".parse().unwrap();
    // It was bound once, and is in no target.
    database.run("insert into domains values ('shop.lt', 'one', now() - interval '2 minutes')").await;
    let mut client = database.beside().await;
    let held = client.transaction().await.unwrap();
    // It waits, and looks at the order's new version afterwards.
    held.execute("update orders set updated_at = now() where id = 'one'", &[]).await.unwrap();
    let shops = [&shop];
    let mut binding = Box::pin(bind(store, &one, &shops));
    let waits = tokio::time::timeout(Duration::from_millis(500), &mut binding).await;
    assert!(waits.is_err(), "it waits for its order: {waits:?}");
    let freed = [shop.clone()];
    let (taken, freed, released) = tokio::join!(binding, store.free_domains(&freed), held.commit());
    released.unwrap();
    assert!(matches!(taken, Accepted::Yes(_)), "{taken:?}");
    assert_eq!(freed.unwrap(), 0);
    assert_eq!(owner(&database, &shop).await.as_deref(), Some("one"));
    assert!(matches!(bind(store, &two, &[&shop]).await, Accepted::No));
}

#[tokio::test]
async fn domains_of_before_each_led_its_own_way_lead_as_they_did() {
    let database = shared_database().await;
    let store = database.store_with(|_| {});
    let order = id("led-alike");
    super::order(&store, order.as_str()).await;
    deploy(&store, &order).await;
    let alike = r#"{"bound": {"container_port": 80, "tls": "issued", "domains": ["b.lt", "a.lt"]}}"#;
    let set = format!("update orders set target = target || '{{\"exposure\": {alike}}}' where id = '{order}'");
    database.run(&set).await;
    let migrate = include_str!("../../../migrations/V12__ways_of_domains.sql");
    database.run(migrate).await;
    let client = database.beside().await;
    let row = client.query_one("select target -> 'exposure' from orders where id = $1", &[&order.as_str()]).await;
    let stored: serde_json::Value = row.unwrap().get(0);
    let (a, b): (Domain, Domain) = ("a.lt".parse().unwrap(), "b.lt".parse().unwrap());
    assert_eq!(stored, serde_json::to_value(bound(&[&a, &b])).unwrap());
}
