//! Jobs and reads go out, results and answers come in.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::PublishErrorKind;
use common::job::{JobStarted, Progress};
use common::read::{AnswerKind, Query, READ_VERSION, Read, StatusQuery};
use common::subject::{HEADER_ANSWER, HEADER_PART, HEADER_PARTS, HEADER_REPLY, HEADER_WITHIN};
use futures::StreamExt as _;

use super::super::{BusError, Ended, ReadError, Withdrawn};
use super::*;

pub(super) async fn worker_of(worker: &jetstream::Context, stream: String) -> pull::Stream {
    let consumer: PullConsumer = worker.get_consumer_from_stream(stream::WORKER_CONSUMER, stream).await.unwrap();
    consumer.messages().await.unwrap()
}

fn status() -> Read {
    let query = Query::Status(StatusQuery { revision: 1.try_into().unwrap() });
    Read { version: READ_VERSION, order: order("one"), region: region(), query }
}

#[tokio::test]
async fn a_job_published_twice_is_there_once_with_its_headers() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    let job = job();
    bus.publish_job(&job, true).await.unwrap();
    bus.publish_job(&job, true).await.unwrap();
    let mut jobs = worker_of(&worker, stream::jobs_name(&region())).await;
    let message = jobs.next().await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Job>(&message.payload).unwrap(), job);
    let headers = message.headers.as_ref().unwrap();
    assert_eq!(headers.get("Nats-Msg-Id").unwrap().as_str(), job.id.to_string());
    assert_eq!(message.info().unwrap().pending, 0);

    // A worker tells the inbox of the job that it has begun and ended.
    let inbox = headers.get(HEADER_REPLY).unwrap().to_string();
    let mut started = bus.take_started().unwrap();
    assert!(bus.take_started().is_none());
    let (mut waiter, mut other, gone) =
        (bus.expect_progress(job.id), bus.expect_progress(job.id), bus.expect_progress(job.id));
    drop(gone);
    let began = JobStarted { id: job.id, attempts: 1, started_at: Timestamp::now() };
    let result = succeeded(job.id);
    for progress in [Progress::Started(began.clone()), Progress::Ended(result.clone())] {
        let payload = serde_json::to_vec(&progress).unwrap();
        worker.client().publish(inbox.clone(), payload.into()).await.unwrap();
    }
    assert_eq!(waiter.ended(LIMIT).await, Some(result.clone()));
    assert_eq!(other.ended(LIMIT).await, Some(result));
    assert_eq!(started.recv().await, Some(began));
    assert_eq!(bus.expect_progress(job.id).ended(Duration::from_millis(50)).await, None);
}

#[tokio::test]
async fn a_job_is_in_its_queue_until_it_is_taken_out_and_then_ends_once() {
    let (_server, bus) = start().await;
    let job = job();
    let place = bus.publish_job(&job, false).await.unwrap();
    assert!(bus.is_queued(&region(), job.id, place).await.unwrap());
    assert!(!bus.is_queued(&region(), JobId::new(), place).await.unwrap(), "another job's place");
    let withdrawn = bus.withdraw_job(&region(), job.id, place).await.unwrap().unwrap();
    assert!(!bus.is_queued(&region(), job.id, place).await.unwrap());
    assert!(bus.withdraw_job(&region(), job.id, place).await.unwrap().is_none());
    let result = succeeded(job.id);
    assert!(bus.publish_result(&region(), &result, &withdrawn).await.unwrap());
    assert!(!bus.publish_result(&region(), &result, &Withdrawn::default()).await.unwrap());
}

#[tokio::test]
async fn a_job_that_the_queue_has_no_more_is_not_called_published() {
    let (server, bus) = start().await;
    let job = job();
    let place = bus.publish_job(&job, false).await.unwrap();
    assert_eq!(bus.publish_job(&job, false).await.unwrap(), place, "it is there");
    let stream = outside(&server).await.get_stream(stream::jobs_name(&region())).await.unwrap();
    stream.delete_message(place).await.unwrap();
    assert!(matches!(bus.publish_job(&job, false).await, Err(BusError::Repeated)));
    stream.delete_message(place).await.unwrap_err();

    // Where the stream is another one, it is taken.
    outside(&server).await.delete_stream(stream::jobs_name(&region())).await.unwrap();
    assert!(!bus.is_queued(&region(), job.id, place).await.unwrap(), "there is no stream");
    let place = bus.publish_job(&job, false).await.unwrap();
    assert!(bus.is_queued(&region(), job.id, place).await.unwrap());
}

