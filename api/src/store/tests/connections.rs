//! Connections: bounded, over TLS where wanted, and found again after an outage.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use secrecy::ExposeSecret as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_postgres::{Client, Transaction};

use super::super::acceptance::Accepted;
use super::super::{PostgresSettings, Store, StoreError};
use super::cluster::{self, Cluster, Database, database, settings, shared_database};
use super::{Acceptance, JobId, LIMIT, OrderId, deploy, fresh_order, now, order, pod, region};
use crate::app::error::AppError;

/// Holds an order's row until it is dropped.
async fn lock<'a>(client: &'a mut Client, order: &OrderId) -> Transaction<'a> {
    let held = client.transaction().await.unwrap();
    held.execute("select 1 from orders where id = $1 for update", &[&order.as_str()]).await.unwrap();
    held
}

async fn accept(store: &Store, order: &OrderId) -> Result<Accepted, StoreError> {
    let (region, job) = (region(), JobId::new());
    let acceptance = Acceptance { order, region: &region, job, idempotency: None };
    store.accept_deploy(&acceptance, &pod(&[]), common::job::Until::Created, None).await
}

/// An error and every cause of it.
fn causes(error: &dyn Error) -> String {
    let all = std::iter::successors(Some(error), |&error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn an_exhausted_pool_says_so_in_time() {
    let database = shared_database().await;
    let wait = Duration::from_millis(150);
    let store = database.store_with(|settings| (settings.pool_size, settings.wait_timeout) = (1, wait));
    let order = fresh_order(&store).await;
    let mut beside = database.beside().await;
    let held = lock(&mut beside, &order).await;
    let (accepted, ()) = tokio::join!(accept(&store, &order), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let began = Instant::now();
        let refused = store.ping().await;
        let took = began.elapsed();
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!((wait..LIMIT).contains(&took), "{took:?}");
        held.rollback().await.unwrap();
    });
    assert!(matches!(accepted, Ok(Accepted::Yes(_))), "{accepted:?}");
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_and_changes_nothing() {
    let database = shared_database().await;
    let store = database.store_with(|settings| settings.statement_timeout = Duration::from_millis(100));
    let order = fresh_order(&store).await;
    let mut beside = database.beside().await;
    let held = lock(&mut beside, &order).await;
    let ended = accept(&store, &order).await;
    let Err(error @ StoreError::Timeout(_)) = ended else { panic!("{ended:?}") };
    assert!(AppError::from(error).took_too_long(), "a sweep goes on to the next order");
    held.rollback().await.unwrap();
    assert_eq!(now(&store, &order).await.last_revision, None);
    assert_eq!(deploy(&store, &order).await.sequence.get(), 1);
}

#[tokio::test]
async fn options_of_the_url_are_kept_beside_our_own() {
    let database = shared_database().await;
    let store = database.store_with(|settings| {
        let url = settings.url.expose_secret().to_owned();
        settings.url = format!("{url}&options=-c%20lock_timeout%3D50").into();
        settings.statement_timeout = Duration::from_secs(20);
    });
    let order = fresh_order(&store).await;
    let mut beside = database.beside().await;
    let held = lock(&mut beside, &order).await;
    let ended = accept(&store, &order).await;
    assert!(matches!(ended, Err(StoreError::Statement(_))), "{ended:?}");
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = Store::new(&settings(&format!("postgres://postgres@127.0.0.1:{nobody}/postgres"))).unwrap();
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.migrate().await, Err(StoreError::Unavailable(_))));
    let cluster = cluster::shared().await;
    let store = Store::new(&cluster.settings("no_such_database")).unwrap();
    let refused = store.ping().await.unwrap_err();
    assert!(causes(&refused).contains("does not exist"), "{}", causes(&refused));
}

