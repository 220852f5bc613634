//! Pulls as many messages as there are slots free, and no more: nothing is fetched before somebody takes it up, and no
//! message waits in a buffer while its time runs out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Batch;
use common::stream::WORKER_CONSUMER;
use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Broker;
use crate::slot::Slot;

/// How long one pull request waits at the server, and so how long the end of pulling takes: what the server has promised
/// to a request comes until then, and would otherwise be delivered again only after the broker's patience. No heartbeats
/// are asked for: a batch of the client forgets to wake up after one (async-nats 0.51). A lost connection ends the request
/// anyway, see [`Broker::connects`].
const PULL_EXPIRES: Duration = Duration::from_secs(2);
/// How often to look whether there is any use in pulling.
const ABLE_EVERY: Duration = Duration::from_millis(100);
/// How long to wait before a queue that is not there is looked for again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));
/// How many messages may be in hand for each that may be in work: the others wait, for a pod to be ready or to be gone.
const IN_HAND_PER_SLOT: usize = 16;
/// For how long a queue is looked for at the first of these.
const EAGER_FOR: Duration = Duration::from_secs(15);

/// A stream's durable consumer, made by the api. The worker waits for it, and again whenever it is gone.
#[derive(Debug)]
pub struct Queue {
    broker: Broker,
    stream: String,
    there: AtomicBool,
}

/// What is done with a message.
pub trait Handle: Send + Sync + 'static {
    /// Handles it to the end, its acknowledgement included, in a slot that it may leave.
    fn handle(&self, message: Message, slot: Slot) -> impl Future<Output = ()> + Send;

    /// Whether there is any use in pulling now.
    fn is_able(&self) -> bool;
}

/// The messages in hand, each with a task of its own.
type Hands = JoinSet<()>;

impl Queue {
    /// The queue of this stream.
    pub fn new(broker: Broker, stream: String) -> Self {
        Self { broker, stream, there: AtomicBool::new(false) }
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Whether its consumer was there when it was last asked.
    pub fn is_there(&self) -> bool {
        self.there.load(Ordering::Relaxed)
    }

    /// Has messages handled, in so many slots, until told to stop; then those in hand to their end.
    pub async fn run(&self, handler: &Arc<impl Handle>, most: usize, stop: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(most));
        let mut hands = Hands::new();
        let mut connects = self.broker.connects();
        let mut known: Option<PullConsumer> = None;
        while !stop.is_cancelled() {
            if !handler.is_able() {
                tokio::select! {
                    () = stop.cancelled() => break,
                    Some(ended) = hands.join_next() => noted(ended),
                    () = sleep(ABLE_EVERY) => {}
                }
                continue;
            }
            while let Some(ended) = hands.try_join_next() {
                noted(ended);
            }
            let room = (most * IN_HAND_PER_SLOT).saturating_sub(hands.len());
            let free = slots.available_permits().min(room);
            if free == 0 {
                tokio::select! {
                    () = stop.cancelled() => break,
                    Some(ended) = hands.join_next() => noted(ended),
                    _ = slots.acquire(), if room > 0 => {}
                }
                continue;
            }
            let consumer = match &known {
                Some(consumer) => consumer.clone(),
                None => match self.consumer(stop).await {
                    Some(consumer) => known.insert(consumer).clone(),
                    None => break,
                },
            };
            connects.mark_unchanged();
            let pulled = match consumer.batch().max_messages(free).expires(PULL_EXPIRES).messages().await {
                Ok(batch) => {
                    tokio::select! {
                        pulled = take(batch, handler, &slots, &mut hands, stop) => pulled,
                        _ = connects.changed() => Ok(()),
                    }
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = pulled {
                known = None;
                self.lost(&error).await;
            }
        }
        while let Some(ended) = hands.join_next().await {
            noted(ended);
        }
    }

    /// The consumer, once it is there. None = told to stop.
    async fn consumer(&self, stop: &CancellationToken) -> Option<PullConsumer> {
        let (begun, mut pause) = (Instant::now(), BACKOFF.0);
        loop {
            let asked = self.broker.jetstream.get_consumer_from_stream(WORKER_CONSUMER, &self.stream);
            match asked.await {
                Ok(consumer) => {
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

    /// Notes that the consumer is gone; it is looked for again a moment later.
    async fn lost(&self, error: &str) {
        if self.there.swap(false, Ordering::Relaxed) {
            tracing::warn!(stream = self.stream, error, "queue is gone; looking for it again");
        }
        sleep(BACKOFF.0).await;
    }
}

/// Takes up every message that a pull request brings, until the request is over.
async fn take(
    mut batch: Batch,
    handler: &Arc<impl Handle>,
    slots: &Arc<Semaphore>,
    hands: &mut Hands,
    stop: &CancellationToken,
) -> Result<(), String> {
    // The server may have gone: by then the request is over in any case.
    let mut over = std::pin::pin!(async {
        stop.cancelled().await;
        sleep(PULL_EXPIRES).await;
    });
    loop {
        tokio::select! {
            biased;
            pulled = batch.next() => match pulled {
                Some(Ok(message)) => {
                    // There is one: as many messages were asked for as there were slots free, and only here are they taken.
                    let Ok(permit) = Arc::clone(slots).acquire_owned().await else { return Ok(()) };
                    let handler = Arc::clone(handler);
                    hands.spawn(async move { handler.handle(message, Slot::new(permit)).await });
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Ok(()),
            },
            Some(ended) = hands.join_next() => noted(ended),
            () = &mut over => return Ok(()),
        }
    }
}

fn noted(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "handling a message ended badly");
    }
}
