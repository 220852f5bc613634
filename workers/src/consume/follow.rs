//! Follows in hand: each has a task of its own and no slot, since it lasts for hours. They end with the worker, at once,
//! and say so: another worker goes on after the last line.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use common::failure::{Failure, Reason};
use common::log::{CHUNK_BYTES, CREDIT_SECONDS, FOLLOW_WINDOW, FollowEnd, Mark, write_line};
use common::name::{Instance, OrderId};
use common::read::{AnswerKind, LogFollowQuery};
use common::subject::{HEADER_ANSWER, HEADER_END, HEADER_GAP, HEADER_PART};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Broker;
use super::credit::{Credit, Credits};
use crate::context::Context;
use crate::operations::{Listener, follow};

/// How long lines are gathered after a chunk was sent; a line after a silence goes at once.
const GATHER: Duration = Duration::from_millis(20);
/// The longest that the client may take to take a chunk: shorter than the worker's end may be delayed.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// How often a chunk without lines says that all is well.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The follows of a worker.
#[derive(Debug)]
pub struct Follows {
    broker: Broker,
    credits: Arc<Credits>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Follows {
    /// No follows yet, and so many at most, each a connection to the apiserver; they end when told to stop.
    pub fn new(broker: Broker, context: &Context, worker: &Instance, most: usize, stop: CancellationToken) -> Self {
        let credits = Arc::new(Credits::new(&context.region, worker));
        let room = Arc::new(Semaphore::new(most));
        Self { broker, credits, room, tasks: TaskTracker::new(), stop }
    }

    /// Hears credits until told to stop, and then waits until every follow has said its last word.
    pub async fn run(&self) {
        self.credits.hear(&self.broker, &self.stop).await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Begins a follow, unless there are too many.
    pub(super) fn begin(
        &self,
        context: &Arc<Context>,
        inbox: Subject,
        order: OrderId,
        query: LogFollowQuery,
    ) -> Result<(), Failure> {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            return Err(Failure::new(Reason::Overloaded, "the region follows too many logs; try again later"));
        };
        let (reply, credit) = self.credits.open();
        let mut speaker = Speaker {
            broker: self.broker.clone(),
            inbox,
            reply: reply.subject(),
            credit,
            stop: self.stop.clone(),
            held: Vec::new(),
            gap: false,
            next: 0,
            sent: Instant::now(),
        };
        let context = Arc::clone(context);
        self.tasks.spawn(async move {
            let _held = (place, reply);
            // The first chunk says that somebody is there.
            let end = match speaker.send(None).await {
                Ok(()) => follow(&context, &order, &query, &mut speaker).await,
                Err(end) => end,
            };
            tracing::debug!(end = end.as_str(), "a follow ends");
            if end != FollowEnd::Unheard {
                speaker.finish(end).await;
            }
        });
        Ok(())
    }
}

/// Sends lines to an api's inbox in numbered chunks, and no more than it gives credit for.
struct Speaker {
    broker: Broker,
    inbox: Subject,
    /// Where credits come.
    reply: Subject,
    credit: watch::Receiver<Credit>,
    stop: CancellationToken,
    /// Lines to be sent.
    held: Vec<u8>,
    /// Whether lines are lost before those.
    gap: bool,
    /// The number of the next chunk.
    next: u64,
    /// When the last one was sent.
    sent: Instant,
}

impl Speaker {
    fn credit(&self) -> Credit {
        *self.credit.borrow()
    }

    fn has_room(&self) -> bool {
        self.next < self.credit().taken + FOLLOW_WINDOW
    }

    /// Sends what is due when it is due, and notices when to end. Dropping it loses nothing.
    async fn keep(&mut self) -> Result<(), FollowEnd> {
        let credit = self.credit();
        if credit.stop {
            return Err(FollowEnd::Unheard);
        }
        let unheard = credit.heard + Duration::from_secs(CREDIT_SECONDS);
        let due = match self.held.len() {
            0 => self.sent + HEARTBEAT,
            1..CHUNK_BYTES => self.sent + GATHER,
            _ => self.sent,
        };
        let room = self.has_room();
        tokio::select! {
            () = self.stop.cancelled() => Err(FollowEnd::Shutdown),
            () = sleep_until(unheard) => Err(FollowEnd::Unheard),
            Ok(()) = self.credit.changed() => Ok(()),
            () = sleep_until(due), if room => self.send(None).await,
        }
    }

    /// Sends what is held.
    async fn send(&mut self, end: Option<FollowEnd>) -> Result<(), FollowEnd> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_ANSWER, AnswerKind::Ok.as_str());
        headers.insert(HEADER_PART, self.next.to_string());
        if self.gap {
            headers.insert(HEADER_GAP, "true");
        }
        if let Some(end) = end {
            headers.insert(HEADER_END, end.as_str());
        }
        let (inbox, reply) = (self.inbox.clone(), self.reply.clone());
        let chunk = self.held.clone().into();
        let sent = self.broker.client.publish_with_reply_and_headers(inbox, reply, headers, chunk);
        // It waits only while the broker is away and so much waits already that nobody hears of this follow in time.
        if !matches!(timeout(SEND_WITHIN, sent).await, Ok(Ok(()))) {
            tracing::debug!("a chunk of a log is not sent");
            return Err(FollowEnd::Unheard);
        }
        self.held.clear();
        self.gap = false;
        self.next += 1;
        self.sent = Instant::now();
        Ok(())
    }

    /// Says the last word, whether or not there is room.
    async fn finish(&mut self, end: FollowEnd) {
        // Whoever listens goes on by itself when this is lost.
        let _ = self.send(Some(end)).await;
    }
}

impl Listener for Speaker {
    async fn line(&mut self, mark: Mark, text: &[u8]) -> Result<(), FollowEnd> {
        while self.held.len() >= CHUNK_BYTES {
            self.keep().await?;
        }
        write_line(&mut self.held, mark, text);
        Ok(())
    }

    async fn gap(&mut self) -> Result<(), FollowEnd> {
        while !self.held.is_empty() {
            self.keep().await?;
        }
        self.gap = true;
        Ok(())
    }

    async fn during<T: Send>(&mut self, wait: impl Future<Output = T> + Send) -> Result<T, FollowEnd> {
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                biased;
                done = &mut wait => return Ok(done),
                kept = self.keep() => kept?,
            }
        }
    }
}