#[tokio::test]
async fn a_restart_of_the_server_costs_what_was_under_way_and_no_more() {
    let mut cluster = Cluster::start().await;
    let database = cluster.new_database("template0").await;
    let store = Store::new(&cluster.settings(&database)).unwrap();
    store.migrate().await.unwrap();
    let order = order(&store, "one").await;
    // As many connections as the pool may have, of which one is in the middle of a statement.
    for answered in join_all((0..8).map(|_| store.ping())).await {
        answered.unwrap();
    }
    let mut beside = cluster.connect(&database).await;
    let _held = lock(&mut beside, &order).await;
    let (accepted, ()) = tokio::join!(accept(&store, &order), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.restart().await;
    });
    assert!(matches!(accepted, Err(StoreError::Unavailable(_))), "{accepted:?}");
    for answered in join_all((0..8).map(|_| store.ping())).await {
        answered.unwrap();
    }
    assert_eq!(now(&store, &order).await.last_revision, None);
    assert!(matches!(accept(&store, &order).await, Ok(Accepted::Yes(_))));

    store.close();
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn connections_that_were_ended_while_idle_are_not_used() {
    let database = database().await;
    let store = &database.store;
    for answered in join_all((0..8).map(|_| store.ping())).await {
        answered.unwrap();
    }
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                 where datname = current_database() and pid <> pg_backend_pid()";
    assert_eq!(database.number(ended).await, 8);
    // The word of it may come later than the next call.
    let first = store.ping().await;
    assert!(matches!(first, Ok(()) | Err(StoreError::Unavailable(_))), "{first:?}");
    for answered in join_all((0..8).map(|_| store.ping())).await {
        answered.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_left_for_another() {
    let database = database().await;
    let store = &database.store;
    let order = order(store, "one").await;
    let read_only = |how: &str| format!("alter database {} set default_transaction_read_only = {how}", database.name);
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity \
               where datname = current_database() and pid <> pg_backend_pid()";
    database.run(&read_only("on")).await;
    database.run(&format!("set transaction read write; {cut}")).await;
    let _ = store.ping().await;
    let refused = accept(store, &order).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    database.run(&format!("set transaction read write; {}", read_only("off"))).await;
    assert!(matches!(accept(store, &order).await, Ok(Accepted::Yes(_))));
}

/// Leads to the server until it is told to go silent; connections that come later are led again.
struct Way {
    address: SocketAddr,
    silence: watch::Sender<u32>,
}

impl Way {
    async fn to(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (silence, silences) = watch::channel(0);
        let way = Self { address: listener.local_addr().unwrap(), silence };
        let server = cluster.port();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut silences = silences.clone();
                silences.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = silences.changed() => std::future::pending().await,
                    }
                });
            }
        });
        way
    }
}

#[tokio::test]
async fn a_server_that_goes_silent_is_waited_for_no_longer_than_a_statement() {
    let database = shared_database().await;
    let way = Way::to(database.cluster).await;
    let store = database.store_with(|settings| {
        settings.url = format!("postgres://postgres@{}/{}?sslmode=disable", way.address, database.name).into();
        settings.statement_timeout = Duration::from_millis(200);
    });
    let order = fresh_order(&store).await;
    for answered in join_all((0..8).map(|_| store.ping())).await {
        answered.unwrap();
    }
    way.silence.send_modify(|silences| *silences += 1);
    let silent = tokio::time::timeout(LIMIT, store.order(&order)).await.expect("no answer at all");
    assert!(matches!(silent, Err(StoreError::Unavailable(_))), "{silent:?}");
    // The other connections lead to the same silence.
    for answered in join_all((0..8).map(|_| store.ping())).await {
        answered.unwrap();
    }
}

/// A store on the database over TLS; the server's certificate is good for 127.0.0.1 only.
fn over_tls(database: &Database, host: &str, mode: &str, ca_file: &str) -> Store {
    database.store_with(|settings| {
        let port = database.cluster.port();
        settings.url = format!("postgres://postgres@{host}:{port}/{}?sslmode={mode}", database.name).into();
        settings.ca_file = Some(database.cluster.file(ca_file));
    })
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_whose_ca_is_known() {
    let database = database().await;
    let stores = ["disable", "require", "prefer"].map(|mode| (mode, over_tls(&database, "127.0.0.1", mode, "ca.pem")));
    for ((mode, store), encrypted) in stores.iter().zip(0..) {
        order(store, mode).await;
        let connections = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) \
                           where datname = current_database() and application_name = 'vkube-api' and ssl";
        assert_eq!(database.number(connections).await, encrypted, "{mode}");
    }
}

#[tokio::test]
async fn tls_is_not_spoken_with_strangers() {
    let database = shared_database().await;
    for (case, host, mode, ca_file) in [
        ("another CA", "127.0.0.1", "require", "other-ca.pem"),
        ("another CA", "127.0.0.1", "prefer", "other-ca.pem"),
        ("another host", "localhost", "require", "ca.pem"),
    ] {
        let refused = over_tls(database, host, mode, ca_file).ping().await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{case}: {refused:?}");
        assert!(causes(&refused).contains("certificate"), "{case}: {}", causes(&refused));
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told_before_the_first_call() {
    let cluster = cluster::shared().await;
    for (case, url, ca_file) in [
        ("no such file", "postgres://127.0.0.1/x", "none.pem"),
        ("a file without a certificate", "postgres://127.0.0.1/x", "ca.key"),
        ("no URL", "postgres://127.0.0.1:x/x", "ca.pem"),
    ] {
        let settings = PostgresSettings { ca_file: Some(cluster.file(ca_file)), ..settings(url) };
        assert!(matches!(Store::new(&settings), Err(StoreError::Settings(_))), "{case}");
    }
}
