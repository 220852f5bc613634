//! What a worker says of itself and its region every few seconds.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::port::PortRange;
use crate::sealed::PublicKey;

/// How often a worker says that it is there.
pub const PRESENCE_EVERY: Duration = Duration::from_secs(5);

/// A worker that has said nothing for this long is not there (`design.md` §3).
pub const PRESENCE_STALE_AFTER: Duration = Duration::from_secs(20);

/// A region that has said nothing for this long accepts no more changes (`wire.md` §6).
pub const REGION_LOST_AFTER: Duration = Duration::from_hours(24);

/// One worker's word. Read with whatever fields are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// When it was said.
    pub at: Timestamp,
    /// Whether the worker takes work: false from its shutdown on, and while its cluster does not answer.
    pub ready: bool,
    /// The worker's own version.
    pub version: String,
    /// The cluster's version, once known (`v1.36.3`).
    pub cluster_version: Option<String>,
    /// What secrets for the region are sealed to.
    pub public_key: PublicKey,
    /// Where the region's assigned ports come from.
    pub random_ports: PortRange,
    /// The region's nodes.
    pub nodes: Vec<Node>,
    /// Jobs and reads in the worker's hands.
    pub in_flight: u32,
}

/// One node of the region, as Kubernetes reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is ready for pods.
    pub ready: bool,
    /// CPU that pods can have, as a Kubernetes quantity.
    pub cpu: String,
    /// Memory that pods can have, as a Kubernetes quantity.
    pub memory: String,
}
