//! How many statements each call is, and that indexes serve them.

use common::job::{JobStarted, Outcome, Run, Until, Verb};
use common::name::JobId;

use super::super::acceptance::Acceptance;
use super::super::history::Word;
use super::super::life::Due;
use super::super::orders::{Created, Filter, KeyUse, NewOrder, ServiceStatus};
use super::super::target::{Patch, Step};
use super::super::{Store, StoreError};
use super::cluster::{Database, database};
use super::{at, deploy, digest, end, failed, id, order, pod, purchase, region, value, word};

/// The statements that the server was asked by the database's clients.
fn statements(database: &Database) -> Vec<String> {
    let log = database.log().into_iter();
    log.filter(|line| line.starts_with("LOG:  execute ") || line.starts_with("LOG:  statement: ")).collect()
}

/// Fails unless a call costs so many statements, the first time on a connection and the second.
macro_rules! assert_costs {
    ($database:expr, $count:expr, $call:expr) => {
        for _ in 0..2 {
            let before = statements(&$database).len();
            let _ = $call.await.unwrap();
            let all = statements(&$database);
            assert_eq!(all.len() - before, $count, "{}: {:#?}", stringify!($call), &all[before..]);
        }
    };
}

/// A store whose every statement the server's log shows.
async fn logged(database: &Database) -> Store {
    database.run(&format!("alter database {} set log_statement = 'all'", database.name)).await;
    database.store_with(|settings| settings.pool_size = 1)
}

#[tokio::test]
async fn every_call_is_one_statement_unless_it_waits_its_turn() {
    let database = database().await;
    let store = logged(&database).await;
    let one = order(&database.store, "one").await;
    let job = deploy(&database.store, &one).await;
    let here = region();

    assert_costs!(database, 1, store.ping());
    assert_costs!(database, 1, store.order_by_secret(&digest("one").into(), None));
    assert_costs!(database, 1, store.order_by_secret(&digest("one").into(), Some("key")));
    assert_costs!(database, 1, store.order_by_secret(&digest("nobody").into(), Some("key")));
    assert_costs!(database, 1, store.order(&one));
    assert_costs!(database, 1, store.orders(&Filter::default(), 10));
    let all = || Filter {
        region: Some(region()),
        email: Some(String::new()),
        status: Some(ServiceStatus::Done),
        after: Some((at(0), id("one"))),
    };
    assert_costs!(database, 1, store.orders(&all(), 10));
    assert_costs!(database, 1, store.pod(&one, 1.try_into().unwrap()));
    assert_costs!(database, 1, store.revisions(&one, 10));
    assert_costs!(database, 1, store.job(&one, job.id));
    assert_costs!(database, 1, store.job_by_key(&one, "key"));
    assert_costs!(database, 1, store.jobs(&one, None, 10));
    assert_costs!(database, 1, store.queue(&job));
    assert_costs!(database, 1, store.set_description(&one, "shop", &word()));
    assert_costs!(database, 1, store.set_label(&one, "shop", &word()));
    assert_costs!(database, 1, store.holdings(&here, &one));
    assert_costs!(database, 1, store.orders_with_ports());
    assert_costs!(database, 1, store.jobs_left(0.0, 10));
    assert_costs!(database, 1, store.jobs_unheard(0.0, 10));
    assert_costs!(database, 1, store.jobs_cancelled(0.0, 10));
    assert_costs!(database, 1, store.forget_old_keys());
    let notice = JobStarted { id: job.id, attempts: 1, started_at: at(0) };
    assert_costs!(database, 1, store.job_started(&notice));
    assert_costs!(database, 1, store.jobs_published(&[(job.id, 1)]));
    let result = end(&job, failed());
    // With the begin and the end of its transaction.
    assert_costs!(database, 4, store.job_ended(&here, &result));
    assert_costs!(database, 1, store.abort_unplaced(&one, &word()));

    assert_costs!(database, 1, store.extend_order(&one, 1, 1000, &word()));
    assert_costs!(database, 1, store.replace_secret(&one, &digest("new").into(), 60, &word()));
    assert_costs!(database, 1, store.history(&one, 10));
    assert_costs!(database, 1, store.done_by_key(&one, "anna", "key"));
    assert_costs!(database, 1, store.made_by_key("anna", "key"));
    assert_costs!(database, 1, store.approve_deletes(&here, 60.0, &word()));
    assert_costs!(database, 1, store.approved_by_key(&here, "key"));
    assert_costs!(database, 2, store.forget_old_operator_keys());
    assert_costs!(database, 1, store.warn_of_ends(60.0));
    for due in [Due::Stop, Due::Start, Due::DeleteAgain, Due::ApprovedDelete] {
        assert_costs!(database, 1, store.take_steps(due, 60.0));
    }
    assert_costs!(database, 1, store.accept_deletes(&here, 60.0));
    assert_costs!(database, 1, store.deletes_held(60.0));
    assert_costs!(database, 1, store.queues());
    assert_costs!(database, 1, store.regions_in_use());
}