#[tokio::test]
async fn the_end_of_a_job_is_found_and_none_where_there_is_no_stream() {
    let (server, bus) = start().await;
    let result = succeeded(JobId::new());
    assert_eq!(bus.result(&region(), result.id).await.unwrap(), None);
    assert!(bus.publish_result(&region(), &result, &Withdrawn::default()).await.unwrap());
    assert_eq!(bus.result(&region(), result.id).await.unwrap(), Some(result.clone()));
    outside(&server).await.delete_stream(stream::RESULTS).await.unwrap();
    assert_eq!(bus.result(&region(), result.id).await.unwrap(), None);
}

#[tokio::test]
async fn queues_that_somebody_deleted_are_made_again_though_nothing_is_published() {
    let (server, bus) = start().await;
    bus.ensure_region(&region()).await.unwrap();
    let worker = outside(&server).await;
    let is_there = async |name: String| {
        worker.get_consumer_from_stream::<pull::Config, _, _>(stream::WORKER_CONSUMER, name).await.is_ok()
    };
    worker.delete_consumer_from_stream(stream::WORKER_CONSUMER, stream::jobs_name(&region())).await.unwrap();
    worker.delete_stream(stream::reads_name(&region())).await.unwrap();
    bus.inner.streams.look_for_queues().await;
    bus.ensure_region(&region()).await.unwrap();
    until("both are there", async || {
        is_there(stream::jobs_name(&region())).await && is_there(stream::reads_name(&region())).await
    })
    .await;
}

