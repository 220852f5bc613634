//! Which regions are there, by what their workers say.

use common::presence::Presence;
use futures::StreamExt as _;

use super::*;

/// A worker's word.
async fn say(worker: &jetstream::Context, region: &str, instance: &str, ready: bool) {
    let presence = Presence {
        at: Timestamp::now(),
        ready,
        version: "1".to_owned(),
        cluster_version: None,
        public_key: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().unwrap(),
        random_ports: range("20000-20010"),
        nodes: Vec::new(),
        capacity: None,
        requests: None,
        in_flight: 0,
        drifted: Vec::new(),
    };
    let key = subject::presence_key(&region.parse().unwrap(), &instance.parse().unwrap());
    let value = serde_json::to_vec(&presence).unwrap();
    let key = subject::bucket_subject(stream::REGIONS, &key);
    worker.publish(key, value.into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_region_lives_as_long_as_a_worker_of_it_takes_work() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    assert_eq!(bus.regions.live(), []);
    say(&worker, "vega", "worker-1", true).await;
    say(&worker, "ausrine", "worker-2", true).await;
    say(&worker, "north", "worker-3", false).await;
    until("all are heard", async || bus.regions.known().len() == 3).await;
    assert_eq!(bus.regions.live(), ["ausrine", "vega"].map(|code| code.parse().unwrap()));
    let (ausrine, north) = (region(), "north".parse().unwrap());
    assert!(bus.regions.is_live(&ausrine) && !bus.regions.is_live(&north));
    assert!(bus.regions.heard_within(&north, Duration::from_secs(20)));
    assert_eq!(bus.regions.random_range(&ausrine), Some(range("20000-20010")));
    assert!(bus.regions.public_key(&ausrine).is_some());
    assert_eq!(bus.regions.workers(&ausrine).len(), 1);

    // Queues are there before anybody asks for them.
    for region in ["vega", "ausrine", "north"] {
        let region: RegionCode = region.parse().unwrap();
        until("the queues are there", async || {
            worker.get_stream(stream::jobs_name(&region)).await.is_ok()
                && worker.get_stream(stream::reads_name(&region)).await.is_ok()
        })
        .await;
    }

    // A worker that shuts down says so, and a word that cannot be read is none.
    say(&worker, "ausrine", "worker-2", false).await;
    let key = subject::presence_key(&"vega".parse().unwrap(), &"worker-1".parse().unwrap());
    worker.publish(subject::bucket_subject(stream::REGIONS, &key), "{".into()).await.unwrap().await.unwrap();
    until("none is live", async || bus.regions.live().is_empty()).await;
}

#[tokio::test]
async fn what_an_instance_finds_at_its_start_is_as_old_as_it_is() {
    let (server, _first) = start().await;
    let worker = outside(&server).await;
    say(&worker, "ausrine", "worker-1", true).await;
    time::sleep(Duration::from_millis(1500)).await;
    let second = connect(&server).await;
    assert!(second.regions.is_live(&region()));
    assert!(!second.regions.heard_within(&region(), Duration::from_secs(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_whose_queues_cannot_be_made_holds_up_nobody() {
    let (mut server, bus) = start().await;
    let broken: RegionCode = "alcor".parse().unwrap();
    let taken = jetstream::stream::Config {
        name: "FOREIGN".to_owned(),
        subjects: vec![subject::jobs(&broken)],
        ..Default::default()
    };
    outside(&server).await.create_stream(taken).await.unwrap();
    assert!(bus.ensure_region(&broken).await.is_err());
    let said = async |worker: &jetstream::Context, region: &RegionCode| {
        say(worker, region.as_str(), "worker-1", true).await;
        until("the queues are there", async || worker.get_stream(stream::reads_name(region)).await.is_ok()).await;
    };
    let worker = outside(&server).await;
    say(&worker, broken.as_str(), "worker-1", true).await;
    said(&worker, &"vega".parse().unwrap()).await;
    assert!(bus.health().is_ready());

    let mut prepared = bus.inner.streams.prepared();
    server.restart().await;
    time::timeout(LIMIT, prepared.changed()).await.unwrap().unwrap();
    // The broken one's are tried again and again, and nothing else begins anew for that.
    let worker = outside(&server).await;
    let tries = format!("$JS.API.STREAM.*.{}", stream::jobs_name(&broken));
    let mut tries = worker.client().subscribe(tries).await.unwrap();
    for region in ["north", "ausrine"] {
        said(&worker, &region.parse().unwrap()).await;
        assert!(time::timeout(LIMIT, tries.next()).await.unwrap().is_some());
    }
    assert!(!prepared.has_changed().unwrap());
    assert!(bus.health().is_ready());

    // What belongs to no region is made again all the same, should it be lost.
    worker.delete_stream(stream::bucket_stream(stream::REGIONS)).await.unwrap();
    until("it is there again", async || worker.get_stream(stream::bucket_stream(stream::REGIONS)).await.is_ok()).await;
}
