//! What a worker says of itself and its region every few seconds.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::OrderId;
use crate::port::PortRange;
use crate::sealed::PublicKey;

/// How often a worker says that it is there.
pub const PRESENCE_EVERY: Duration = Duration::from_secs(5);

/// A worker that has said nothing for this long is not there (`design.md` §3).
pub const PRESENCE_STALE_AFTER: Duration = Duration::from_secs(20);

/// A region that has said nothing for this long accepts no more changes (`wire.md` §6).
pub const REGION_LOST_AFTER: Duration = Duration::from_hours(24);

/// The most orders that one word names as changed by hand; where there are more, the next words name them in turn.
pub const MAX_DRIFTED: usize = 20;

/// The most objects that are named of one order.
pub const MAX_DRIFTED_OBJECTS: usize = 8;

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
    /// What pods can have on the nodes that are ready, all together; none = not told.
    #[serde(default)]
    pub capacity: Option<Resources>,
    /// What the pods on the region's nodes have requested, all together; none = not told.
    #[serde(default)]
    pub requests: Option<Resources>,
    /// Jobs and reads in the worker's hands.
    pub in_flight: u32,
    /// Orders that somebody changed by hand, at most [`MAX_DRIFTED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifted: Vec<Drift>,
}

/// An order whose objects are not as its jobs wrote them. While one is at work that is no wonder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The order.
    pub order: OrderId,
    /// What is wrong, an object each: `NetworkPolicy/pod is missing`. At most [`MAX_DRIFTED_OBJECTS`].
    pub objects: Vec<String>,
    /// The same of volume claims: what is made in their place is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
}

/// An amount of CPU and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            cpu_millis: sum.cpu_millis.saturating_add(one.cpu_millis),
            memory_bytes: sum.memory_bytes.saturating_add(one.memory_bytes),
        })
    }
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
