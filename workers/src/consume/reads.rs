//! One read from its delivery to its answer. What nobody waits for any more the broker drops, and what is in hand ends.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use common::fail_point::FailPoint;
use common::failure::{Failure, Reason};
use common::read::{AnswerKind, Query, READ_VERSION, Read};
use common::subject::HEADER_WITHIN;
use common::telemetry;
use futures::FutureExt as _;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::pull::Handle;
use super::{Broker, Follows, InFlight, answer};
use crate::context::Context;
use crate::operations::{OperationError, RetryCause, run_read};
use crate::slot::Slot;

/// The longest that a read runs, whatever its deadline says.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Answers reads.
#[derive(Debug)]
pub struct Reads {
    /// What operations work with.
    pub context: Arc<Context>,
    /// Where answers go.
    pub broker: Broker,
    /// Counts them.
    pub in_flight: InFlight,
    /// Those whose answer is a stream.
    pub follows: Arc<Follows>,
}

impl Handle for Reads {
    async fn handle(&self, message: Message, _slot: Slot) {
        let _in_hand = self.in_flight.enter();
        let span = tracing::info_span!("read.process", region = %self.context.region);
        telemetry::continue_trace(&span, message.headers.as_ref());
        Box::pin(self.process(&message)).instrument(span).await;
        // An answer that was lost is asked for again by the client, not by the broker.
        if let Err(error) = message.ack().await {
            tracing::debug!(error = %error, "read is not acknowledged");
        }
    }

    fn is_able(&self) -> bool {
        self.context.mirrors.pods.is_complete() && self.context.mirrors.deployments.is_complete()
    }
}

impl Reads {
    async fn process(&self, message: &Message) {
        let Some(inbox) = answer::inbox(message) else {
            tracing::warn!(subject = %message.subject, "a read without an inbox is dropped");
            return;
        };
        FailPoint::ReadTaken.reached();
        let limit = waited_for(message).map_or(READ_TIMEOUT, |within| within.min(READ_TIMEOUT));
        let answered = match self.read(message) {
            Some(Read { order, query: Query::LogFollow(query), .. }) => {
                match self.follows.begin(&self.context, inbox.clone(), order, query) {
                    Ok(()) => return,
                    Err(failure) => Err(failure),
                }
            }
            Some(read) => {
                let work = AssertUnwindSafe(run_read(&self.context, &read)).catch_unwind();
                let done = timeout(limit, Box::pin(work)).await;
                let done = done.unwrap_or(Ok(Err(OperationError::Retry(RetryCause::TimedOut))));
                done.unwrap_or(Err(OperationError::Retry(RetryCause::Panicked))).map_err(|error| failure(&error))
            }
            None => Err(Failure::new(Reason::UnsupportedJob, "the region's worker is too old for this")),
        };
        let (kind, body) = match answered {
            Ok(body) => (AnswerKind::Ok, body),
            Err(failure) => (AnswerKind::Failure, serde_json::to_vec(&failure).unwrap_or_default()),
        };
        answer::send(&self.broker, &inbox, kind, body.into()).await;
        FailPoint::ReadAnswered.reached();
    }

    fn read(&self, message: &Message) -> Option<Read> {
        let read = serde_json::from_slice::<Read>(&message.payload).ok();
        read.filter(|read| read.version == READ_VERSION && read.region == self.context.region)
    }
}

/// For how long somebody waits, from when it was asked; none = the message does not say.
fn waited_for(message: &Message) -> Option<Duration> {
    message.headers.as_ref()?.get(HEADER_WITHIN)?.as_str().parse().ok().map(Duration::from_millis)
}

/// The failure that a client is told of.
fn failure(error: &OperationError) -> Failure {
    match error {
        OperationError::Refused(failure) | OperationError::Unready(failure) => failure.clone(),
        OperationError::Retry(_) | OperationError::Superseded { .. } | OperationError::Overtaken { .. } => {
            tracing::warn!(error = error as &dyn std::error::Error, "read is not answered");
            Failure::new(Reason::RegionUnavailable, "the region's cluster does not answer; try again later")
        }
    }
}
