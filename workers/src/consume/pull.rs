//! Slots: each pulls one message, has it handled, and pulls the next. So nothing is fetched before there is a hand free for
//! it, and no message waits in a buffer while its time runs out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use common::stream::WORKER_CONSUMER;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Broker;

/// How long one pull request waits at the server. No heartbeats are asked for: a batch of the client forgets to wake up
/// after one (async-nats 0.51). A lost connection ends the request anyway, see [`Broker::connects`].
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// How often to look whether there is any use in pulling.
const ABLE_EVERY: Duration = Duration::from_millis(100);
/// How long to wait before a queue that is not there is looked for again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));

/// For how long a queue is looked for at the first of these.
const EAGER_FOR: Duration = Duration::from_secs(15);

/// A stream's durable consumer, made by the api. The worker waits for it, and again whenever it is gone.
#[derive(Debug)]
pub struct Queue {
    broker: Broker,
    stream: String,
    consumer: Mutex<Option<PullConsumer>>,
    there: AtomicBool,
}

/// What a slot does with a message.
pub trait Handle: Send + Sync {
    /// Handles it to the end, its acknowledgement included.
    fn handle(&self, message: Message) -> impl Future<Output = ()> + Send;

    /// Whether there is any use in pulling now.
    fn is_able(&self) -> bool;
}

impl Queue {
    /// The queue of this stream.
    pub fn new(broker: Broker, stream: String) -> Self {
        Self { broker, stream, consumer: Mutex::new(None), there: AtomicBool::new(false) }
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Whether its consumer was there when it was last asked.
    pub fn is_there(&self) -> bool {
        self.there.load(Ordering::Relaxed)
    }

    /// One slot: runs until told to stop, and then ends after the message in hand.
    pub async fn slot(&self, handler: &impl Handle, stop: &CancellationToken) {
        let mut connects = self.broker.connects();
        while !stop.is_cancelled() {
            if !handler.is_able() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(ABLE_EVERY) => continue,
                }
            }
            let Some(consumer) = self.consumer(stop).await else { return };
            connects.mark_unchanged();
            let mut batch = match consumer.batch().max_messages(1).expires(PULL_EXPIRES).messages().await {
                Ok(batch) => batch,
                Err(error) => {
                    self.lost(&error.to_string()).await;
                    continue;
                }
            };
            tokio::select! {
                biased;
                pulled = batch.next() => match pulled {
                    Some(Ok(message)) => handler.handle(message).await,
                    Some(Err(error)) => self.lost(&error.to_string()).await,
                    None => {}
                },
                () = stop.cancelled() => {
                    // What was delivered in the same moment goes to another worker at once.
                    if let Some(Some(Ok(message))) = batch.next().now_or_never() {
                        let _ = message.ack_with(AckKind::Nak(None)).await;
                    }
                }
                _ = connects.changed() => {}
            }
        }
    }

    /// The consumer, once it is there. None = told to stop.
    async fn consumer(&self, stop: &CancellationToken) -> Option<PullConsumer> {
        let mut known = tokio::select! {
            () = stop.cancelled() => return None,
            known = self.consumer.lock() => known,
        };
        if let Some(consumer) = known.as_ref() {
            return Some(consumer.clone());
        }
        let (begun, mut pause) = (Instant::now(), BACKOFF.0);
        loop {
            let asked = self.broker.jetstream.get_consumer_from_stream(WORKER_CONSUMER, &self.stream);
            match asked.await {
                Ok(consumer) => {
                    let consumer: PullConsumer = consumer;
                    *known = Some(consumer.clone());
                    self.there.store(true, Ordering::Relaxed);
                    tracing::info!(stream = self.stream, "queue is there");
                    return Some(consumer);
                }
                Err(error) => {
                    tracing::debug!(stream = self.stream, error = &error as &dyn std::error::Error, "no queue yet");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(pause.mul_f64(rand::random_range(0.5..1.5))) => {}
            }
            // A new region's queues are made within moments of its first word.
            if begun.elapsed() >= EAGER_FOR {
                pause = (pause * 2).min(BACKOFF.1);
            }
        }
    }

    /// Forgets the consumer, which is then looked for again.
    async fn lost(&self, error: &str) {
        let had = self.consumer.lock().await.take();
        self.there.store(false, Ordering::Relaxed);
        if had.is_some() {
            tracing::warn!(stream = self.stream, error, "queue is gone; looking for it again");
        }
        sleep(BACKOFF.0).await;
    }
}
