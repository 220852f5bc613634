//! What an order's pod uses: the question and the region's answer (`wire.md` §5, `GET /monitor`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::ContainerName;

/// Asks what the order's pod uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    /// Only these containers; none named = all.
    pub containers: Vec<ContainerName>,
}

/// What the pod uses. Every container asked for is in both maps; a figure that is not known is `None`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Each container's CPU in cores: 0.25 = a quarter of one core, 2.0 = two cores.
    pub cpu: BTreeMap<String, Option<f64>>,
    /// Each container's memory.
    pub memory: BTreeMap<String, MemoryUsage>,
    /// What the pod receives, in bits per second.
    pub network_download: Option<u64>,
    /// What the pod sends, in bits per second.
    pub network_upload: Option<u64>,
    /// What the order's volume holds, in bytes.
    pub storage: Option<u64>,
}

/// A container's memory, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryUsage {
    /// In use, without caches that the kernel can drop.
    pub value: Option<u64>,
    /// The most that it may use.
    pub limit_value: Option<u64>,
}
