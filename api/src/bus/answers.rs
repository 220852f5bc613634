//! What comes back to this instance: answers of reads, and word of jobs from their workers. One subscription for the whole
//! life of the process; whoever waits is found by the token at the end of the subject.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::{Bytes, BytesMut};
use common::job::{JobResult, JobStarted, Progress};
use common::name::{Instance, JobId};
use common::read::{AnswerKind, MAX_ANSWER_BYTES};
use common::subject::{self, HEADER_ANSWER, HEADER_PART, HEADER_PARTS};
use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::error::{BusError, ReadError};
use super::link::{ANSWER_WAIT, Link};
use super::streams::lock;

/// The most messages of one answer.
const MAX_PARTS: usize = 64;
/// The most notices of begun jobs that wait to be recorded; more are dropped, since nothing depends on them.
const MAX_STARTED: usize = 1024;

/// What a region answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether the body is what was asked for.
    pub kind: AnswerKind,
    /// The answer itself, or a failure in JSON.
    pub body: Bytes,
}

/// Who waits for what.
pub(super) struct Answers {
    instance: Instance,
    reads: Mutex<HashMap<JobId, mpsc::Sender<Message>>>,
    jobs: Mutex<HashMap<JobId, Vec<Waiting>>>,
    next_waiter: AtomicU64,
    started: mpsc::Sender<JobStarted>,
    untaken: Mutex<Option<mpsc::Receiver<JobStarted>>>,
}

struct Waiting {
    number: u64,
    ended: oneshot::Sender<JobResult>,
}

impl Answers {
    /// Whose answers these are.
    pub(super) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Subscribes, and proves by a message to ourselves that the server knows of it.
    pub(super) async fn subscribe(link: &Link, instance: Instance) -> Result<(Self, Subscriber), BusError> {
        let refused = |error| BusError::refused("the subscription of answers", error);
        let inboxes = format!("{}.*", subject::inbox_prefix(&instance));
        let mut messages = link.client.subscribe(inboxes).await.map_err(refused)?;
        let probe = subject::inbox(&instance, JobId::new());
        let sent = link.client.publish(probe.clone(), Bytes::new()).await;
        sent.map_err(|error| BusError::refused("a message to ourselves", error))?;
        let arrival = async { while messages.next().await.is_some_and(|message| *message.subject != *probe) {} };
        time::timeout(ANSWER_WAIT, arrival).await.map_err(|_| BusError::Timeout)?;

        let (started, untaken) = mpsc::channel(MAX_STARTED);
        let answers = Self {
            instance,
            reads: Mutex::default(),
            jobs: Mutex::default(),
            next_waiter: AtomicU64::new(0),
            started,
            untaken: Mutex::new(Some(untaken)),
        };
        Ok((answers, messages))
    }

    /// Hands every message to whoever waits for it, until `stop`.
    pub(super) async fn run(self: Arc<Self>, mut messages: Subscriber, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                message = messages.next() => match message {
                    Some(message) => self.deliver(message),
                    None => return,
                },
            }
        }
    }

    /// Notices of begun jobs, of all jobs of this instance; none when somebody has them already.
    pub(super) fn take_started(&self) -> Option<mpsc::Receiver<JobStarted>> {
        lock(&self.untaken).take()
    }

    /// Where the answer of a job or read of this instance goes.
    pub(super) fn inbox(&self, token: JobId) -> String {
        subject::inbox(&self.instance, token)
    }

    /// Registers somebody who waits for a job's end.
    pub(super) fn expect(self: &Arc<Self>, job: JobId) -> ProgressWaiter {
        let number = self.next_waiter.fetch_add(1, Ordering::Relaxed);
        let (sender, ended) = oneshot::channel();
        lock(&self.jobs).entry(job).or_default().push(Waiting { number, ended: sender });
        ProgressWaiter { answers: self.clone(), job, number, ended }
    }

    /// Registers somebody who waits for an answer.
    pub(super) fn expect_answer(self: &Arc<Self>) -> AnswerWaiter {
        let token = JobId::new();
        let (sender, parts) = mpsc::channel(MAX_PARTS);
        lock(&self.reads).insert(token, sender);
        AnswerWaiter { answers: self.clone(), token, parts }
    }

    /// Whether nobody waits for anything.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.reads).is_empty() && lock(&self.jobs).is_empty()
    }

    fn deliver(&self, message: Message) {
        let Some(token) = subject::inbox_token(&message.subject) else { return };
        if header(&message, HEADER_ANSWER).is_some() {
            let waiter = lock(&self.reads).get(&token).cloned();
            if waiter.is_none_or(|waiter| waiter.try_send(message).is_err()) {
                tracing::debug!(%token, "nobody waits for an answer");
            }
            return;
        }
        match serde_json::from_slice(&message.payload) {
            Ok(Progress::Started(started)) if started.id == token => {
                if self.started.try_send(started).is_err() {
                    tracing::debug!(job = %token, "nobody records that a job has begun");
                }
            }
            Ok(Progress::Ended(result)) if result.id == token => {
                let waiting = lock(&self.jobs).remove(&token);
                for waiter in waiting.into_iter().flatten() {
                    // Whoever has gone meanwhile needs no answer.
                    let _ = waiter.ended.send(result.clone());
                }
            }
            Ok(Progress::Started(_) | Progress::Ended(_)) => {
                tracing::warn!(job = %token, "word of one job came to the inbox of another");
            }
            Err(error) => tracing::warn!(job = %token, %error, "word of a job cannot be read"),
        }
    }
}

