//! All that an operation may touch.

use std::sync::Arc;
use std::time::Duration;

use common::name::RegionCode;
use common::sealed::KeyRing;
use tokio::sync::watch;

use crate::cluster::fence::Fences;
use crate::cluster::{Cluster, Facts, Mirrors};
use crate::settings::PodSettings;

/// What operations work with.
#[derive(Debug)]
pub struct Context {
    /// Whose pods these are.
    pub region: RegionCode,
    /// What opens the region's sealed values.
    pub keys: Arc<KeyRing>,
    /// What all pods have in common.
    pub pods: PodSettings,
    /// How long a job waits for what the cluster does.
    pub rollout_timeout: Duration,
    /// The way to the cluster.
    pub cluster: Cluster,
    /// What the cluster is seen to hold.
    pub mirrors: Mirrors,
    /// What it was last found to be.
    pub facts: watch::Sender<Facts>,
    /// Which job of an order may still change anything.
    pub fences: Fences,
}
