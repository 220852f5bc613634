//! A job's result goes to RESULTS, where the server refuses a second one (`design.md` §4.6).

use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use common::job::JobResult;
use common::name::RegionCode;
use common::{subject, telemetry};
use tokio::time::sleep;

use super::Broker;

/// How often to try, and how long to wait in between: with the broker's own deadline of 5 s a try, within the time for which
/// the job is ours.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is the job's end.
    Ours,
    /// The job had ended before; that end holds.
    Before,
    /// The job has ended, most likely so: an answer was lost.
    Unsure,
}

/// Publishes a result, and waits until the stream has it.
pub(super) async fn publish(
    broker: &Broker,
    region: &RegionCode,
    result: &JobResult,
) -> Result<Published, PublishError> {
    let subject = subject::result(region, result.id);
    let body = serde_json::to_vec(result).expect("a result is JSON");
    let mut headers = async_nats::HeaderMap::new();
    telemetry::inject(&mut headers);
    let message = PublishMessage::build().payload(body.into()).headers(headers);
    let message = message.message_id(result.id.to_string()).expected_last_subject_sequence(0);
    let mut unsure = false;
    for tried in 1.. {
        let sent = async { broker.jetstream.send_publish(subject.clone(), message.clone()).await?.await };
        match sent.await {
            Ok(ack) if !ack.duplicate => return Ok(Published::Ours),
            Ok(_) => return Ok(there(unsure)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => return Ok(there(unsure)),
            Err(error) if tried >= TRIES => return Err(error),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "result is published again");
                unsure = true;
                sleep(PAUSE).await;
            }
        }
    }
    Ok(Published::Before)
}

/// What is there already: after a try whose answer was lost it may be our own.
fn there(unsure: bool) -> Published {
    if unsure { Published::Unsure } else { Published::Before }
}