/// Somebody who waits for a job's end. Dropping it ends the wait.
pub struct ProgressWaiter {
    answers: Arc<Answers>,
    job: JobId,
    number: u64,
    ended: oneshot::Receiver<JobResult>,
}

impl ProgressWaiter {
    /// The job's end, unless it does not come within this time.
    pub async fn ended(&mut self, within: Duration) -> Option<JobResult> {
        time::timeout(within, &mut self.ended).await.ok()?.ok()
    }
}

impl Drop for ProgressWaiter {
    fn drop(&mut self) {
        let mut jobs = lock(&self.answers.jobs);
        if let Some(waiting) = jobs.get_mut(&self.job) {
            waiting.retain(|waiter| waiter.number != self.number);
            if waiting.is_empty() {
                jobs.remove(&self.job);
            }
        }
    }
}

/// Somebody who waits for an answer. Dropping it ends the wait.
pub(super) struct AnswerWaiter {
    answers: Arc<Answers>,
    pub(super) token: JobId,
    parts: mpsc::Receiver<Message>,
}

impl AnswerWaiter {
    /// The next message, of an answer that has no end of its own. Dropping the call loses nothing.
    pub(super) async fn next(&mut self) -> Option<Message> {
        self.parts.recv().await
    }

    /// The whole answer, however many messages it comes in.
    pub(super) async fn answer(&mut self) -> Result<Answer, ReadError> {
        let mut kind = None;
        let mut parts: Vec<Option<Bytes>> = Vec::new();
        let mut size = 0;
        while let Some(message) = self.parts.recv().await {
            let part = Part::read(&message)?;
            if parts.is_empty() {
                kind = Some(part.kind);
                parts.resize(part.count, None);
            }
            if parts.len() != part.count || kind != Some(part.kind) {
                return Err(ReadError::Malformed("has parts of different answers"));
            }
            let Some(place) = parts.get_mut(part.number) else {
                return Err(ReadError::Malformed("has a part with a number of its own"));
            };
            if place.is_none() {
                size += message.payload.len();
                *place = Some(message.payload);
            }
            if size > MAX_ANSWER_BYTES {
                return Err(ReadError::TooLarge);
            }
            if parts.iter().all(Option::is_some) {
                return Ok(Answer { kind: part.kind, body: join(parts, size) });
            }
        }
        Err(ReadError::Bus(BusError::Closing))
    }
}

impl Drop for AnswerWaiter {
    fn drop(&mut self) {
        lock(&self.answers.reads).remove(&self.token);
    }
}

/// The head of one message of an answer.
struct Part {
    kind: AnswerKind,
    number: usize,
    count: usize,
}

impl Part {
    fn read(message: &Message) -> Result<Self, ReadError> {
        let kind = header(message, HEADER_ANSWER).and_then(AnswerKind::from_header);
        let kind = kind.ok_or(ReadError::Malformed("is of a kind that is not known"))?;
        let counter = |name, default| match header(message, name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| ReadError::Malformed("has a part without a number")),
        };
        let (number, count) = (counter(HEADER_PART, 0)?, counter(HEADER_PARTS, 1)?);
        match count {
            0 => Err(ReadError::Malformed("has no parts")),
            1..=MAX_PARTS => Ok(Self { kind, number, count }),
            _ => Err(ReadError::TooLarge),
        }
    }
}

/// A header's text.
pub(super) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}

/// One part is the answer as it came; several are copied once.
fn join(parts: Vec<Option<Bytes>>, size: usize) -> Bytes {
    if let [Some(only)] = parts.as_slice() {
        return only.clone();
    }
    let mut whole = BytesMut::with_capacity(size);
    for part in parts.into_iter().flatten() {
        whole.extend_from_slice(&part);
    }
    whole.freeze()
}
