//! Writes to the ledger: several keys together or none of them, each only over the revision that was expected.

use std::sync::Arc;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{ErrorCode, context::PublishErrorKind};
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use common::name::RegionCode;
use common::port::HostPort;
use common::{stream, subject};
use serde::Deserialize;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::error::BusError;
use super::link::Link;
use super::plan::Write;
use super::ports::{Entry, Slot};

/// The most keys of one write (the server takes 1000 messages a batch).
pub(super) const MAX_WRITES: usize = 1000;
/// The most batches this process has open; the server takes 50 a stream, from all api instances together.
const MAX_OPEN: usize = 8;

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// A key is not at the revision that was expected.
    Conflict,
    /// Too much is under way: the same may work in a moment.
    Busy,
    Bus(BusError),
}

/// The writer of the ledger.
pub(super) struct Writer {
    link: Arc<Link>,
    open: Semaphore,
}

/// What the server says of a stored message or batch.
#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

impl Writer {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, open: Semaphore::new(MAX_OPEN) }
    }

    /// Writes all or nothing, and gives back the entries that are there now. Costs nothing for no writes, a publish for
    /// one, and for `n` one publish each, of which the server answers the last.
    pub(super) async fn write(
        &self,
        region: &RegionCode,
        writes: &[Write],
    ) -> Result<Vec<(HostPort, Entry)>, WriteError> {
        let count = writes.len();
        if count > MAX_WRITES {
            return Err(WriteError::Bus(BusError::TooLarge));
        }
        self.link.check_connected().map_err(WriteError::Bus)?;
        let last = match writes {
            [] => return Ok(Vec::new()),
            [write] => self.one(region, write).await?,
            several => self.batch(region, several).await?,
        };
        let before = last - (count as u64);
        let revisions = (1..).map(|place| before + place);
        Ok(writes.iter().zip(revisions).map(|(write, revision)| (write.host, entry(write, revision))).collect())
    }

    async fn one(&self, region: &RegionCode, write: &Write) -> Result<u64, WriteError> {
        let stream = stream::bucket_stream(stream::HOSTPORTS);
        let message = PublishMessage::build().headers(headers(write)).payload(payload(write));
        let stored = async { self.link.context.send_publish(key(region, write), message).await?.await }.await;
        match stored {
            Ok(stored) => Ok(stored.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(WriteError::Conflict),
            Err(error) => match std::error::Error::source(&error).and_then(|source| source.downcast_ref()) {
                Some(api) => Err(of_api(api)),
                None => Err(WriteError::Bus(BusError::of_publish(&stream, error))),
            },
        }
    }

    async fn batch(&self, region: &RegionCode, writes: &[Write]) -> Result<u64, WriteError> {
        let _open = self.open.acquire().await.map_err(|_| WriteError::Busy)?;
        let batch = Uuid::new_v4().simple().to_string();
        let client = &self.link.client;
        let Some((commit, before)) = writes.split_last() else { return Err(WriteError::Busy) };
        for (place, write) in (1_u32..).zip(before) {
            let headers = batch_headers(write, &batch, place);
            // Unanswered: if this one is lost or refused, so is the commit.
            let sent = client.publish_with_headers(key(region, write), headers, payload(write)).await;
            sent.map_err(|error| WriteError::Bus(BusError::refused("a batch", error)))?;
        }
        let place = u32::try_from(writes.len()).unwrap_or(u32::MAX);
        let mut headers = batch_headers(commit, &batch, place);
        headers.insert("Nats-Batch-Commit", "1");
        let request = Request::new().headers(headers).payload(payload(commit));
        let answer = client.send_request(key(region, commit), request).await.map_err(|error| {
            WriteError::Bus(match error.kind() {
                async_nats::RequestErrorKind::TimedOut => BusError::Timeout,
                async_nats::RequestErrorKind::NoResponders => {
                    BusError::Missing(stream::bucket_stream(stream::HOSTPORTS))
                }
                _ => BusError::refused("a batch", error),
            })
        })?;
        match serde_json::from_slice::<Response<Stored>>(&answer.payload) {
            Ok(Response::Ok(stored)) => Ok(stored.seq),
            Ok(Response::Err { error }) => Err(of_api(&error)),
            Err(error) => Err(WriteError::Bus(BusError::refused("a batch", error))),
        }
    }
}

/// Which refusals are races and which are not.
fn of_api(error: &async_nats::jetstream::Error) -> WriteError {
    match error.error_code() {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => WriteError::Conflict,
        // "expected last sequence per subject temporarily unavailable", "batch is incomplete", "too many inflight"
        ErrorCode(10_163 | 10_176 | 10_210) => WriteError::Busy,
        _ => WriteError::Bus(BusError::of_api(&stream::bucket_stream(stream::HOSTPORTS), error)),
    }
}

fn key(region: &RegionCode, write: &Write) -> String {
    subject::bucket_subject(stream::HOSTPORTS, &subject::port_key(region, write.host))
}

fn payload(write: &Write) -> Bytes {
    let state = write.state.as_ref().map(|state| serde_json::to_vec(state).expect("a port state is JSON"));
    state.unwrap_or_default().into()
}

fn headers(write: &Write) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", write.expected.to_string());
    if write.state.is_none() {
        headers.insert("KV-Operation", "DEL");
    }
    headers
}

fn batch_headers(write: &Write, batch: &str, place: u32) -> HeaderMap {
    let mut headers = headers(write);
    headers.insert("Nats-Batch-Id", batch);
    headers.insert("Nats-Batch-Sequence", place.to_string());
    headers
}

fn entry(write: &Write, revision: u64) -> Entry {
    Entry { revision, slot: write.state.clone().map_or(Slot::Free, Slot::Held) }
}