#[tokio::test]
async fn a_full_stream_a_lost_one_and_no_connection_are_told_apart() {
    let (mut server, bus) = start().await;
    let worker = outside(&server).await;
    bus.publish_job(&job(), false).await.unwrap();
    worker.delete_stream(stream::jobs_name(&region())).await.unwrap();
    bus.publish_job(&job(), false).await.expect("is made again");

    let settings = stream::StreamSettings { replicas: 1 };
    let full = jetstream::stream::Config { max_messages: 1, ..stream::jobs(&region(), settings) };
    worker.update_stream(full).await.unwrap();
    assert!(matches!(bus.publish_job(&job(), false).await, Err(BusError::Full(_))));

    server.kill().await;
    until("it is known", async || !bus.health().is_ready()).await;
    let asked = time::Instant::now();
    assert!(matches!(bus.publish_job(&job(), false).await, Err(BusError::Disconnected)));
    assert!(matches!(bus.read(&status(), LIMIT).await, Err(ReadError::Bus(BusError::Disconnected))));
    assert!(asked.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn a_second_result_is_refused_and_the_first_is_handled_until_it_is_taken() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    let job = JobId::new();
    let result = succeeded(job);
    publish_result(&worker, &result).await.unwrap();
    let second = publish_result(&worker, &JobResult { attempts: 2, ..result.clone() }).await;
    assert_eq!(second.unwrap_err().kind(), PublishErrorKind::WrongLastSequence);
    // Not a result, and one whose subject is another job's: put away, in nobody's way.
    worker.publish(subject::result(&region(), JobId::new()), "{}".into()).await.unwrap().await.unwrap();
    let stray = serde_json::to_vec(&result).unwrap();
    worker.publish(subject::result(&region(), JobId::new()), stray.into()).await.unwrap().await.unwrap();

    let shutdown = CancellationToken::new();
    let (calls, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let handler = {
        let (calls, taken) = (calls.clone(), taken.clone());
        move |ended: Ended| {
            let (calls, taken) = (calls.clone(), taken.clone());
            async move {
                if calls.fetch_add(1, Ordering::SeqCst) == 0 {
                    return Err(std::io::Error::other("not now"));
                }
                taken.lock().unwrap().push(ended);
                Ok(())
            }
        }
    };
    let running = tokio::spawn(bus.results().run(handler, shutdown.clone()));
    until("it is handled", async || !taken.lock().unwrap().is_empty()).await;
    let mut consumer: PullConsumer =
        worker.get_consumer_from_stream(stream::API_CONSUMER, stream::RESULTS).await.unwrap();
    until("all is acknowledged", async || {
        let info = consumer.info().await.unwrap();
        info.num_ack_pending == 0 && info.num_pending == 0
    })
    .await;
    shutdown.cancel();
    running.await.unwrap();
    let taken = taken.lock().unwrap();
    assert_eq!((taken.len(), calls.load(Ordering::SeqCst)), (1, 2));
    assert_eq!((&taken[0].result, &taken[0].region, taken[0].deliveries), (&result, &region(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_the_results_and_each_is_handled_once() {
    let (server, first) = start().await;
    let second = connect(&server).await;
    let worker = outside(&server).await;
    let shutdown = CancellationToken::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let run = |bus: &Bus| {
        let seen = seen.clone();
        let handler = move |ended: Ended| {
            let seen = seen.clone();
            async move {
                seen.lock().unwrap().push(ended.result.id);
                Ok::<_, std::io::Error>(())
            }
        };
        tokio::spawn(bus.results().run(handler, shutdown.clone()))
    };
    let running = [run(&first), run(&second)];
    let jobs: HashSet<_> = (0..100).map(|_| JobId::new()).collect();
    for job in &jobs {
        publish_result(&worker, &succeeded(*job)).await.unwrap();
    }
    until("all are handled", async || seen.lock().unwrap().len() >= 100).await;
    shutdown.cancel();
    for running in running {
        running.await.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), seen.iter().copied().collect::<HashSet<_>>()), (100, jobs));
}

#[tokio::test]
async fn a_result_is_found_by_whoever_waits_before_and_after_it() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    let (result, here) = (succeeded(JobId::new()), region());
    let (waited, ()) = tokio::join!(bus.wait_result(&here, result.id, LIMIT), async {
        time::sleep(Duration::from_millis(100)).await;
        publish_result(&worker, &result).await.unwrap();
    });
    assert_eq!(waited, Some(result.clone()));
    assert_eq!(bus.wait_result(&region(), result.id, LIMIT).await, Some(result));
    assert_eq!(bus.wait_result(&region(), JobId::new(), Duration::from_millis(100)).await, None);
}

#[tokio::test]
async fn a_read_is_answered_in_one_message_or_in_several() {
    let (server, bus) = start().await;
    let worker = outside(&server).await;
    bus.ensure_region(&region()).await.unwrap();
    let mut reads = worker_of(&worker, stream::reads_name(&region())).await;
    let answering = tokio::spawn(async move {
        // What each read in turn is answered: kind, and the number and contents of each message.
        let answers: [(&str, &[(&str, &str)]); 4] = [
            ("ok", &[("0", "whole")]),
            ("failure", &[("0", "no")]),
            ("ok", &[("2", "c"), ("0", "a"), ("0", "a"), ("1", "b")]),
            ("strange", &[("0", "?")]),
        ];
        for (kind, parts) in answers {
            let message = reads.next().await.unwrap().unwrap();
            message.ack().await.unwrap();
            let asked = message.headers.as_ref().unwrap();
            assert_eq!(asked.get(HEADER_WITHIN).unwrap().as_str(), LIMIT.as_millis().to_string());
            let count = if parts.len() > 1 { "3" } else { "1" };
            for (number, body) in parts {
                let mut headers = HeaderMap::new();
                headers.insert(HEADER_ANSWER, kind);
                headers.insert(HEADER_PART, *number);
                headers.insert(HEADER_PARTS, count);
                let inbox = asked.get(HEADER_REPLY).unwrap().to_string();
                worker.client().publish_with_headers(inbox, headers, (*body).into()).await.unwrap();
            }
        }
    });
    for (kind, body) in [(AnswerKind::Ok, "whole"), (AnswerKind::Failure, "no"), (AnswerKind::Ok, "abc")] {
        let answer = bus.read(&status(), LIMIT).await.unwrap();
        assert_eq!((answer.kind, &*answer.body), (kind, body.as_bytes()));
    }
    assert!(matches!(bus.read(&status(), LIMIT).await, Err(ReadError::Malformed(_))));
    answering.await.unwrap();
    let unanswered = bus.read(&status(), Duration::from_millis(200)).await;
    assert!(matches!(unanswered, Err(ReadError::Deadline)));
    assert!(bus.inner.answers.is_idle());
}
