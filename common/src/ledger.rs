//! The values of the port ledger: who holds a port by the record, and which ports a region sees in use.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::{JobId, OrderId, Sequence};
use crate::port::{PortNumber, PortRange, Protocol};

/// What the ledger says of one port. A port without an entry, or with a deleted one, is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PortState {
    /// Wanted by a job that has not ended.
    Reserved {
        /// The holder.
        order: OrderId,
        /// The job that wants it.
        job: JobId,
        /// Since when.
        since: Timestamp,
        /// Until when it was cooling, if it was, and will be again should the job come to nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cooling: Option<Timestamp>,
    },
    /// Part of the order's deployed revision.
    Bound {
        /// The holder.
        order: OrderId,
        /// The job that bound it, by its sequence.
        sequence: Sequence,
        /// Since when.
        since: Timestamp,
    },
    /// No longer part of it, and not yet free for others.
    Cooling {
        /// The last holder.
        order: OrderId,
        /// Free not before this time, and not before an observation that shows no pod with it.
        until: Timestamp,
    },
}

impl PortState {
    /// The order that holds the port.
    pub fn order(&self) -> &OrderId {
        match self {
            Self::Reserved { order, .. } | Self::Bound { order, .. } | Self::Cooling { order, .. } => order,
        }
    }
}

/// The ports that a region's pods and hosts really hold, as its workers see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// When they were seen.
    pub at: Timestamp,
    /// Each port once for each holder.
    pub ports: Vec<ObservedPort>,
    /// Ports that the region never hands out: node ports, system services, a configured list; of both protocols.
    pub denied: Vec<PortRange>,
}

/// A port in use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObservedPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The number on the host.
    pub port: PortNumber,
    /// The order whose pod holds it; none = a foreign pod or a process of the host.
    pub order: Option<OrderId>,
}
