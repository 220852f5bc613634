//! A follow as the api sees it: numbered chunks come in, credits go out. A chunk that is missing, or silence, ends it: the
//! last line says where another one goes on.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use bytes::Bytes;
use common::failure::Failure;
use common::log::{CREDIT_STOP, FOLLOW_WINDOW, FollowEnd};
use common::name::RegionCode;
use common::read::{AnswerKind, Read};
use common::subject::{self, HEADER_ANSWER, HEADER_END, HEADER_GAP, HEADER_PART};
use tokio::time::{self, Instant};

use super::Bus;
use super::answers::{AnswerWaiter, header};
use super::error::{BusError, ReadError};
use super::link::Link;

/// A worker that has said nothing for this long is gone: it says something every second.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// How often credit is renewed while little comes; a worker waits for it twice as long and more.
const RENEW_EVERY: Duration = Duration::from_secs(3);

/// Some lines of a followed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The lines, as they travel.
    pub lines: Bytes,
    /// Whether something is lost before them.
    pub gap: bool,
    /// Whether it was the last, and why.
    pub end: Option<FollowEnd>,
}

/// Why a follow has no next chunk.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The region does not follow.
    #[error("the region does not follow: {}", .0.message)]
    Refused(Failure),
    /// Nothing was heard of the worker.
    #[error("nothing is heard of the worker")]
    Silent,
    /// A chunk did not arrive.
    #[error("a chunk is missing")]
    Missing,
    /// It is not in the form of chunks.
    #[error("a chunk is not in its form")]
    Malformed,
}

/// The chunks of one follow. Dropped, the worker notices for want of credit.
pub struct Chunks {
    link: Arc<Link>,
    region: RegionCode,
    waiter: AnswerWaiter,
    credit_to: Option<Subject>,
    taken: u64,
    told: u64,
    told_at: Instant,
}

impl Bus {
    /// Asks a region to follow a log.
    ///
    /// # Errors
    /// When it could not be asked.
    pub async fn follow(&self, read: &Read, deadline: Duration) -> Result<Chunks, ReadError> {
        let waiter = self.inner.answers.expect_answer();
        let stored = self.put(read, waiter.token, deadline).await?;
        match stored.await.map_err(|error| BusError::of_publish(read.region.as_str(), error)) {
            // It may be there all the same: the first chunk tells.
            Ok(_) | Err(BusError::Timeout) => {}
            Err(error) => {
                if matches!(error, BusError::Missing(_)) {
                    self.inner.streams.forget_region(&read.region);
                }
                return Err(error.into());
            }
        }
        Ok(Chunks {
            link: self.inner.link.clone(),
            region: read.region.clone(),
            waiter,
            credit_to: None,
            taken: 0,
            told: 0,
            told_at: Instant::now(),
        })
    }
}

impl Chunks {
    /// The next chunk. Dropping the call loses nothing.
    ///
    /// # Errors
    /// See [`FollowError`]; the follow is then over.
    pub async fn next(&mut self) -> Result<Chunk, FollowError> {
        if self.taken - self.told >= FOLLOW_WINDOW / 2 || self.told_at.elapsed() >= RENEW_EVERY {
            self.tell(self.taken.to_string()).await;
            (self.told, self.told_at) = (self.taken, Instant::now());
        }
        let message = time::timeout(SILENT_AFTER, self.waiter.next()).await.map_err(|_| FollowError::Silent)?;
        self.read(message.ok_or(FollowError::Silent)?)
    }

    /// Tells the worker to end.
    pub async fn stop(self) {
        self.tell(CREDIT_STOP.to_owned()).await;
    }

    fn read(&mut self, message: Message) -> Result<Chunk, FollowError> {
        match header(&message, HEADER_ANSWER).and_then(AnswerKind::from_header) {
            Some(AnswerKind::Ok) => {}
            Some(AnswerKind::Failure) => {
                let failure = serde_json::from_slice(&message.payload).map_err(|_| FollowError::Malformed)?;
                return Err(FollowError::Refused(failure));
            }
            None => return Err(FollowError::Malformed),
        }
        let number: Option<u64> = header(&message, HEADER_PART).and_then(|text| text.parse().ok());
        if number != Some(self.taken) {
            return Err(FollowError::Missing);
        }
        let end = header(&message, HEADER_END).map(|word| FollowEnd::from_header(word).ok_or(FollowError::Malformed));
        let gap = header(&message, HEADER_GAP).is_some();
        // A region may be told of credit at inboxes of its own only.
        let reply = message.reply.filter(|reply| subject::is_worker_inbox(&self.region, reply));
        self.credit_to = reply.or(self.credit_to.take());
        self.taken += 1;
        Ok(Chunk { lines: message.payload, gap, end: end.transpose()? })
    }

    async fn tell(&self, credit: String) {
        let Some(to) = self.credit_to.clone() else { return };
        if let Err(error) = self.link.client.publish(to, credit.into()).await {
            tracing::debug!(%error, "a credit is not given");
        }
    }
}
