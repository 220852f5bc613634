//! Mirrors a bucket in memory. One push consumer delivers what is there and then every change; its idle heartbeats prove
//! that consumer, stream and connection are still there, so a watch that has gone silent is known for stale in seconds,
//! with nothing written and nobody asked.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use common::{stream, subject};
use futures::StreamExt as _;
use tokio::sync::{Notify, watch};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::error::Source;
use super::link::Link;
use super::streams::Streams;

/// How often the server says that there is nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// A mirror that has heard nothing for this long is not believed any more.
pub(super) const SILENCE: Duration = Duration::from_secs(12);
/// How long the server keeps a consumer that nobody listens to.
const ABANDONED_AFTER: Duration = Duration::from_secs(10);

/// One key's newest value.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) revision: u64,
    /// None: the key was deleted.
    pub(super) value: Option<Bytes>,
    /// How long ago it was written, by the server's clock.
    pub(super) age: Duration,
}

/// Who keeps what the watch brings.
pub(super) trait Mirror: Send + Sync + 'static {
    /// All that there is; whatever was there before is no more.
    fn replace(&self, changes: Vec<Change>);
    /// One change more.
    fn apply(&self, change: Change);
}

/// When the mirror was last known to be true.
pub(super) struct Pulse {
    start: Instant,
    /// Milliseconds from `start`; 0 = never.
    heard: AtomicU64,
    first: Notify,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), heard: AtomicU64::new(0), first: Notify::new() }
    }

    fn beat(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.heard.swap(now.max(1), Ordering::Relaxed) == 0 {
            self.first.notify_one();
        }
    }

    /// Returns when the mirror is true for the first time. One may wait.
    pub(super) async fn first(&self) {
        self.first.notified().await;
    }

    /// Whether the mirror may be believed.
    pub(super) fn is_fresh(&self) -> bool {
        match self.heard.load(Ordering::Relaxed) {
            0 => false,
            heard => self.start.elapsed() < Duration::from_millis(heard) + SILENCE,
        }
    }
}

/// A bucket's mirror and what keeps it true.
pub(super) struct Watch<M> {
    pub(super) bucket: &'static str,
    pub(super) link: Arc<Link>,
    pub(super) streams: Arc<Streams>,
    pub(super) mirror: Arc<M>,
    pub(super) pulse: Arc<Pulse>,
}

/// Why a consumer is given up.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("streams were made or checked again")]
    Prepared,
    #[error("nothing was heard for too long")]
    Silent,
    #[error("a message is missing")]
    Gap,
    #[error("the subscription has ended")]
    Ended,
    #[error("the consumer cannot be made")]
    Consumer(#[source] Source),
}