#[tokio::test]
async fn making_and_accepting_are_one_statement() {
    let database = database().await;
    let store = logged(&database).await;
    let (one, here, nothing) = (order(&database.store, "one").await, region(), pod(&[80]));
    let request = digest("request");
    let acceptance =
        || Acceptance { order: &one, region: &here, job: JobId::new(), idempotency: Some(("key", &request)) };
    // Accepted, then refused for its key.
    assert_costs!(database, 1, store.accept_deploy(&acceptance(), &nothing, Until::Created, None));
    let keyless = || Acceptance { idempotency: None, ..acceptance() };
    assert_costs!(database, 1, store.accept_deploy(&keyless(), &nothing, Until::Created, None));
    let stop = || Step { patch: Patch { run: Some(Run::Stopped), ..Patch::default() }, ..Step::default() };
    assert_costs!(database, 1, store.accept_step(&keyless(), Verb::Stop, Until::Created, stop()));
    // It waits its turn: with the begin and the end of its transaction.
    assert_costs!(database, 4, store.accept_cancel(&keyless(), JobId::new()));
    assert_costs!(database, 1, store.accept_abort(&keyless(), &word()));
    assert_costs!(database, 1, store.accept_deploy(&keyless(), &nothing, Until::Created, None));

    let (two, purchase) = (id("two"), purchase());
    let secret = digest("two");
    let new = NewOrder {
        id: &two,
        purchase: &purchase,
        secret_digest: &secret.into(),
        request_digest: &request.into(),
        made_by: "tests",
        idempotency_key: Some("key"),
    };
    let before = statements(&database).len();
    assert!(matches!(store.create_order(&new).await.unwrap(), Created::New(_)));
    assert_eq!(statements(&database).len() - before, 1);
    assert_costs!(database, 2, store.create_order(&new));
}

/// Ten thousand orders with two jobs each, of which few have not ended.
async fn crowd(database: &Database) {
    let sql = "insert into orders (id, secret_digest, request_digest, made_by, units, port_specification, storage, \
             region, duration_hours, amount, email, address, recipient, provider, service, service_id, \
             service_category_id, public_key, created_at, last_sequence, last_revision, deployed_sequence, \
             deployed, activated_at, ends_at) \
         select 'order-' || n, sha256(n::text::bytea), '', 'crowd', 1, 'user', false, 'ausrine', 1, 0, \
             n % 5000 || '@example.com', '', '', '', '', '', '', '', now() - n * interval '1 s', 2, 2, 1, \
             jsonb_build_object('revision', 1, 'run', 'running', 'pod_job', gen_random_uuid()), now(), \
             now() + interval '1 h' \
         from generate_series(1, 10000) n; \
         insert into revisions (order_id, revision, pod) \
         select 'order-' || n, r, 'POD' from generate_series(1, 10000) n, generate_series(1, 2) r; \
         insert into jobs (id, order_id, region, sequence, verb, revision, until, target, state, idempotency_key, \
             created_at, published_at, finished_at) \
         select gen_random_uuid(), 'order-' || n, 'ausrine', r, 'deploy', r, 'created', \
             jsonb_build_object('revision', r, 'run', 'running', 'pod_job', gen_random_uuid()), 'succeeded', \
             case when n % 10 = 0 then 'key-' || r end, now() - interval '1 h', \
             case when n % 500 > 0 or r = 1 then now() end, case when n % 500 > 2 or r = 1 then now() end \
         from generate_series(1, 10000) n, generate_series(1, 2) r; \
         insert into history (order_id, actor, event, idempotency_key, request_digest) \
         select 'order-' || n, 'crowd', e, case when n % 10 = 0 then 'key-' || n end, '' \
         from generate_series(1, 10000) n, unnest(array['created', 'extended']) e; \
         analyze";
    database.run(&sql.replace("POD", &value(&pod(&[80])).to_string())).await;
}

/// A store whose every plan the server's log shows.
async fn explained(database: &Database) -> Store {
    // The plan that stays when a statement has been run often.
    let settings = [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "plan_cache_mode = force_generic_plan",
    ];
    database.run(&settings.map(|setting| format!("alter database {} set {setting};", database.name)).concat()).await;
    database.store_with(|settings| settings.pool_size = 1)
}

