//! The ends of jobs: consumed by all api instances together, each once, and looked up by whoever waits for one.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageError, RawMessageErrorKind, Stream};
use async_nats::jetstream::{AckKind, ErrorCode, Message};
use common::job::{JobResult, Progress};
use common::name::{JobId, RegionCode};
use common::{stream, subject, telemetry};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::backoff::Backoff;
use super::error::{BusError, Source};
use super::link::Link;
use super::streams::{Streams, timestamp};

/// How many ends are handled at a time.
const CONCURRENCY: usize = 16;
/// The longest that one end is handled: less than the broker waits for its acknowledgement.
const HANDLING_LIMIT: Duration = Duration::from_secs(25);
/// How long a pull request stands at the server, and so how long the end of pulling takes: what the server has promised to
/// a request comes until then, and would otherwise come to another instance only after the broker's patience.
const PULL_EXPIRES: Duration = Duration::from_secs(2);
/// The longest before an end that could not be handled comes again.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// How often a waiter looks into the stream itself.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A job's end as the stream delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The region whose worker said it. The job must be this region's: a worker can publish for its own only.
    pub region: RegionCode,
    /// What it said.
    pub result: JobResult,
    /// When the stream took it, by the server's clock.
    pub published_at: Timestamp,
    /// How often it was delivered, this time included.
    pub deliveries: u64,
}

/// The consumer that all api instances share.
pub struct ResultsConsumer {
    pub(super) link: Arc<Link>,
    pub(super) streams: Arc<Streams>,
}

impl ResultsConsumer {
    /// Hands each end to `handler` until `shutdown`, then waits for those in its hands. What it took is not delivered
    /// again; what it refused comes again later, here or at another instance. A second delivery is possible: the handler
    /// must be harmless when repeated.
    pub async fn run<H, F, E>(self, handler: H, shutdown: CancellationToken)
    where
        H: Fn(Ended) -> F + Send + Sync,
        F: Future<Output = Result<(), E>> + Send,
        E: Error + Send + 'static,
    {
        let mut backoff = Backoff::default();
        let mut handling = FuturesUnordered::new();
        while !shutdown.is_cancelled() {
            let Err(error) = self.pull(&handler, &mut handling, &mut backoff, &shutdown).await else { break };
            let wait = backoff.next();
            tracing::warn!(error = &*error as &dyn Error, ?wait, "nats: results are pulled anew");
            self.streams.suspect();
            let mut pause = std::pin::pin!(time::sleep(wait));
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = &mut pause => break,
                    Some(()) = handling.next(), if !handling.is_empty() => {}
                }
            }
        }
        while handling.next().await.is_some() {}
    }

    /// One request after another, each for as many messages as there are hands free; ends without error at shutdown only.
    async fn pull<'h, H, F, E>(
        &self,
        handler: &'h H,
        handling: &mut FuturesUnordered<BoxFuture<'h, ()>>,
        backoff: &mut Backoff,
        shutdown: &CancellationToken,
    ) -> Result<(), Source>
    where
        H: Fn(Ended) -> F + Send + Sync,
        F: Future<Output = Result<(), E>> + Send + 'h,
        E: Error + Send + 'static,
    {
        // Made if it is not there, else only found.
        let consumer = self.link.context.create_consumer_on_stream(stream::results_consumer(), stream::RESULTS).await?;
        let mut connects = self.link.connects();
        while !shutdown.is_cancelled() {
            let free = CONCURRENCY.saturating_sub(handling.len());
            if free == 0 {
                handling.next().await;
                continue;
            }
            connects.mark_unchanged();
            let mut batch = consumer.batch().max_messages(free).expires(PULL_EXPIRES).messages().await?;
            // The server may have gone: by then the request is over in any case.
            let mut over = std::pin::pin!(async {
                shutdown.cancelled().await;
                time::sleep(PULL_EXPIRES).await;
            });
            loop {
                tokio::select! {
                    biased;
                    message = batch.next() => match message {
                        Some(message) => {
                            handling.push(handle(message?, handler).boxed());
                            backoff.reset();
                        }
                        None => break,
                    },
                    Some(()) = handling.next(), if !handling.is_empty() => {}
                    // What was asked over the old connection is not answered any more.
                    Ok(()) = connects.changed() => break,
                    () = &mut over => break,
                }
            }
        }
        Ok(())
    }
}

