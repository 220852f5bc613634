//! The server goes away, comes back, or comes back without what it had.

use super::super::Stale;
use super::*;

/// Counts the consumers of the ledger's stream.
async fn watchers(worker: &jetstream::Context) -> usize {
    let Ok(stream) = worker.get_stream(stream::bucket_stream(stream::HOSTPORTS)).await else { return 0 };
    stream.cached_info().state.consumer_count
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_answers_and_queues_survive_a_restart_of_the_server() {
    let (mut server, first) = start().await;
    let second = connect(&server).await;
    first.publish_job(&job(), true).await.unwrap();
    let _ = first.ledger.reserve(&region(), &order("one"), JobId::new(), &tcps([1])).await.unwrap();
    for round in 2..4 {
        server.restart().await;
        until("the bus is ready", async || first.health().is_ready() && second.health().is_ready()).await;
        until("a port is reserved", async || {
            first.ledger.reserve(&region(), &order("one"), JobId::new(), &tcps([round])).await.is_ok()
        })
        .await;
        until("the other instance hears of it", async || {
            second.ledger.held_by(&region(), &order("one")).len() == usize::try_from(round).unwrap()
        })
        .await;
    }
    // READS was in memory: it is there again.
    let worker = outside(&server).await;
    until("reads are taken", async || worker.get_stream(stream::reads_name(&region())).await.is_ok()).await;
    let job = job();
    let mut waiter = first.expect_progress(job.id);
    first.publish_job(&job, true).await.unwrap();
    let progress = common::job::Progress::Ended(succeeded(job.id));
    let inbox = first.inner.answers.inbox(job.id);
    worker.client().publish(inbox, serde_json::to_vec(&progress).unwrap().into()).await.unwrap();
    assert!(waiter.ended(LIMIT).await.is_some());
    // Two instances watch; what they abandoned is gone.
    until("no consumer is left over", async || watchers(&worker).await == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_store_is_made_anew_and_asked_nothing_until_it_is_rebuilt() {
    let (mut server, bus) = start().await;
    bus.publish_job(&job(), true).await.unwrap();
    let _ = bus.ledger.reserve(&region(), &order("one"), JobId::new(), &tcps([1, 2])).await.unwrap();
    server.wipe().await;
    until("the loss is known", async || !bus.ledger.is_complete()).await;
    assert_eq!(bus.ledger.occupied(&region(), &[tcp(1)], None), Err(Stale::Incomplete));
    assert!(bus.ledger.held_by(&region(), &order("one")).is_empty());

    let view = bus.ledger.view(&region(), &order("one"));
    let desired = super::super::Desired { bound: Some((1.try_into().unwrap(), tcps([1, 2]))), ..Default::default() };
    assert_eq!(bus.ledger.settle(&view, &desired).await.unwrap(), super::super::Settled::Done);
    bus.ledger.complete().await.unwrap();
    bus.ledger.clear(bus.ledger.doubt().unwrap());
    assert_eq!(bus.ledger.occupied(&region(), &[tcp(1), tcp(3)], None), Ok(vec![tcp(1)]));
    bus.publish_job(&job(), true).await.unwrap();
    until("all is ready", async || bus.health().is_ready()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_set_back_to_an_older_copy_is_asked_nothing_until_it_was_compared() {
    let (mut server, bus) = start().await;
    let bound = async |numbers| {
        let view = bus.ledger.view(&region(), &order("one"));
        let desired =
            super::super::Desired { bound: Some((1.try_into().unwrap(), tcps(numbers))), ..Default::default() };
        until("it is settled", async || bus.ledger.settle(&view, &desired).await.is_ok()).await;
    };
    bound([1, 2]).await;
    server.save().await;
    until("it is believed", async || bus.ledger.occupied(&region(), &[tcp(2)], None) == Ok(vec![tcp(2)])).await;
    assert_eq!(bus.ledger.doubt(), None, "a restart is no reason for doubt");
    bound([1, 3]).await;
    server.go_back().await;
    until("it is doubted", async || bus.ledger.doubt().is_some()).await;
    let doubt = bus.ledger.doubt().unwrap();
    assert!(bus.ledger.is_set_back(doubt) && bus.ledger.is_complete());
    assert_eq!(bus.ledger.occupied(&region(), &[tcp(1)], None), Err(Stale::Incomplete));
    assert_eq!(bus.ledger.bound(), [((region(), order("one")), tcps([1, 2]))].into());
    bound([1, 3]).await;
    bus.ledger.clear(doubt);
    until("it is believed again", async || bus.ledger.occupied(&region(), &[tcp(3)], None) == Ok(vec![tcp(3)])).await;
}

/// A mirror of the bucket that was lost says nothing about the one that is there.
#[tokio::test]
async fn a_ledger_lost_while_it_was_rebuilt_is_not_called_complete() {
    let server = NatsServer::start().await;
    let bus = connect(&server).await;
    let desired = super::super::Desired { bound: Some((1.try_into().unwrap(), tcps([1]))), ..Default::default() };
    let view = bus.ledger.view(&region(), &order("one"));
    assert_eq!(bus.ledger.settle(&view, &desired).await.unwrap(), super::super::Settled::Done);
    let worker = outside(&server).await;
    worker.delete_stream(stream::bucket_stream(stream::HOSTPORTS)).await.unwrap();
    worker.create_stream(stream::hostports(stream::StreamSettings { replicas: 1 })).await.unwrap();
    assert!(matches!(bus.ledger.complete().await, Err(super::super::BusError::Busy)));
    assert!(!bus.ledger.is_complete());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_deleted_under_a_living_connection_is_noticed_and_made_again() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    let _ = bus.ledger.reserve(&region(), &order("one"), JobId::new(), &tcps([1])).await.unwrap();
    worker.delete_stream(stream::bucket_stream(stream::HOSTPORTS)).await.unwrap();
    until("the loss is known", async || bus.ledger.occupied(&region(), &[tcp(1)], None).is_err()).await;
    until("the bucket is there", async || watchers(&worker).await == 1).await;
    until("it is mirrored", async || bus.ledger.occupied(&region(), &[tcp(1)], None) == Err(Stale::Incomplete)).await;
    bus.ledger.complete().await.unwrap();
    bus.ledger.clear(bus.ledger.doubt().unwrap());
    let _ = bus.ledger.reserve(&region(), &order("two"), JobId::new(), &tcps([1])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_handled_again_after_a_restart_and_after_a_loss() {
    let (mut server, bus) = start().await;
    let (sender, mut ended_jobs) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |ended: super::super::Ended| {
        let sent = sender.send(ended.result.id);
        async move { sent.map_err(std::io::Error::other) }
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(bus.results().run(handler, shutdown.clone()));
    for outage in ["none", "restart", "restart", "wipe", "deleted"] {
        match outage {
            "restart" => server.restart().await,
            "wipe" => server.wipe().await,
            "deleted" => drop(outside(&server).await.delete_stream(stream::RESULTS).await.unwrap()),
            _ => {}
        }
        let job = JobId::new();
        let worker = outside(&server).await;
        until("the result is taken", async || publish_result(&worker, &succeeded(job)).await.is_ok()).await;
        let heard = async { while ended_jobs.recv().await != Some(job) {} };
        // Where nothing was lost, the results that come first after the outage go on record at once.
        let within = if ["none", "restart"].contains(&outage) { Duration::from_secs(5) } else { LIMIT };
        assert!(time::timeout(within, heard).await.is_ok(), "{outage}: the result was not handled");
    }
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_bus_that_is_drained_ends_all_its_tasks_and_its_connection() {
    let server = NatsServer::start().await;
    let tasks = TaskTracker::new();
    let bus =
        Bus::connect(&settings(&server), Instance::unique("api"), &tasks, CancellationToken::new()).await.unwrap();
    assert!(!tasks.is_empty());
    bus.drain().await;
    tasks.close();
    time::timeout(LIMIT, tasks.wait()).await.unwrap();
    assert!(!bus.inner.link.is_connected());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_so_in_time() {
    let mut server = NatsServer::start().await;
    server.kill().await;
    let settings = BusSettings { connect_timeout: Duration::from_secs(1), ..settings(&server) };
    let tasks = TaskTracker::new();
    let ended = Bus::connect(&settings, Instance::unique("api"), &tasks, CancellationToken::new()).await;
    assert_eq!(ended.err().map(|error| error.to_string()).as_deref(), Some("cannot connect to NATS"));
    assert!(tasks.is_empty());
}

#[tokio::test]
async fn a_login_in_the_url_is_used() {
    let mut server = NatsServer::start().await;
    server.restart_for("api", "p@ss").await;
    let begin = async |who: &str| {
        let url = server.url().replace("nats://", &format!("nats://{who}"));
        let settings = BusSettings { login: login(&url), connect_timeout: Duration::from_secs(3), ..settings(&server) };
        Bus::connect(&settings, Instance::unique("api"), &TaskTracker::new(), CancellationToken::new()).await
    };
    assert!(begin("").await.is_err());
    assert!(begin("api:p%40ss@").await.is_ok());
}
