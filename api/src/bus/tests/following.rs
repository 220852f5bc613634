//! Chunks of a follow come in their order or not at all, and credits go where they may.

use async_nats::{HeaderMap, Subscriber};
use common::log::{CREDIT_STOP, FOLLOW_WINDOW, FollowEnd};
use common::read::{AnswerKind, LogFollowQuery, Query, READ_VERSION, Read};
use common::subject::{HEADER_ANSWER, HEADER_END, HEADER_GAP, HEADER_PART, HEADER_REPLY};
use futures::StreamExt as _;

use super::super::{Chunk, Chunks, FollowError};
use super::*;

/// A worker's side of one follow.
struct Speaker {
    worker: jetstream::Context,
    inbox: String,
    reply: &'static str,
}

impl Speaker {
    async fn say(&self, lines: &'static str, headers: &[(&str, &str)]) {
        let mut all = HeaderMap::new();
        all.insert(HEADER_ANSWER, AnswerKind::Ok.as_str());
        for (name, value) in headers {
            all.insert(*name, *value);
        }
        let client = self.worker.client();
        client.publish_with_reply_and_headers(self.inbox.clone(), self.reply, all, lines.into()).await.unwrap();
    }

    async fn number(&self, number: u64) {
        self.say("", &[(HEADER_PART, &number.to_string())]).await;
    }
}

/// A follow that a worker has taken up, which wants its credits there.
async fn followed(server: &NatsServer, bus: &Bus, reply: &'static str) -> (Chunks, Speaker) {
    let worker = outside(server).await;
    let (container, run) = ("web".parse().unwrap(), "1a2b3c4d-0123456789ab".parse().unwrap());
    let query = Query::LogFollow(LogFollowQuery { container, run, after: None });
    let read = Read { version: READ_VERSION, order: order("one"), region: region(), query };
    let chunks = bus.follow(&read, LIMIT).await.unwrap();
    let mut asked = jobs::worker_of(&worker, stream::reads_name(&region())).await;
    let message = asked.next().await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Read>(&message.payload).unwrap(), read);
    message.ack().await.unwrap();
    let inbox = message.headers.as_ref().unwrap().get(HEADER_REPLY).unwrap().to_string();
    (chunks, Speaker { worker, inbox, reply })
}

async fn credit(credits: &mut Subscriber) -> String {
    let message = time::timeout(LIMIT, credits.next()).await.unwrap().unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

#[tokio::test]
async fn chunks_come_in_their_order_and_credit_is_given_for_them() {
    let (server, bus) = start().await;
    let (mut chunks, speaker) = followed(&server, &bus, "_INBOX_ausrine.worker-1.a").await;
    let mut credits = speaker.worker.client().subscribe("_INBOX_ausrine.worker-1.*").await.unwrap();
    speaker.worker.client().flush().await.unwrap();
    speaker.say("1 0 a\n", &[(HEADER_PART, "0")]).await;
    speaker.say("2 0 b\n", &[(HEADER_PART, "1"), (HEADER_GAP, "true")]).await;
    let chunk = |lines: &'static str, gap, end| Chunk { lines: lines.into(), gap, end };
    assert_eq!(chunks.next().await.unwrap(), chunk("1 0 a\n", false, None));
    assert_eq!(chunks.next().await.unwrap(), chunk("2 0 b\n", true, None));
    for number in 2..FOLLOW_WINDOW {
        speaker.number(number).await;
        assert_eq!(chunks.next().await.unwrap(), chunk("", false, None));
    }
    // Half of the window was taken before the last ones were waited for.
    assert_eq!(credit(&mut credits).await, (FOLLOW_WINDOW / 2).to_string());
    let last = [(HEADER_PART, FOLLOW_WINDOW.to_string()), (HEADER_END, "PodReplaced".to_owned())];
    speaker.say("", &last.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    assert_eq!(chunks.next().await.unwrap().end, Some(FollowEnd::PodReplaced));
    chunks.stop().await;
    until("the last word comes", async || credit(&mut credits).await == CREDIT_STOP).await;
    until("nobody waits any more", async || bus.inner.answers.is_idle()).await;
}

#[tokio::test]
async fn a_follow_that_is_not_whole_is_over() {
    let (server, bus) = start().await;
    for (case, numbers) in
        [("a chunk is missing", &[0, 2][..]), ("one comes twice", &[0, 0]), ("one came before", &[1])]
    {
        let (mut chunks, speaker) = followed(&server, &bus, "_INBOX_ausrine.worker-1.a").await;
        for number in numbers {
            speaker.number(*number).await;
        }
        for _ in 1..numbers.len() {
            chunks.next().await.unwrap();
        }
        assert!(matches!(chunks.next().await, Err(FollowError::Missing)), "{case}");
    }
    let (mut chunks, speaker) = followed(&server, &bus, "_INBOX_ausrine.worker-1.a").await;
    speaker.say("", &[(HEADER_PART, "0"), (HEADER_END, "Sometime")]).await;
    assert!(matches!(chunks.next().await, Err(FollowError::Malformed)));
    let (mut chunks, speaker) = followed(&server, &bus, "_INBOX_ausrine.worker-1.a").await;
    let failure = r#"{"reason":"OVERLOADED","message":"too many"}"#;
    speaker.say(failure, &[(HEADER_ANSWER, AnswerKind::Failure.as_str())]).await;
    assert!(matches!(chunks.next().await, Err(FollowError::Refused(failure)) if failure.message == "too many"));
    let begun = time::Instant::now();
    let (mut chunks, _) = followed(&server, &bus, "_INBOX_ausrine.worker-1.a").await;
    assert!(matches!(chunks.next().await, Err(FollowError::Silent)));
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn credits_are_published_to_the_regions_inboxes_only() {
    let (server, bus) = start().await;
    for reply in ["vkube.jobs.ausrine.delete", "_INBOX_other.worker-1.a", "$JS.API.STREAM.DELETE.RESULTS"] {
        let (mut chunks, speaker) = followed(&server, &bus, reply).await;
        let mut there = speaker.worker.client().subscribe(reply).await.unwrap();
        speaker.worker.client().flush().await.unwrap();
        for number in 0..FOLLOW_WINDOW {
            speaker.number(number).await;
            chunks.next().await.unwrap();
        }
        chunks.stop().await;
        bus.inner.link.client.flush().await.unwrap();
        assert!(time::timeout(Duration::from_millis(200), there.next()).await.is_err(), "{reply}");
    }
}