/// One delivery, from its message to its acknowledgement.
async fn handle<H, F, E>(message: Message, handler: &H)
where
    H: Fn(Ended) -> F,
    F: Future<Output = Result<(), E>>,
    E: Error + 'static,
{
    let ended = match read(&message) {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(subject = %message.subject, %error, "a result cannot be read and is put away");
            return settle(&message, AckKind::Term).await;
        }
    };
    let (job, deliveries) = (ended.result.id, ended.deliveries);
    let span = tracing::info_span!("job.result", job = %job);
    telemetry::continue_trace(&span, message.headers.as_ref());
    match time::timeout(HANDLING_LIMIT, handler(ended).instrument(span)).await {
        Ok(Ok(())) => return settle(&message, AckKind::Ack).await,
        Ok(Err(error)) => {
            tracing::warn!(%job, error = &error as &dyn Error, "a result will be handled again");
        }
        Err(_) => tracing::warn!(%job, "a result took too long and will be handled again"),
    }
    let doubled = Duration::from_secs(1 << deliveries.min(5));
    settle(&message, AckKind::Nak(Some(doubled.min(LONGEST_DELAY)))).await;
}

/// Tells the broker; what it does not hear comes again.
async fn settle(message: &Message, kind: AckKind) {
    let told = match kind {
        AckKind::Ack => message.double_ack().await,
        other => message.ack_with(other).await,
    };
    if let Err(error) = told {
        tracing::warn!(%error, "the broker was not told about a result");
    }
}

fn read(message: &Message) -> Result<Ended, Source> {
    let result: JobResult = serde_json::from_slice(&message.payload)?;
    let region: RegionCode = message.subject.rsplit('.').nth(1).unwrap_or_default().parse()?;
    if *message.subject != *subject::result(&region, result.id) {
        return Err("it is about another job than its subject".into());
    }
    let info = message.info()?;
    let published_at = timestamp(info.published.unix_timestamp_nanos())?;
    let deliveries = u64::try_from(info.delivered).unwrap_or(1);
    Ok(Ended { region, result, published_at, deliveries })
}

/// Waits for one job's end, whoever published it and whenever: the subscription hears what comes, the look what was there.
pub(super) async fn wait(
    link: &Link,
    region: &RegionCode,
    job: JobId,
    within: Duration,
) -> Result<JobResult, BusError> {
    let deadline = Instant::now() + within;
    let subject = subject::result(region, job);
    let refused = |error: Source| BusError::refused("a result", error);
    let mut heard = link.client.subscribe(subject.clone()).await.map_err(|error| refused(error.into()))?;
    let stream = link.context.get_stream_no_info(stream::RESULTS).await.map_err(|error| refused(error.into()))?;
    while Instant::now() < deadline {
        match time::timeout_at(deadline, stream.direct_get_last_for_subject(&subject)).await {
            Ok(Ok(message)) => return serde_json::from_slice(&message.payload).map_err(|error| refused(error.into())),
            Ok(Err(error)) if error.kind() == DirectGetErrorKind::NotFound => {}
            // The next look may do better, and the subscription may be quicker.
            Ok(Err(error)) => tracing::debug!(%job, %error, "a result was not looked up"),
            Err(_) => break,
        }
        let until = deadline.min(Instant::now() + LOOK_EVERY);
        match time::timeout_at(until, heard.next()).await {
            Ok(Some(message)) => {
                return serde_json::from_slice(&message.payload).map_err(|error| refused(error.into()));
            }
            Ok(None) => return Err(BusError::Closing),
            Err(_) => {}
        }
    }
    Err(BusError::Timeout)
}

