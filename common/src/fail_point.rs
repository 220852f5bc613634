//! The ends of the steps of a change and of a read (`design.md` §4, §5), between any two of which a process may be killed. A build
//! with the feature `failpoints` ends at the one that the environment names (`FAILPOINTS`, as of the crate `fail`), as by a power
//! cut; any other build has no trace of them.

/// What is done by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailPoint {
    /// api: the ports of a deploy are reserved.
    PortsReserved,
    /// api: a job is accepted.
    JobAccepted,
    /// api: the broker has the job, and its place is not on record.
    JobPublished,
    /// api: a cancelled job was taken out of its queue, and has no end.
    JobWithdrawn,
    /// worker: a job is in its hands.
    JobTaken,
    /// worker: the fence has moved to the job.
    FenceMoved,
    /// worker: the order's namespace is there.
    NamespaceWritten,
    /// worker: what comes before the Deployment is there.
    ContentsWritten,
    /// worker: the Deployment is written.
    DeploymentWritten,
    /// worker: all objects are written, those of domains too.
    ObjectsWritten,
    /// worker: the fence was read again.
    FenceRead,
    /// worker: what the revision before used is removed.
    LeftoversRemoved,
    /// worker: a delete has told the namespace to go.
    NamespaceDeleted,
    /// worker: a job that is refused is noted as such.
    RefusalNoted,
    /// worker: the result is stored.
    ResultPublished,
    /// worker: whoever waits was told.
    EndTold,
    /// worker: the job is acknowledged.
    JobAcknowledged,
    /// api: whoever waits has heard of the end, and the client has no answer.
    EndHeard,
    /// api: a result is in its hands.
    ResultTaken,
    /// api: the end is on record.
    EndRecorded,
    /// api: the ledger follows the record, and the result is not acknowledged.
    PortsSettled,
    /// api: the broker has a read.
    ReadPublished,
    /// worker: a read is in its hands.
    ReadTaken,
    /// worker: the read is answered and not acknowledged.
    ReadAnswered,
}

impl FailPoint {
    /// All, in their order.
    pub const ALL: [Self; 24] = [
        Self::PortsReserved,
        Self::JobAccepted,
        Self::JobPublished,
        Self::JobWithdrawn,
        Self::JobTaken,
        Self::FenceMoved,
        Self::NamespaceWritten,
        Self::ContentsWritten,
        Self::DeploymentWritten,
        Self::ObjectsWritten,
        Self::FenceRead,
        Self::LeftoversRemoved,
        Self::NamespaceDeleted,
        Self::RefusalNoted,
        Self::ResultPublished,
        Self::EndTold,
        Self::JobAcknowledged,
        Self::EndHeard,
        Self::ResultTaken,
        Self::EndRecorded,
        Self::PortsSettled,
        Self::ReadPublished,
        Self::ReadTaken,
        Self::ReadAnswered,
    ];

    /// Its name in the environment: the part that does it, and what is done.
    pub fn name(self) -> &'static str {
        match self {
            Self::PortsReserved => "api-ports-reserved",
            Self::JobAccepted => "api-job-accepted",
            Self::JobPublished => "api-job-published",
            Self::JobWithdrawn => "api-job-withdrawn",
            Self::JobTaken => "worker-job-taken",
            Self::FenceMoved => "worker-fence-moved",
            Self::NamespaceWritten => "worker-namespace-written",
            Self::ContentsWritten => "worker-contents-written",
            Self::DeploymentWritten => "worker-deployment-written",
            Self::ObjectsWritten => "worker-objects-written",
            Self::FenceRead => "worker-fence-read",
            Self::LeftoversRemoved => "worker-leftovers-removed",
            Self::NamespaceDeleted => "worker-namespace-deleted",
            Self::RefusalNoted => "worker-refusal-noted",
            Self::ResultPublished => "worker-result-published",
            Self::EndTold => "worker-end-told",
            Self::JobAcknowledged => "worker-job-acknowledged",
            Self::EndHeard => "api-end-heard",
            Self::ResultTaken => "api-result-taken",
            Self::EndRecorded => "api-end-recorded",
            Self::PortsSettled => "api-ports-settled",
            Self::ReadPublished => "api-read-published",
            Self::ReadTaken => "worker-read-taken",
            Self::ReadAnswered => "worker-read-answered",
        }
    }

    /// It is done: here the process may end.
    #[cfg(feature = "failpoints")]
    pub fn reached(self) {
        fail::fail_point!(self.name(), |_| std::process::abort());
    }

    /// It is done.
    #[cfg(not(feature = "failpoints"))]
    pub fn reached(self) {}
}

/// Reads from the environment where this process is to end.
#[cfg(feature = "failpoints")]
pub fn arm() {
    std::mem::forget(fail::FailScenario::setup());
}

/// Nothing: this build has no fail points.
#[cfg(not(feature = "failpoints"))]
pub fn arm() {}
