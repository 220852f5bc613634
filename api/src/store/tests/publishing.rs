//! Jobs that the broker may not have.

use common::image::Image;
use common::ingress::Exposure;
use common::job::{self, Change, Delete, JOB_VERSION, Outcome, Run, Target, Until};
use common::name::{ContainerName, JobId, OrderId};
use common::pod::{ConfigFile, Container, ContainerPath, Pod, Port, RegistryLogin, Storage, Variable, VariableName};
use common::port::{PortNumber, Protocol};
use common::sealed::Sealed;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::Store;
use super::super::acceptance::{Acceptance, Accepted};
use super::super::jobs::Job;
use super::cluster::database;
use super::{abort, deploy, deploy_pod, elsewhere, end, failed, order, pod, region, succeed, superseded, try_deploy};

/// The ids of jobs that were left to the relay, in its order.
async fn left(store: &Store, age_seconds: f64, limit: i64) -> Vec<JobId> {
    store.jobs_left(age_seconds, limit).await.unwrap().iter().map(|job| job.id).collect()
}

async fn unheard(store: &Store, age_seconds: f64, limit: i64) -> Vec<JobId> {
    store.jobs_unheard(age_seconds, limit).await.unwrap().iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn jobs_without_mark_or_end_are_left_oldest_first() {
    let database = database().await;
    let store = &database.store;
    let order = order(store, "one").await;
    let (published, ended) = (deploy(store, &order).await, deploy(store, &order).await);
    let (first, second) = (deploy(store, &order).await, abort(store, &order).await);
    assert_eq!(left(store, 0.0, 10).await, [published.id, ended.id, first.id, second.id]);
    store.jobs_published(&[(published.id, 1)]).await.unwrap();
    store.job_ended(&region(), &end(&ended, failed())).await.unwrap();
    assert_eq!(left(store, 0.0, 10).await, [first.id, second.id]);
    assert_eq!(left(store, 0.0, 1).await, [first.id]);
    assert_eq!(left(store, 60.0, 10).await, [], "their requests may still publish them");
    let aged = format!("update jobs set created_at = now() - interval '61 s' where id = '{}'", second.id);
    database.run(&aged).await;
    assert_eq!(left(store, 60.0, 10).await, [second.id]);
    assert_eq!(left(store, 0.0, 10).await, [second.id, first.id]);
    // A mark for a job that has ended, or that nobody knows, is harmless.
    store.jobs_published(&[(ended.id, 1)]).await.unwrap();
    store.jobs_published(&[(JobId::new(), 1)]).await.unwrap();
}

#[tokio::test]
async fn a_region_with_many_jobs_hides_no_other() {
    let store = database().await.store;
    let (one, two) = (order(&store, "one").await, order(&store, "two").await);
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(deploy(&store, &one).await.id);
    }
    let Accepted::Yes(other) = try_deploy(&store, &two, &elsewhere(), &pod(&[]), None).await else { panic!() };
    assert_eq!(left(&store, 0.0, 2).await, [jobs[0], jobs[1], other.id]);
}

#[tokio::test]
async fn jobs_that_the_broker_had_and_that_have_not_ended_are_unheard_until_they_are_found() {
    let database = database().await;
    let store = &database.store;
    let order = order(store, "one").await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(deploy(store, &order).await);
    }
    assert_eq!(unheard(store, 0.0, 10).await, [], "the relay has them as left");
    for job in &jobs {
        store.jobs_published(&[(job.id, 1)]).await.unwrap();
    }
    let [first, second, third, newest] = [0, 1, 2, 3].map(|number: usize| jobs[number].id);
    assert_eq!(unheard(store, 0.0, 10).await, [first, second, third, newest]);
    assert_eq!(unheard(store, 0.0, 2).await, [first, second]);
    assert_eq!(unheard(store, 3600.0, 10).await, []);
    // Found again it comes after those that were not looked for.
    store.jobs_published(&[(first, 7)]).await.unwrap();
    assert_eq!(unheard(store, 0.0, 10).await, [second, third, newest, first]);
    assert_eq!(store.job(&order, first).await.unwrap().unwrap().stream_sequence, Some(7));
    succeed(store, &jobs[1]).await;
    let acceptance = Acceptance { order: &order, region: &region(), job: JobId::new(), idempotency: None };
    assert!(matches!(store.accept_cancel(&acceptance, newest).await.unwrap(), Accepted::Yes(_)));
    assert_eq!(unheard(store, 0.0, 10).await, [third, first], "one has ended, one was cancelled");
    database.run(&format!("update jobs set published_at = now() + interval '1 hour' where id = '{third}'")).await;
    assert_eq!(unheard(store, 60.0, 10).await, [third], "PostgreSQL's clock was set back");
}

