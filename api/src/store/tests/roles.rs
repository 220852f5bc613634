//! The role that uses the schema may do what the product does, and no more; the one that owns it migrates.

use std::collections::BTreeSet;

use tokio_postgres::error::SqlState;

use super::super::roles::RIGHTS;
use super::super::{PostgresSettings, Store, StoreError};
use super::cluster::{self, database};

#[tokio::test]
async fn a_role_that_uses_the_schema_has_the_rights_of_the_list_and_no_more() {
    let database = database().await;
    let sql = "select c.relname::text, lower(a.privilege_type) from pg_class c, aclexplode(c.relacl) a \
         where c.relnamespace = 'public'::regnamespace and a.grantee = 'vkube'::regrole \
         union select c.relname::text, format('%s (%s)', lower(a.privilege_type), string_agg(f.attname, ', ' order by f.attname)) \
         from pg_class c join pg_attribute f on f.attrelid = c.oid, aclexplode(f.attacl) a \
         where c.relnamespace = 'public'::regnamespace and a.grantee = 'vkube'::regrole \
         group by c.relname, a.privilege_type \
         order by 1, 2";
    let rows = database.beside().await.query(sql, &[]).await.unwrap();
    let granted: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let listed = RIGHTS.iter().flat_map(|(table, rights)| rights.iter().map(move |right| (table, right)));
    let listed: Vec<(String, String)> =
        listed.map(|(table, right)| ((*table).to_owned(), (*right).to_owned())).collect();
    assert_eq!(granted, listed);

    let tables = "select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace";
    let tables: BTreeSet<String> =
        database.beside().await.query(tables, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(tables, RIGHTS.iter().map(|(table, _)| (*table).to_owned()).collect(), "every table is in the list");
}

#[tokio::test]
async fn a_role_that_uses_the_schema_can_change_nothing_else() {
    let database = database().await;
    let store = database.store_with(|_| {});
    for attempt in [
        "create table mine ()",
        "create function mine() returns int language sql as 'select 1'",
        "create schema mine",
        "create temporary table orders ()",
        "alter table orders add column mine int",
        "drop table history",
        "truncate history",
        "delete from orders",
        "delete from jobs",
        "delete from revisions",
        "update revisions set pod = '{}'",
        "delete from history",
        "update history set actor = 'nobody'",
        "update approvals set orders = 0",
        "update refinery_schema_history set version = 0",
        "create trigger mine before insert on orders for each row execute function suppress_redundant_updates_trigger()",
        "set role vkube_owner",
        "create role mine",
        "alter role vkube superuser",
        "copy orders to program 'true'",
        "select pg_read_file('PG_VERSION')",
        "select passwd from pg_shadow",
        "alter system set log_statement = 'all'",
    ] {
        let refused = store.execute(attempt, &[]).await;
        let code = match &refused {
            Err(StoreError::Statement(error)) => error.code(),
            _ => None,
        };
        let refusals = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_PARAMETER_VALUE];
        assert!(code.is_some_and(|code| refusals.contains(code)), "{attempt}: {refused:?}");
    }
}

#[tokio::test]
async fn without_its_owner_the_schema_is_used_if_it_is_this_programs_and_else_refused() {
    let cluster = cluster::shared().await;
    let name = cluster.new_database("template0").await;
    let settings = cluster.settings(&name);
    let store = |settings: &PostgresSettings| Store::new(settings).unwrap();
    let user = store(&PostgresSettings { owner_url: None, ..settings.clone() });
    let refused = user.migrate().await;
    assert!(matches!(refused, Err(StoreError::Schema { found: 0, needed }) if needed > 0), "{refused:?}");

    store(&settings).migrate().await.unwrap();
    user.migrate().await.unwrap();

    let beside = cluster.connect(&name).await;
    beside.batch_execute("delete from refinery_schema_history where version > 3").await.unwrap();
    let refused = user.migrate().await;
    assert!(matches!(refused, Err(StoreError::Schema { found: 3, .. })), "{refused:?}");
}

#[tokio::test]
async fn one_role_for_both_keeps_its_rights() {
    let cluster = cluster::shared().await;
    let settings = cluster.settings(&cluster.new_database("template0").await);
    let owner = settings.owner_url.clone().unwrap();
    for owner_url in [None, Some(owner.clone())] {
        let store = Store::new(&PostgresSettings { url: owner.clone(), owner_url, ..settings.clone() }).unwrap();
        store.migrate().await.unwrap();
        store.execute("delete from history", &[]).await.unwrap();
    }
}