/// Fails where a call reads a whole table, or many rows to throw them away.
macro_rules! assert_frugal {
    ($database:expr, $call:expr) => {
        let before = $database.log().len();
        let _ = $call.await.unwrap();
        let plans = $database.log()[before..].join("\n");
        assert!(plans.contains("Query Text"), "{} has no plan:\n{plans}", stringify!($call));
        let removed = plans.lines().filter_map(|line| line.trim().strip_prefix("Rows Removed by Filter: "));
        let removed: u64 = removed.map(|number| number.parse::<u64>().unwrap()).sum();
        let whole = ["orders", "jobs", "revisions", "history"]
            .iter()
            .any(|table| plans.contains(&format!("Seq Scan on {table}")));
        assert!(!whole && removed < 200, "{}:\n{plans}", stringify!($call));
    };
}

#[tokio::test]
async fn no_call_on_the_way_of_a_request_reads_a_whole_table() {
    let database = database().await;
    crowd(&database).await;
    let store = explained(&database).await;
    let secret = digest("5000");
    let (order, here) = (id("order-5000"), region());

    let (found, used) = store.order_by_secret(&secret.into(), Some("key-1")).await.unwrap().unwrap();
    let Some(KeyUse::Job(job)) = used else { panic!("{used:?}") };
    assert_eq!((&found.id, job.sequence.get()), (&order, 1));
    assert_frugal!(database, store.order_by_secret(&secret.into(), Some("key-1")));
    assert_frugal!(database, store.order_by_secret(&secret.into(), None));
    assert_frugal!(database, store.order(&order));
    let job = store.job_by_key(&order, "key-1").await.unwrap().unwrap();
    assert_frugal!(database, store.job(&order, job.id));
    assert_frugal!(database, store.job_by_key(&order, "key-1"));
    assert_frugal!(database, store.jobs(&order, None, 50));
    assert_frugal!(database, store.revisions(&order, 50));
    assert_frugal!(database, store.holdings(&region(), &order));

    assert_frugal!(database, store.orders(&Filter::default(), 100));
    let after = || Some((found.created_at, found.id.clone()));
    assert_frugal!(database, store.orders(&Filter { after: after(), ..Filter::default() }, 100));
    let region = || Filter { region: Some(region()), after: after(), ..Filter::default() };
    assert_frugal!(database, store.orders(&region(), 100));
    let email = || Filter { email: Some("17@example.com".to_owned()), ..Filter::default() };
    assert_eq!(store.orders(&email(), 100).await.unwrap().items.len(), 2);
    assert_frugal!(database, store.orders(&email(), 100));
    assert_frugal!(database, store.orders(&Filter { email: Some("nobody".to_owned()), ..Filter::default() }, 100));

    let keyed = Acceptance { order: &order, region: &here, job: JobId::new(), idempotency: Some(("new", &secret)) };
    assert_frugal!(database, store.accept_deploy(&keyed, &pod(&[]), Until::Created, None));
    let accepted = store.job(&order, keyed.job).await.unwrap().unwrap();
    let notice = JobStarted { id: keyed.job, attempts: 1, started_at: at(0) };
    assert_frugal!(database, store.job_started(&notice));
    assert_frugal!(database, store.queue(&job));
    assert_frugal!(database, store.jobs_published(&[(keyed.job, 1)]));
    assert_frugal!(database, store.job_ended(&here, &end(&accepted, Outcome::Succeeded)));
    let deleting = Acceptance { job: JobId::new(), idempotency: None, ..keyed };
    assert_frugal!(database, store.accept_abort(&deleting, &word()));
    assert_frugal!(database, store.abort_unplaced(&order, &word()));

    assert_eq!(store.jobs_left(60.0, 100).await.unwrap().len(), 20);
    assert_eq!(store.jobs_unheard(0.0, 100).await.unwrap().len(), 40);
    assert_frugal!(database, store.jobs_left(60.0, 100));
    assert_frugal!(database, store.jobs_unheard(0.0, 100));
    assert_frugal!(database, store.jobs_cancelled(60.0, 100));
    assert_frugal!(database, store.forget_old_keys());
}