#[tokio::test]
async fn a_cancelled_job_that_was_published_is_known_until_its_end() {
    let store = database().await.store;
    let order = order(&store, "one").await;
    let (first, second) = (deploy(&store, &order).await, deploy(&store, &order).await);
    let cancel = async |job: &Job| {
        let acceptance = Acceptance { order: &order, region: &region(), job: JobId::new(), idempotency: None };
        store.accept_cancel(&acceptance, job.id).await.unwrap()
    };
    let cancelled = async |age| -> Vec<_> {
        let all = store.jobs_cancelled(age, 10).await.unwrap();
        all.into_iter().map(|(job, by)| (job.id, by.get())).collect()
    };
    assert!(matches!(cancel(&first).await, Accepted::No), "it is not the newest");
    assert!(matches!(cancel(&second).await, Accepted::Yes(_)));
    assert_eq!(cancelled(0.0).await, [], "the relay has it as left");
    store.jobs_published(&[(first.id, 1), (second.id, 2)]).await.unwrap();
    assert_eq!(cancelled(0.0).await, [(second.id, 3)]);
    assert_eq!(cancelled(60.0).await, [], "its own request may still end it");
    store.job_ended(&region(), &end(&second, superseded())).await.unwrap();
    assert_eq!(cancelled(0.0).await, []);
}

#[tokio::test]
async fn an_end_that_comes_before_the_mark_counts_as_published() {
    let store = database().await.store;
    let order = order(&store, "one").await;
    let job = deploy(&store, &order).await;
    store.job_ended(&region(), &end(&job, Outcome::Succeeded)).await.unwrap();
    assert_eq!(left(&store, 0.0, 10).await, []);
    assert_eq!(unheard(&store, 0.0, 10).await, []);
}

#[tokio::test]
async fn marks_for_the_same_jobs_do_not_hold_each_other_up() {
    let store = database().await.store;
    let mut forth: Vec<(JobId, u64)> = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let order = order(&store, name).await;
        for _ in 0..25 {
            forth.push((deploy(&store, &order).await.id, 1));
        }
    }
    let back: Vec<_> = forth.iter().rev().copied().collect();
    let marks = [&forth, &back].into_iter().cycle().take(80).map(|ids| store.jobs_published(ids));
    for marked in futures::future::join_all(marks).await {
        marked.unwrap();
    }
    assert_eq!(left(&store, 0.0, 100).await, []);
    store.jobs_published(&[]).await.unwrap();
}

#[tokio::test]
async fn a_job_that_cannot_be_read_stops_no_other() {
    let database = database().await;
    let store = &database.store;
    let (one, two) = (order(store, "one").await, order(store, "two").await);
    deploy(store, &one).await;
    let job = deploy_pod(store, &two, &pod(&[80])).await;
    database.run("update revisions set pod = pod || '{\"of a newer version\": 1}' where order_id = 'one'").await;
    assert_eq!(left(store, 0.0, 10).await, [job.id]);
}

#[tokio::test]
async fn a_delete_is_published_as_it_was_accepted() {
    let store = database().await.store;
    let order = order(&store, "one").await;
    succeed(&store, &deploy(&store, &order).await).await;
    let job = abort(&store, &order).await;
    let message = job::Job {
        version: JOB_VERSION,
        id: job.id,
        order,
        region: region(),
        sequence: 2.try_into().unwrap(),
        change: Change::Delete(Delete {}),
    };
    assert_eq!(store.jobs_left(0.0, 10).await.unwrap(), std::slice::from_ref(&message));
    store.jobs_published(&[(job.id, 1)]).await.unwrap();
    assert_eq!(store.jobs_unheard(0.0, 10).await.unwrap()[0].message(None).unwrap(), message);
}

