//! Why something did not work, in words that are stable on the wire.

use serde::{Deserialize, Serialize};

/// The closed set of reasons. Clients may match on them; a word once sent keeps its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The request does not have the form it must have; `details` name each field.
    InvalidRequest,
    /// The secret or operator token is missing, unknown, revoked or expired.
    Unauthorized,
    /// There is no such thing.
    NotFound,
    /// The path knows other methods only.
    MethodNotAllowed,
    /// The client was too slow in sending its request.
    RequestTimeout,
    /// The path, query and headers are larger than the limit.
    HeadersTooLarge,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// The body is not JSON by its content type.
    UnsupportedMediaType,
    /// The same key was used for another request, or the same id for another order.
    IdempotencyKeyReused,
    /// An order of this id exists with other contents.
    OrderExists,
    /// The order's region is another one.
    RegionMismatch,
    /// A host port belongs to someone else.
    PortOccupied,
    /// The region has no random port left.
    PortsExhausted,
    /// The registry knows no such image for linux/amd64.
    ImageNotFound,
    /// The registry refuses the login.
    RegistryRefused,
    /// The registry does not let the region pull the image with the login that was given, or without one.
    ImagePullRefused,
    /// The address or the order has had all the requests that it may have for now.
    RateLimited,
    /// The registry limits how often we may ask.
    RegistryRateLimited,
    /// The registry does not answer.
    RegistryUnreachable,
    /// No such region is known.
    RegionUnknown,
    /// No worker of the region answers.
    RegionUnavailable,
    /// Nothing is deployed for the order.
    NotDeployed,
    /// The order has been deleted or aborted, or its paid time is over.
    OrderEnded,
    /// The job has begun or ended, or a newer one stands before it.
    JobBegun,
    /// A domain is bound to another order.
    DomainTaken,
    /// The order is stopped.
    OrderStopped,
    /// The pod has no container of that name, or several and none was named.
    ContainerUnknown,
    /// The container has no log to show yet.
    LogUnavailable,
    /// The order's namespace has no quota left for the pod.
    QuotaExceeded,
    /// No node of the region has room for the pod.
    NoRoom,
    /// A container ends again and again.
    CrashLoop,
    /// The pod did not become ready in time.
    RolloutTimeout,
    /// Kubernetes does not accept what was asked.
    Refused,
    /// The worker does not understand the job: it is older than the api.
    UnsupportedJob,
    /// A newer change of the order replaced this one.
    Superseded,
    /// The answer did not come in time.
    DeadlineExceeded,
    /// Too much is in flight; try again later.
    Overloaded,
    /// A fault of ours.
    Internal,
}

/// Why a job or a read failed, as a customer may read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The stable word.
    pub reason: Reason,
    /// What is wrong and what to do. Never holds a secret or an internal name.
    pub message: String,
}

impl Failure {
    /// A failure for this reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