#[tokio::test]
async fn neither_an_operator_nor_an_order_at_its_end_has_a_whole_table_read() {
    let database = database().await;
    crowd(&database).await;
    // Of the orders, three days' worth have stopped at their end, twenty are to stop and twenty to be deleted.
    let lives = "update orders set target = deployed, target_sequence = 1; \
         update orders o set ends_at = now() - interval '1 s' * n, activated_at = now() - interval '9 days', \
             target = case when n < 20 then target else target || '{\"run\": \"stopped\", \"stopped_by\": \"end\"}' end \
         from generate_series(1, 3000) n where o.id = 'order-' || n; \
         update orders set ends_at = now() - interval '2 days' where id like 'order-29_0'; \
         update orders set target = target || '{\"run\": \"stopped\", \"stopped_by\": \"end\"}' where id like 'order-999_'; \
         update orders set deleted_at = now() where id like 'order-49__'; \
         update orders set target = null where id like 'order-49__' and id not like 'order-4990'; \
         analyze";
    database.run(lives).await;
    let store = explained(&database).await;
    let (order, here, day) = (id("order-5000"), region(), 86_400.0);

    assert_frugal!(database, store.history(&order, 50));
    assert_frugal!(database, store.done_by_key(&order, "anna", "key-5000"));
    assert_frugal!(database, store.made_by_key("crowd", "key-5000"));
    let request = digest("request");
    let keyed = Word { idempotency: Some(("new", &request)), ..word() };
    assert_frugal!(database, store.extend_order(&order, 1, 1000, &keyed));
    assert_frugal!(database, store.replace_secret(&order, &digest("new").into(), 60, &word()));
    let opened = store.order_by_secret(&digest("5000").into(), None).await.unwrap();
    assert!(opened.is_some(), "the old one");
    assert_frugal!(database, store.order_by_secret(&digest("5000").into(), None));
    assert_frugal!(database, store.order_by_secret(&digest("nobody").into(), None));

    assert_eq!(store.deletes_held(day).await.unwrap(), [(region(), 10)]);
    assert_frugal!(database, store.deletes_held(day));
    assert_frugal!(database, store.warn_of_ends(60.0));
    for (due, count) in [(Due::Stop, 19), (Due::Start, 10), (Due::DeleteAgain, 1), (Due::ApprovedDelete, 0)] {
        assert_frugal!(database, async {
            assert_eq!(store.take_steps(due, day).await?.len(), count, "{due:?}");
            Ok::<_, StoreError>(())
        });
    }
    // It counts the orders of the region, and is asked only when one of them is to be deleted.
    assert_eq!(store.accept_deletes(&here, day).await.unwrap().len(), 10);
    assert_frugal!(database, store.queues());
    assert_frugal!(database, store.regions_in_use());
    assert_frugal!(database, store.forget_old_operator_keys());
}

#[tokio::test]
async fn a_list_of_a_rare_region_or_status_reads_no_others_orders() {
    let database = database().await;
    crowd(&database).await;
    // Everybody runs, but for five of each other kind, which are the oldest; others are over and stopped too.
    let kinds = "update orders set aborted_at = now() where id like 'order-990_' and id < 'order-9905'; \
         update orders set deleted_at = now() where id like 'order-991_' and id < 'order-9915'; \
         update orders set ends_at = null where id like 'order-992_' and id < 'order-9925'; \
         update orders set deployed = deployed || '{\"run\": \"stopped\"}' where id like 'order-993_' and id < 'order-9935'; \
         update orders set region = 'rare' where id like 'order-994_' and id < 'order-9945'; \
         update orders set deployed = deployed || '{\"run\": \"stopped\"}', ends_at = now() - interval '1 h' \
         where id like 'order-3___'; \
         analyze";
    database.run(kinds).await;
    let store = explained(&database).await;
    let of = |status| Filter { status: Some(status), ..Filter::default() };
    let rare = || Filter { region: Some("rare".parse().unwrap()), ..Filter::default() };
    for (status, count) in [
        (ServiceStatus::Abort, 5),
        (ServiceStatus::Pending, 5),
        (ServiceStatus::Stop, 5),
        (ServiceStatus::Running, 100),
        (ServiceStatus::Done, 100),
    ] {
        assert_eq!(store.orders(&of(status), 100).await.unwrap().items.len(), count, "{status:?}");
        assert_frugal!(database, store.orders(&of(status), 100));
        assert_frugal!(database, store.orders(&Filter { status: Some(status), ..rare() }, 100));
    }
    assert_eq!(store.orders(&rare(), 100).await.unwrap().items.len(), 5);
    assert_frugal!(database, store.orders(&rare(), 100));

    // Nobody is over who was not deleted, and nobody runs any more.
    database.run("update orders set ends_at = now() + interval '1 h' where ends_at < now(); analyze").await;
    assert_eq!(store.orders(&of(ServiceStatus::Done), 100).await.unwrap().items.len(), 5);
    assert_frugal!(database, store.orders(&of(ServiceStatus::Done), 100));
    database.run("update orders set deployed = deployed || '{\"run\": \"stopped\"}'; analyze").await;
    assert_eq!(store.orders(&of(ServiceStatus::Running), 100).await.unwrap().items.len(), 0);
    assert_frugal!(database, store.orders(&of(ServiceStatus::Running), 100));
}
