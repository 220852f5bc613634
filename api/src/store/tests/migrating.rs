//! The schema is brought up to date once, however many instances do it.

use super::super::Store;
use super::cluster;

#[tokio::test]
async fn instances_that_start_at_once_migrate_an_empty_database_once() {
    let cluster = cluster::shared().await;
    let name = cluster.new_database("template0").await;
    let store = || Store::new(&cluster.settings(&name)).unwrap();
    let stores: Vec<Store> = (0..8).map(|_| store()).collect();
    let ran = futures::future::join_all(stores.iter().map(Store::migrate)).await;
    for outcome in ran {
        outcome.unwrap();
    }
    let beside = cluster.connect(&name).await;
    let applied = "select version, applied_on from refinery_schema_history order by version";
    let applied = async || -> Vec<(i32, String)> {
        let rows = beside.query(applied, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let first = applied().await;
    let versions: Vec<i32> = first.iter().map(|(version, _)| *version).collect();
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let number = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        name.strip_prefix('V').unwrap().split_once("__").unwrap().0.parse::<i32>().unwrap()
    };
    let mut files: Vec<i32> = files.map(|file| number(file.unwrap())).collect();
    files.sort_unstable();
    assert_eq!(versions, files);

    // Again, and by an instance that starts later: nothing happens.
    stores[0].migrate().await.unwrap();
    store().migrate().await.unwrap();
    assert_eq!(applied().await, first);
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nobody_waiting() {
    let cluster = cluster::shared().await;
    let name = cluster.new_database("template0").await;
    let store = Store::new(&cluster.settings(&name)).unwrap();
    let beside = cluster.connect(&name).await;
    beside.batch_execute("create table jobs ()").await.unwrap();
    assert!(matches!(store.migrate().await, Err(super::super::StoreError::Migration(_))));

    beside.batch_execute("drop table jobs").await.unwrap();
    store.migrate().await.unwrap();
    let another = Store::new(&cluster.settings(&name)).unwrap();
    another.migrate().await.unwrap();
}
