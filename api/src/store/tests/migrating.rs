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

#[tokio::test]
async fn stops_and_cancels_of_before_are_told_as_they_are_now() {
    let cluster = cluster::shared().await;
    let beside = cluster.connect(&cluster.new_database("template0").await).await;
    let migration = |number: i32| {
        let mut files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
        let file = files.find_map(|file| {
            let file = file.unwrap();
            file.file_name().to_str().unwrap().starts_with(&format!("V{number}__")).then(|| file.path())
        });
        std::fs::read_to_string(file.unwrap()).unwrap()
    };
    for number in 1..=12 {
        beside.batch_execute(&migration(number)).await.unwrap();
    }
    // Of each order the second job stopped it, one by its end; of the third order the first job is cancelled.
    let before = "insert into orders (id, secret_digest, request_digest, made_by, units, port_specification, storage, \
             duration_hours, amount, email, address, recipient, provider, service, service_id, service_category_id, \
             public_key, last_sequence, target, target_sequence, deployed, deployed_sequence, end_sequence) \
         select o, sha256(o::bytea), '', 'tests', 1, 'user', false, 1, 0, '', '', '', '', '', '', '', '', 2, \
             '{\"run\": \"stopped\"}', 2, '{\"run\": \"stopped\"}', 2, case o when 'by-end' then 2 end \
         from unnest(array['by-end', 'by-customer', 'cancelled']) o; \
         insert into jobs (id, order_id, region, sequence, verb, target) \
         select gen_random_uuid(), 'cancelled', 'ausrine', n, v, '{}' \
         from (values (1, 'stop'), (2, 'cancel'), (3, 'stop')) as jobs (n, v)";
    beside.batch_execute(before).await.unwrap();
    beside.batch_execute(&migration(13)).await.unwrap();
    let texts = async |sql: &str| -> Vec<String> {
        beside.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(texts("select id from orders where target ->> 'stopped_by' = 'end'").await, ["by-end"]);
    assert_eq!(texts("select id from orders where deployed ->> 'stopped_by' = 'end'").await, ["by-end"]);
    assert_eq!(texts("select sequence::text from jobs where cancelled_at is not null").await, ["1"]);
}