/// A job's end, if anybody has told it: asked of the stream's leader, which is never behind.
pub(super) async fn find(link: &Link, region: &RegionCode, job: JobId) -> Result<Option<JobResult>, BusError> {
    let refused = |error: Source| BusError::refused("a result", error);
    let stream = link.context.get_stream_no_info(stream::RESULTS).await.map_err(|error| refused(error.into()))?;
    let found = found(stream.get_last_raw_message_by_subject(&subject::result(region, job)).await);
    let message = found.map_err(|error| refused(error.into()))?;
    message.map(|message| serde_json::from_slice(&message.payload)).transpose().map_err(|error| refused(error.into()))
}

/// What was looked for; a stream that is not there holds nothing.
fn found(looked: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, RawMessageError> {
    match looked {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(error),
        },
    }
}

/// A job that was taken out of its queue.
#[derive(Debug, Default)]
pub struct Withdrawn {
    /// Where whoever waits for it is told, if that is known.
    reply: Option<String>,
}

/// Publishes an end; the server refuses a second one. False = there was one.
pub(super) async fn publish(
    link: &Link,
    region: &RegionCode,
    result: &JobResult,
    withdrawn: &Withdrawn,
) -> Result<bool, BusError> {
    let refused = |error: serde_json::Error| BusError::refused("a result", error);
    let payload = serde_json::to_vec(result).map_err(refused)?;
    let mut headers = async_nats::HeaderMap::new();
    telemetry::inject(&mut headers);
    let message = PublishMessage::build().payload(payload.into()).headers(headers);
    let message = message.message_id(result.id.to_string()).expected_last_subject_sequence(0);
    let of_publish = |error| BusError::of_publish(stream::RESULTS, error);
    let sent = link.context.send_publish(subject::result(region, result.id), message).await.map_err(of_publish)?;
    match sent.await {
        Ok(ack) if ack.duplicate => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => return Ok(false),
        Err(error) => return Err(of_publish(error)),
    }
    if let Some(reply) = &withdrawn.reply {
        let progress = serde_json::to_vec(&Progress::Ended(result.clone())).map_err(refused)?;
        if let Err(error) = link.client.publish(reply.clone(), progress.into()).await {
            tracing::debug!(job = %result.id, %error, "nobody is told of a job's end");
        }
    }
    Ok(true)
}

/// Removes a job's message from its stream, once it is sure that it is that job's: a stream that was made anew counts anew.
/// None = it is not there.
pub(super) async fn withdraw(
    link: &Link,
    region: &RegionCode,
    job: JobId,
    sequence: u64,
) -> Result<Option<Withdrawn>, BusError> {
    let stream = queue(link, region).await?;
    let Some(message) = message(&stream, job, sequence).await? else { return Ok(None) };
    let reply = message.headers.get(subject::HEADER_REPLY).map(|reply| reply.as_str().to_owned());
    let deleted = stream.delete_message(sequence).await.map_err(|error| not_looked_up(error.into()))?;
    Ok(deleted.then_some(Withdrawn { reply }))
}

/// Whether a job's message is in its stream. One that is not was taken out, or its result is there.
pub(super) async fn is_queued(link: &Link, region: &RegionCode, job: JobId, sequence: u64) -> Result<bool, BusError> {
    Ok(message(&queue(link, region).await?, job, sequence).await?.is_some())
}

fn not_looked_up(error: Source) -> BusError {
    BusError::refused("a look into a queue", error)
}

async fn queue(link: &Link, region: &RegionCode) -> Result<Stream<()>, BusError> {
    let stream = link.context.get_stream_no_info(stream::jobs_name(region)).await;
    stream.map_err(|error| not_looked_up(error.into()))
}

/// A job's message, where it is at this place of its stream.
async fn message(stream: &Stream<()>, job: JobId, sequence: u64) -> Result<Option<StreamMessage>, BusError> {
    let message = found(stream.get_raw_message(sequence).await).map_err(|error| not_looked_up(error.into()))?;
    Ok(message.filter(|message| {
        let id = message.headers.get(NATS_MESSAGE_ID).map(async_nats::HeaderValue::as_str);
        id == Some(job.to_string().as_str())
    }))
}