/// Any text that the api lets in: it refuses NUL.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace('\0', ""))
}

fn sealed() -> impl Strategy<Value = Sealed> {
    "[0-9a-f]{16}\\.([A-Za-z0-9+/]{4}){0,8}".prop_map(|text| text.parse().unwrap())
}

fn path() -> impl Strategy<Value = ContainerPath> {
    "(/[ a-zA-Zé\"'\\\\]{1,9}){1,3}".prop_map(|text| ContainerPath::try_from(text).unwrap())
}

fn port() -> impl Strategy<Value = Port> {
    let number = || (1_i64..=65535).prop_map(|number| PortNumber::try_from(number).unwrap());
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    (number(), protocol, prop::option::of(number())).prop_map(|(container_port, protocol, host_port)| Port {
        container_port,
        protocol,
        host_port,
    })
}

fn container() -> impl Strategy<Value = Container> {
    let name = "[a-z]([-a-z0-9]{0,20}[a-z0-9])?".prop_map(|text| text.parse::<ContainerName>().unwrap());
    let image =
        "([a-z]{1,9}\\.io/)?[a-z]{1,9}(/[a-z]{1,9})?(:[a-z0-9]{1,9})?".prop_map(|text| text.parse::<Image>().unwrap());
    let memory = (1_u32..1 << 20).prop_map(|number| format!("{number}Mi").parse().unwrap());
    let variable = ("[_a-zA-Z][-._a-zA-Z0-9]{0,9}", sealed())
        .prop_map(|(name, value)| Variable { name: VariableName::try_from(name).unwrap(), value });
    let config = (path(), text()).prop_map(|(path, content)| ConfigFile { path, content });
    let login = (text(), sealed()).prop_map(|(username, password)| RegistryLogin { username, password });
    let lists = (prop::collection::vec(port(), 0..4), prop::collection::vec(variable, 0..4));
    let lines = || prop::collection::vec(text(), 0..4);
    let options = (prop::option::of(path()), prop::option::of(config), prop::option::of(login));
    (name, image, memory, lists, lines(), lines(), options).prop_map(
        |(name, image, memory, (ports, environment), command, args, (mount_path, config, login))| Container {
            name,
            image,
            memory,
            ports,
            environment,
            command,
            args,
            mount_path,
            config,
            login,
        },
    )
}

fn pods() -> impl Strategy<Value = Pod> {
    let storage = prop_oneof![Just(Storage::None), Just(Storage::Persistent)];
    (1_u32..=1000, storage, prop::collection::vec(container(), 1..4)).prop_map(|(units, storage, containers)| Pod {
        units: units.try_into().unwrap(),
        storage,
        containers,
    })
}

#[test]
fn what_the_relay_publishes_is_what_was_accepted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (store, order) = runtime.block_on(async {
        let store = database().await.store;
        let order: OrderId = order(&store, "one").await;
        (store, order)
    });
    let untils = prop_oneof![Just(Until::Created), Just(Until::Available)];
    let cases = Config { cases: 64, ..Config::default() };
    let round_trip = TestRunner::new(cases).run(&(pods(), untils), |(pod, until)| {
        runtime.block_on(async {
            let acceptance = Acceptance { order: &order, region: &region(), job: JobId::new(), idempotency: None };
            let accepted = store.accept_deploy(&acceptance, &pod, until, None).await.unwrap();
            let Accepted::Yes(job) = accepted else { panic!("{accepted:?}") };
            let message = job::Job {
                version: JOB_VERSION,
                id: acceptance.job,
                order: order.clone(),
                region: region(),
                sequence: job.sequence,
                change: Change::Deploy(Target {
                    revision: job.revision.unwrap(),
                    until,
                    pod,
                    run: Run::Running,
                    pod_job: None,
                    exposure: Exposure::Never,
                }),
            };
            prop_assert_eq!(store.jobs_left(0.0, 10).await.unwrap(), [message]);
            succeed(&store, &job).await;
            Ok(())
        })
    });
    round_trip.unwrap();
}
