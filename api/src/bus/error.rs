//! Why something of the bus did not work, and how the client's own errors are sorted into that.

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use common::login::LoginError;
use common::port::HostPort;

/// Any error of the client, kept for the log.
pub(super) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why NATS did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The setting is no list of NATS addresses.
    #[error("not a NATS address such as nats://127.0.0.1:4222")]
    Address(#[source] std::io::Error),
    /// What is needed to sign in cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// NATS does not let this process do what it must: each is named.
    #[error("NATS does not permit what the api needs: {0}")]
    NotGranted(String),
    /// No server took the connection in time.
    #[error("cannot connect to NATS")]
    Connect(#[source] async_nats::ConnectError),
    /// The server lacks what the product relies on.
    #[error("nats-server {found} is too old: {oldest} or newer is needed")]
    TooOld {
        /// What runs.
        found: String,
        /// What must.
        oldest: String,
    },
    /// A stream is not set up as it must be, and cannot be changed to be.
    #[error("stream {stream} does not have {what}")]
    WrongStream {
        /// Its name.
        stream: String,
        /// What it lacks.
        what: &'static str,
    },
    /// There is no connection now.
    #[error("NATS is not connected")]
    Disconnected,
    /// No answer came in time; what was asked may have been done, or may be done later.
    #[error("NATS did not answer in time")]
    Timeout,
    /// The stream holds as much as it may.
    #[error("{0} is full")]
    Full(String),
    /// The message is larger than the server or the stream takes.
    #[error("the message is too large for NATS")]
    TooLarge,
    /// There is no such stream, or it is not led by anybody now.
    #[error("{0} is not there")]
    Missing(String),
    /// The server had this message a moment ago, and has it no more.
    #[error("the message was there before and was taken out")]
    Repeated,
    /// The port ledger is not known well enough to decide on.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// Others keep changing the same ports.
    #[error("others keep changing the same ports")]
    Busy,
    /// The process is ending.
    #[error("the bus is closing")]
    Closing,
    /// Anything else that the server or the client says.
    #[error("NATS refuses {what}")]
    Refused {
        /// What was asked.
        what: String,
        /// What was said.
        #[source]
        source: Source,
    },
}

/// Why the ledger cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Its watch has not heard of it for too long.
    #[error("nothing is heard of the port ledger")]
    Silent,
    /// It was made anew, and does not say yet what PostgreSQL says (see [`Ledger::complete`](super::Ledger::complete)).
    #[error("the port ledger is being rebuilt")]
    Incomplete,
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    Deadline,
    /// Too many reads are under way, here or in the region.
    #[error("too many reads are under way")]
    Overloaded,
    /// The answer is larger than an answer may be.
    #[error("the answer is too large")]
    TooLarge,
    /// The answer is not in the form of answers.
    #[error("the answer {0}")]
    Malformed(&'static str),
    /// It was not asked at all.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Why ports were not reserved. None of them is then reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// These, and only these, are somebody else's.
    #[error("{} port(s) are occupied", .0.len())]
    Occupied(Vec<HostPort>),
    /// The range has not as many free ports as are wanted.
    #[error("the range has no free port left")]
    Exhausted,
    /// The ledger cannot be asked now.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// Others keep changing the same ports; try again.
    #[error("others keep changing the same ports")]
    Busy,
    /// NATS did not do it.
    #[error(transparent)]
    Bus(BusError),
}

impl From<BusError> for ReserveError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Busy => Self::Busy,
            BusError::Stale(stale) => Self::Stale(stale),
            other => Self::Bus(other),
        }
    }
}

impl BusError {
    /// An error of the client about something that has no kind of its own here.
    pub(super) fn refused(what: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::Refused { what: what.into(), source: source.into() }
    }

    /// Sorts an error of a publish to a stream.
    pub(super) fn of_publish(stream: &str, error: PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::StreamNotFound => Self::Missing(stream.to_owned()),
            PublishErrorKind::TimedOut => Self::Timeout,
            PublishErrorKind::BrokenPipe => Self::Disconnected,
            PublishErrorKind::MaxAckPending => Self::Busy,
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence | PublishErrorKind::Other => {
                match std::error::Error::source(&error).and_then(|source| source.downcast_ref()) {
                    Some(api) => Self::of_api(stream, api),
                    None => Self::refused(format!("a message to {stream}"), error),
                }
            }
        }
    }

    /// Sorts an error that the server answered.
    pub(super) fn of_api(stream: &str, error: &jetstream::Error) -> Self {
        use jetstream::ErrorCode;
        match error.error_code() {
            // "Store failed" is said of broken disks too; only the text tells a full stream.
            ErrorCode::STREAM_STORE_FAILED if error.to_string().contains("maximum") => Self::Full(stream.to_owned()),
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Self::TooLarge,
            ErrorCode::STREAM_NOT_FOUND => Self::Missing(stream.to_owned()),
            _ => Self::refused(format!("a message to {stream}"), error.clone()),
        }
    }
}