impl<M: Mirror> Watch<M> {
    /// Follows the bucket until `stop`, from the beginning whenever anything is missing.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut prepared = self.streams.prepared();
        let mut backoff = Backoff::default();
        loop {
            prepared.mark_unchanged();
            let broken = tokio::select! {
                () = stop.cancelled() => return,
                broken = self.follow(&mut prepared, &mut backoff) => broken,
            };
            if matches!(broken, Broken::Prepared) {
                continue;
            }
            let wait = backoff.next();
            tracing::warn!(bucket = self.bucket, error = &broken as &dyn Error, ?wait, "nats: a watch begins anew");
            self.streams.suspect();
            tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(wait) => {}
                _ = prepared.changed() => {}
            }
        }
    }

    /// One consumer's life.
    async fn follow(&self, prepared: &mut watch::Receiver<u64>, backoff: &mut Backoff) -> Broken {
        let consumer = tokio::select! {
            _ = prepared.changed() => return Broken::Prepared,
            consumer = self.consume() => consumer,
        };
        let (mut messages, mut snapshot, made) = match consumer {
            Ok(consumer) => consumer,
            Err(error) => return Broken::Consumer(error),
        };
        let mut delivered = 0;
        if snapshot.is_empty_at_server {
            self.complete(&mut snapshot, backoff);
        }
        loop {
            let message = tokio::select! {
                _ = prepared.changed() => return Broken::Prepared,
                message = time::timeout(SILENCE, messages.next()) => message,
            };
            let message = match message {
                Err(_) => return Broken::Silent,
                Ok(None) => return Broken::Ended,
                Ok(Some(message)) => message,
            };
            if message.status == Some(StatusCode::IDLE_HEARTBEAT) {
                self.answer_control(&message).await;
                if last_delivered(message.headers.as_ref()).is_some_and(|last| last != delivered) {
                    return Broken::Gap;
                }
                if snapshot.is_complete {
                    self.pulse.beat();
                }
                continue;
            }
            if message.status.is_some() {
                return Broken::Ended;
            }
            let message = jetstream::Message { message, context: self.link.context.clone() };
            let Ok(info) = message.info() else { continue };
            if info.consumer_sequence != delivered + 1 {
                return Broken::Gap;
            }
            delivered = info.consumer_sequence;
            // What comes by itself is of now; only what was found is of before.
            let age =
                if snapshot.is_complete { Duration::ZERO } else { made.age_of(info.published.unix_timestamp_nanos()) };
            let (pending, change) = (info.pending, self.read(&message, info.stream_sequence, age));
            if snapshot.is_complete {
                if let Some(change) = change {
                    self.mirror.apply(change);
                }
                self.pulse.beat();
            } else {
                snapshot.changes.extend(change);
                if pending == 0 {
                    self.complete(&mut snapshot, backoff);
                }
            }
        }
    }

    fn complete(&self, snapshot: &mut Snapshot, backoff: &mut Backoff) {
        snapshot.is_complete = true;
        self.mirror.replace(std::mem::take(&mut snapshot.changes));
        self.pulse.beat();
        backoff.reset();
    }

    async fn consume(&self) -> Result<(Subscriber, Snapshot, ServerTime), Source> {
        let inbox = self.link.client.new_inbox();
        let messages = self.link.client.subscribe(inbox.clone()).await?;
        let config = push::Config {
            deliver_subject: inbox,
            description: Some("a mirror of an api instance".to_owned()),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            filter_subject: subject::bucket_subject(self.bucket, ">"),
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: ABANDONED_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..push::Config::default()
        };
        let stream = stream::bucket_stream(self.bucket);
        let consumer = self.link.context.create_consumer_on_stream(config, stream).await?;
        let info = consumer.cached_info();
        let snapshot = Snapshot { is_empty_at_server: info.num_pending == 0, is_complete: false, changes: Vec::new() };
        let made = ServerTime { at: Instant::now(), nanos: info.created.unix_timestamp_nanos() };
        Ok((messages, snapshot, made))
    }

    /// Flow control stops the server until each of its questions is answered.
    async fn answer_control(&self, message: &Message) {
        let stalled = message.headers.as_ref().and_then(|headers| headers.get("Nats-Consumer-Stalled"));
        let reply = message.reply.as_ref().map(ToString::to_string).or(stalled.map(ToString::to_string));
        if let Some(reply) = reply
            && let Err(error) = self.link.client.publish(reply, Bytes::new()).await
        {
            tracing::debug!(%error, "nats: flow control was not answered");
        }
    }

    fn read(&self, message: &jetstream::Message, revision: u64, age: Duration) -> Option<Change> {
        let key = message.subject.strip_prefix(subject::bucket_subject(self.bucket, "").as_str())?;
        let value = if is_deleted(message.headers.as_ref()) { None } else { Some(message.payload.clone()) };
        Some(Change { key: key.to_owned(), revision, value, age })
    }
}

/// What was there when the consumer was made.
struct Snapshot {
    is_empty_at_server: bool,
    is_complete: bool,
    changes: Vec<Change>,
}

/// One moment by the server's clock and by ours.
struct ServerTime {
    at: Instant,
    nanos: i128,
}

impl ServerTime {
    /// How long ago something of the server's clock was.
    fn age_of(&self, nanos: i128) -> Duration {
        let before = u64::try_from(self.nanos - nanos).unwrap_or(0);
        let after = u64::try_from(nanos - self.nanos).unwrap_or(0);
        (self.at.elapsed() + Duration::from_nanos(before)).saturating_sub(Duration::from_nanos(after))
    }
}

/// Whether a bucket's message says that its key is no more.
pub(super) fn is_deleted(headers: Option<&HeaderMap>) -> bool {
    headers.and_then(|headers| headers.get("KV-Operation")).is_some_and(|operation| operation.as_str() != "PUT")
}

/// How many messages the server says it has delivered.
fn last_delivered(headers: Option<&HeaderMap>) -> Option<u64> {
    headers?.get("Nats-Last-Consumer")?.as_str().parse().ok()
}
