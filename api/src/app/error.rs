//! Why a use case did not do what was asked: one part for the client, one for the log.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use common::failure::{Failure, Reason};
use common::name::JobId;

use super::json::{Problem, Problems};
use crate::bus::BusError;
use crate::store::StoreError;

/// A failure of a use case. `Display` is the message for the client; the source is for the log alone.
#[derive(Debug)]
pub struct AppError {
    /// The stable word.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
    /// Each wrong field.
    pub details: Vec<Problem>,
    /// When it makes sense to ask again.
    pub retry_after: Option<Duration>,
    /// The job whose end this is: it was accepted, and another try would be another change.
    pub job: Option<JobId>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl AppError {
    /// A failure without further particulars.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), details: Vec::new(), retry_after: None, job: None, source: None }
    }

    /// Every problem of a request at once.
    pub fn invalid(problems: Problems) -> Self {
        let details = problems.into_vec();
        let message = match details.as_slice() {
            [only] => only.to_string(),
            all => {
                let fields: Vec<&str> = all.iter().map(|problem| problem.field.as_str()).collect();
                format!("{} problems, see details: {}", all.len(), fields.join(", "))
            }
        };
        Self { details, ..Self::new(Reason::InvalidRequest, message) }
    }

    /// The one answer to a missing, unknown, revoked or expired secret or token (`wire.md` §1).
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "the secret, or the operator's token, is missing or not valid")
    }

    /// The same, with word of when it makes sense to ask again.
    #[must_use]
    pub fn retry_after(self, time: Duration) -> Self {
        Self { retry_after: Some(time), ..self }
    }

    /// The same, as the end of a job.
    #[must_use]
    pub fn end_of(self, job: JobId) -> Self {
        Self { job: Some(job), ..self }
    }

    /// The same for another reason.
    #[must_use]
    pub fn because(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// A fault of ours: the cause goes to the log.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..Self::new(Reason::Internal, "server error") }
    }

    /// Something that we need is away or busy: worth another try.
    pub fn overloaded(message: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..Self::new(Reason::Overloaded, message) }
            .retry_after(Duration::from_secs(1))
    }

    /// Whether one statement took too long, where others may not.
    pub fn took_too_long(&self) -> bool {
        let cause = self.source.as_ref().and_then(|source| source.downcast_ref());
        matches!(cause, Some(StoreError::Timeout(_)))
    }

    /// The region does not answer.
    pub fn region_unavailable(region: &common::name::RegionCode) -> Self {
        let message = format!("region {region} does not answer at the moment; try again later");
        Self::new(Reason::RegionUnavailable, message).retry_after(Duration::from_secs(5))
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for AppError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

impl From<Failure> for AppError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.reason, failure.message)
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Timeout(_) => {
                Self::overloaded("the service is busy; try again in a moment", error)
            }
            StoreError::Statement(_)
            | StoreError::Row { .. }
            | StoreError::Migration(_)
            | StoreError::Schema { .. }
            | StoreError::Settings(_) => Self::internal(error),
        }
    }
}

impl From<BusError> for AppError {
    fn from(error: BusError) -> Self {
        Self::overloaded("the service is busy; try again in a moment", error)
    }
}
