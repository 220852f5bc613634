//! Every end of an attempt at a job, on one screen. Pure.

use std::time::Duration;

use common::failure::{Failure, Reason};
use common::job::Outcome;

use crate::operations::OperationError;

/// How often a job is tried before its region counts as unable to do it: for half an hour at least.
const MAX_ATTEMPTS: u32 = 60;
/// The waits before the second and the following attempts; the last one holds from there on.
const BACKOFF_SECONDS: [u64; 5] = [1, 2, 5, 10, 30];

/// Which delivery of a job this is, by the broker's count, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt(pub(super) u32);

impl Attempt {
    fn is_last(self) -> bool {
        self.0 >= MAX_ATTEMPTS
    }

    fn backoff(self) -> Duration {
        let index = usize::try_from(self.0.saturating_sub(1)).unwrap_or(usize::MAX);
        let seconds = BACKOFF_SECONDS.get(index).or(BACKOFF_SECONDS.last()).copied().unwrap_or(30);
        Duration::from_secs(seconds)
    }
}

/// What is done with a job after an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settle {
    /// Its result is published, then it is acknowledged.
    Finish(Outcome),
    /// It is delivered again after this time, to whichever worker is free.
    Again(Duration),
}

/// Settles an attempt.
pub(super) fn settle(attempted: Result<(), OperationError>, attempt: Attempt) -> Settle {
    match attempted {
        Ok(()) => Settle::Finish(Outcome::Succeeded),
        Err(OperationError::Superseded { by }) => Settle::Finish(Outcome::Superseded { by }),
        Err(OperationError::Overtaken { by }) => Settle::Finish(Outcome::Overtaken { by }),
        Err(OperationError::Refused(failure)) => Settle::Finish(Outcome::Failed(failure)),
        Err(OperationError::Unready(failure)) => Settle::Finish(Outcome::Unready(failure)),
        // What it has written meanwhile is not known.
        Err(OperationError::Retry(_)) if attempt.is_last() => Settle::Finish(Outcome::Unready(Failure::new(
            Reason::RegionUnavailable,
            "the region could not do this however often it tried; try again later",
        ))),
        Err(OperationError::Retry(_)) => Settle::Again(attempt.backoff()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::RetryCause;

    #[test]
    fn every_end_of_an_attempt_is_settled() {
        let refused = || Failure::new(Reason::NoRoom, "no room");
        let retry = || Err(OperationError::Retry(RetryCause::Blind));
        let failed = |settle: Settle| match settle {
            Settle::Finish(Outcome::Failed(failure)) => format!("failed {:?}", failure.reason),
            Settle::Finish(Outcome::Unready(failure)) => format!("unready {:?}", failure.reason),
            Settle::Finish(Outcome::Succeeded) => "succeeded".to_owned(),
            Settle::Finish(Outcome::Superseded { by }) => format!("superseded by {by}"),
            Settle::Finish(Outcome::Overtaken { by }) => format!("overtaken by {by}"),
            Settle::Again(after) => format!("again after {} s", after.as_secs()),
        };
        for (case, attempted, attempt, expected) in [
            ("done", Ok(()), 1, "succeeded"),
            ("done at last", Ok(()), 60, "succeeded"),
            ("superseded", Err(OperationError::Superseded { by: 5.try_into().unwrap() }), 1, "superseded by 5"),
            ("overtaken", Err(OperationError::Overtaken { by: 5.try_into().unwrap() }), 1, "overtaken by 5"),
            ("refused", Err(OperationError::Refused(refused())), 1, "failed NoRoom"),
            ("not coming up", Err(OperationError::Unready(refused())), 1, "unready NoRoom"),
            ("first retry", retry(), 1, "again after 1 s"),
            ("second retry", retry(), 2, "again after 2 s"),
            ("fourth retry", retry(), 4, "again after 10 s"),
            ("fifth retry", retry(), 5, "again after 30 s"),
            ("later retry", retry(), 59, "again after 30 s"),
            ("last attempt", retry(), 60, "unready RegionUnavailable"),
            ("beyond the last", retry(), 61, "unready RegionUnavailable"),
        ] {
            assert_eq!(failed(settle(attempted, Attempt(attempt))), expected, "{case}");
        }
    }
}
