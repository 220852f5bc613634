//! What a call must be answered with, for tables of calls.

use anyhow::{Context as _, Result, ensure};
use common::failure::Reason;
use serde_json::Value;

use crate::http::Answer;

/// What an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A success of this status.
    Success(u16),
    /// A failure of this status and reason.
    Refusal(u16, Reason),
    /// 400, and these are the fields that are wrong, in this order; `""` is the whole body.
    Wrong(&'static [&'static str]),
}

impl Expected {
    /// It is done, or told.
    pub const DONE: Self = Self::Success(200);
    /// It is accepted and will run.
    pub const ACCEPTED: Self = Self::Success(202);
    /// Neither secret nor token opens anything.
    pub const UNAUTHORIZED: Self = Self::Refusal(401, Reason::Unauthorized);
    /// There is no such thing.
    pub const ABSENT: Self = Self::Refusal(404, Reason::NotFound);
    /// The order was never deployed.
    pub const NOT_DEPLOYED: Self = Self::Refusal(404, Reason::NotDeployed);
    /// The order has ended.
    pub const ENDED: Self = Self::Refusal(409, Reason::OrderEnded);
    /// The order is stopped.
    pub const STOPPED: Self = Self::Refusal(409, Reason::OrderStopped);
    /// The job has begun.
    pub const BEGUN: Self = Self::Refusal(409, Reason::JobBegun);
    /// The pod has no log at the moment.
    pub const NO_LOG: Self = Self::Refusal(409, Reason::LogUnavailable);
    /// The idempotency key is another request's.
    pub const KEY_REUSED: Self = Self::Refusal(422, Reason::IdempotencyKeyReused);

    /// Whether it is a success.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Success(_))
    }

    /// The answer's body, if the answer is this one.
    pub fn check(self, answer: Answer) -> Result<Value> {
        match self {
            Self::Success(status) => answer.is(status),
            Self::Refusal(status, reason) => answer.refused(status, reason),
            Self::Wrong(fields) => {
                let error = answer.refused(400, Reason::InvalidRequest)?;
                let details = error.get("details").and_then(Value::as_array).context("no field is named")?;
                let found: Vec<_> = details.iter().filter_map(|detail| detail.get("field")?.as_str()).collect();
                ensure!(found == fields, "wrong are {found:?} instead of {fields:?}: {error}");
                Ok(error)
            }
        }
    }
}
