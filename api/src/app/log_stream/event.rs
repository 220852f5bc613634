//! What a stream of a log tells its client.

use bytes::Bytes;
use common::log::{FollowEnd, Mark, RunId};

/// Some events of one run's log.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// In their order; at least one.
    pub events: Vec<Event>,
}

/// What happens in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The container wrote a line.
    Line {
        /// Which.
        mark: Mark,
        /// What it says: bytes without a newline.
        text: Bytes,
    },
    /// Lines after this one, and before the next, may be missing.
    Gap {
        /// The last line before; none = from the beginning.
        after: Option<Mark>,
        /// The first line after, if there is one.
        before: Option<Mark>,
        /// What is missing and why.
        message: &'static str,
    },
    /// Nothing more comes.
    End {
        /// The last line.
        after: Option<Mark>,
        /// Why.
        reason: EndReason,
    },
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The run is over.
    Run(FollowEnd),
    /// The time that was asked for is over.
    EndReached,
    /// All that there was has been shown, and no more was asked for.
    Unfollowed,
    /// The region has not shown for long what was left to be shown.
    RegionUnavailable,
    /// The secret that opened the stream opens nothing any more.
    SecretRevoked,
    /// This process ends.
    ServerShutdown,
}

impl EndReason {
    /// The stable word, and what it means to the client.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Run(end) => (
                end.as_str(),
                match end {
                    FollowEnd::ContainerRestarted => "the container was started again; ask again for its new log",
                    FollowEnd::PodReplaced => "the pod was replaced by another; ask again for its log",
                    FollowEnd::PodStopped => "the pod runs no more",
                    FollowEnd::Shutdown | FollowEnd::Unheard => "the region ends the stream; ask again",
                },
            ),
            Self::EndReached => ("EndReached", "endTimestamp is reached"),
            Self::Unfollowed => ("Unfollowed", "this is all that there is now"),
            Self::RegionUnavailable => {
                ("RegionUnavailable", "the region does not show the rest; ask again later for it")
            }
            Self::SecretRevoked => ("SecretRevoked", "the order's secret was replaced; ask again with the new one"),
            Self::ServerShutdown => {
                ("ServerShutdown", "the server is shutting down; ask again, another one goes on after the last event")
            }
        }
    }
}
