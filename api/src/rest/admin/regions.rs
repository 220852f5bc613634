//! The regions as operators see them.

use std::time::Duration;

use common::name::Instance;
use common::presence::{Drift, Node, Presence, Resources};
use jiff::Timestamp;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::super::auth::OperatorToken;
use super::super::body::Body;
use super::super::change::Nothing;
use super::super::error::Answer;
use super::super::param::{HeaderLines, Nullable};
use super::super::tag::Tag;
use super::{AdminChangeFailures, AdminFailures, Given, operator};
use crate::app::App;
use crate::app::regions::RegionDetails;

/// The calls.
pub(in super::super) struct AdminRegionsApi;

/// The regions.
#[derive(Object)]
struct Regions {
    /// Every region that has workers, orders, jobs, ports or deletes that are held, sorted.
    regions: Vec<RegionBody>,
}

/// A region. What its cluster is like is its last heard worker's word.
#[derive(Object)]
#[oai(rename = "Region", rename_all = "camelCase")]
struct RegionBody {
    /// Its code.
    region: String,
    /// Whether it has a worker that takes work.
    live: bool,
    /// Its workers that were heard within 24 hours, the last heard first.
    workers: Vec<WorkerBody>,
    /// The cluster's version (`v1.36.3`).
    cluster_version: Nullable<String>,
    /// The region's nodes.
    nodes: Vec<NodeBody>,
    /// What pods can have on the nodes that are ready.
    capacity: Nullable<ResourcesBody>,
    /// What the pods on the nodes have requested.
    requests: Nullable<ResourcesBody>,
    /// How many host ports are held.
    ports_used: u64,
    /// How many jobs have not ended.
    queue_length: u64,
    /// How long ago the oldest of them was accepted, in seconds.
    oldest_job_seconds: Nullable<u64>,
    /// How many orders are to be deleted and wait for an operator's word, as they are too many at once.
    deletes_held: u64,
    /// Orders that somebody changed by hand in the cluster; of many, those that were looked at last. Empty again once they are
    /// put right.
    drifted: Vec<DriftBody>,
}

/// An order that somebody changed by hand.
#[derive(Object)]
#[oai(rename = "Drift", rename_all = "camelCase")]
struct DriftBody {
    /// The order.
    order_id: String,
    /// What is wrong, an object each: `NetworkPolicy/pod is missing`.
    objects: Vec<String>,
}

/// A worker.
#[derive(Object)]
#[oai(rename = "Worker", rename_all = "camelCase")]
struct WorkerBody {
    /// Its name.
    instance: String,
    /// Its version.
    version: String,
    /// Whether it takes work, by its last word.
    ready: bool,
    /// When it was last heard (RFC 3339).
    last_seen: String,
    /// Jobs and reads in its hands.
    in_flight: u32,
}

/// A node of a region's cluster.
#[derive(Object)]
#[oai(rename = "Node")]
struct NodeBody {
    /// Its name.
    name: String,
    /// Whether it is ready for pods.
    ready: bool,
    /// CPU that pods can have, as a Kubernetes quantity.
    cpu: String,
    /// Memory that pods can have, as a Kubernetes quantity.
    memory: String,
}

/// An amount of CPU and memory.
#[derive(Debug, Object)]
#[oai(rename = "Resources", rename_all = "camelCase")]
struct ResourcesBody {
    /// CPU, in thousandths of a core.
    cpu_millis: u64,
    /// Memory, in bytes.
    memory_bytes: u64,
}

/// What became of the deletes.
#[derive(Object)]
struct ApprovedDeletes {
    /// How many pass.
    approved: u32,
}

impl WorkerBody {
    /// A worker that was last heard so long ago.
    fn new(instance: &Instance, presence: &Presence, ago: Duration) -> Self {
        let now = Timestamp::now();
        Self {
            instance: instance.to_string(),
            version: presence.version.clone(),
            ready: presence.ready,
            last_seen: now.saturating_sub(ago).unwrap_or(now).to_string(),
            in_flight: presence.in_flight,
        }
    }
}

impl From<&Node> for NodeBody {
    fn from(node: &Node) -> Self {
        let Node { name, ready, cpu, memory } = node.clone();
        Self { name, ready, cpu, memory }
    }
}

impl From<&Drift> for DriftBody {
    fn from(drift: &Drift) -> Self {
        Self {
            order_id: drift.order.to_string(),
            objects: drift.objects.iter().chain(&drift.volumes).cloned().collect(),
        }
    }
}

impl From<Resources> for ResourcesBody {
    fn from(Resources { cpu_millis, memory_bytes }: Resources) -> Self {
        Self { cpu_millis, memory_bytes }
    }
}

impl From<&RegionDetails> for RegionBody {
    fn from(details: &RegionDetails) -> Self {
        let last = details.workers.first().map(|worker| &worker.presence);
        let resources =
            |read: fn(&Presence) -> Option<Resources>| Nullable(last.and_then(read).map(ResourcesBody::from));
        let queue = details.queue.as_ref();
        Self {
            region: details.region.to_string(),
            live: details.is_live,
            workers: details.workers.iter().map(|w| WorkerBody::new(&w.instance, &w.presence, w.ago)).collect(),
            cluster_version: Nullable(last.and_then(|presence| presence.cluster_version.clone())),
            nodes: last.map(|presence| presence.nodes.iter().map(NodeBody::from).collect()).unwrap_or_default(),
            capacity: resources(|presence| presence.capacity),
            requests: resources(|presence| presence.requests),
            ports_used: u64::try_from(details.ports_used).unwrap_or(u64::MAX),
            queue_length: queue.map_or(0, |queue| queue.jobs),
            oldest_job_seconds: Nullable(queue.map(|queue| queue.oldest_seconds)),
            deletes_held: details.deletes_held,
            drifted: details.drifted.iter().map(DriftBody::from).collect(),
        }
    }
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminRegionsApi {
    /// Show the regions
    ///
    /// Their workers, clusters, ports and queues.
    #[oai(path = "/admin/regions", method = "get", operation_id = "list_region_details")]
    async fn regions(&self, app: Data<&App>, token: OperatorToken) -> Answer<Json<Regions>, AdminFailures> {
        operator(&app, &token)?;
        let regions = app.region_overview().await?;
        Ok(Json(Regions { regions: regions.iter().map(RegionBody::from).collect() }))
    }

    /// Approve a region's deletes
    ///
    /// Orders are deleted long after their end, within an hour at most a tenth of those in the region, one at least. Those that
    /// are due now and wait for that reason are deleted at once; later ones are not meant.
    #[oai(path = "/admin/regions/:code/approve-deletes", method = "post", operation_id = "approve_deletes")]
    async fn approve(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        /// The region's code.
        code: Path<String>,
        /// The same key approves once, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        body: Body<Nothing>,
    ) -> Answer<Json<ApprovedDeletes>, AdminChangeFailures> {
        let given = Given::read(&app, &token, &key, &body)?;
        Ok(Json(ApprovedDeletes { approved: app.approve_deletes(&code.0, given.request()).await? }))
    }
}
