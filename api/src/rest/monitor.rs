//! What the order's pod uses.

use std::collections::{BTreeMap, BTreeSet};

use common::name::ContainerName;
use common::usage::{MemoryUsage, Usage, UsageQuery};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::auth::OrderSecret;
use super::error::{Answer, Statuses};
use super::param::{Loose, Nullable, flag, parsed};
use super::tag::Tag;
use crate::app::App;
use crate::app::error::AppError;
use crate::app::json::Problems;

/// The call.
pub(super) struct MonitorApi;

/// Failures of `GET /monitor`.
pub(super) struct UsageFailures;

impl Statuses for UsageFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "A wrong query parameter, or a container that the pod does not have (`CONTAINER_UNKNOWN`)"),
        (401, "The secret is missing or not valid"),
        (404, "Nothing is deployed"),
        (500, "`server error`"),
        (503, "The region is not there at the moment; try again"),
        (504, "The region did not answer in time; try again"),
    ];
}

/// What the pod uses. What is not known is `null`; every key is always there.
#[derive(Object)]
#[oai(rename = "Usage", rename_all = "camelCase", example)]
struct UsageBody {
    /// Each container's CPU.
    cpu: BTreeMap<String, Nullable<CpuBody>>,
    /// Each container's memory.
    memory: BTreeMap<String, Nullable<MemoryBody>>,
    /// What the pod receives, in bits per second.
    network_download: Nullable<FigureBody>,
    /// What the pod sends, in bits per second.
    network_upload: Nullable<FigureBody>,
    /// What the order's volume holds, in bytes; `null` also where the region's kind of volume is not measured.
    storage: Nullable<FigureBody>,
}

/// A container's CPU.
#[derive(Object)]
#[oai(rename = "CpuUsage")]
struct CpuBody {
    /// The part of one core: 0.25 is 25 %, and 2 is two whole cores. CPU has no limit, so that there is no whole of the
    /// container's own to be a part of.
    value: f64,
}

/// A container's memory.
#[derive(Object)]
#[oai(rename = "MemoryUsage", rename_all = "camelCase")]
struct MemoryBody {
    /// In use, in bytes, without caches that can be dropped.
    value: u64,
    /// The most that the container may use, in bytes.
    limit_value: u64,
}

/// A figure.
#[derive(Object)]
#[oai(rename = "Figure")]
struct FigureBody {
    /// How much.
    value: u64,
}

impl Example for UsageBody {
    fn example() -> Self {
        let memory = MemoryUsage { value: Some(10_485_760), limit_value: Some(1_073_741_824) };
        Self::from(Usage {
            cpu: [("nginx-test".to_owned(), Some(0.25))].into(),
            memory: [("nginx-test".to_owned(), memory)].into(),
            network_download: Some(12_000),
            network_upload: Some(480_000),
            storage: None,
        })
    }
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        let figure = |value: Option<u64>| Nullable(value.map(|value| FigureBody { value }));
        let cpu = |value: Option<f64>| Nullable(value.map(|value| CpuBody { value }));
        // Existing clients print both numbers of what is not null.
        let memory = |MemoryUsage { value, limit_value }| {
            Nullable(value.zip(limit_value).map(|(value, limit_value)| MemoryBody { value, limit_value }))
        };
        Self {
            cpu: usage.cpu.into_iter().map(|(name, value)| (name, cpu(value))).collect(),
            memory: usage.memory.into_iter().map(|(name, value)| (name, memory(value))).collect(),
            network_download: figure(usage.network_download),
            network_upload: figure(usage.network_upload),
            storage: figure(usage.storage),
        }
    }
}

#[OpenApi(tag = "Tag::Order")]
impl MonitorApi {
    /// Query what the pod uses
    ///
    /// CPU, memory, network and storage, a few seconds old. CPU is the node's own average over the last seconds. Network
    /// figures are averages over the time between the last two measurements, 1 s to 2 min apart: about 5 s where figures
    /// are asked for again and again. Storage is measured once a minute. Of a pod that is stopped,
    /// or has only begun, figures are `null`; so are those of one whose node does not tell at the moment.
    #[oai(path = "/monitor", method = "get", operation_id = "get_usage")]
    async fn usage(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// Accepted for existing clients: all figures are always there.
        #[oai(name = "allTypes")]
        all_types: Query<Option<Loose<bool>>>,
        /// Only this container; repeat it for several. All unless given.
        containers: Query<Option<Vec<String>>>,
        /// All containers, whatever `containers` names.
        #[oai(name = "allContainers")]
        all_containers: Query<Option<Loose<bool>>>,
    ) -> Answer<Json<UsageBody>, UsageFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        let mut problems = Problems::default();
        flag("allTypes", all_types.0.as_ref(), &mut problems);
        let all = flag("allContainers", all_containers.0.as_ref(), &mut problems);
        let named = containers.0.unwrap_or_default();
        let named = named.iter().filter_map(|name| parsed("containers", Some(name), str::parse, &mut problems));
        let named: BTreeSet<ContainerName> = named.collect();
        if !problems.is_empty() {
            return Err(AppError::invalid(problems).into());
        }
        let containers = if all { Vec::new() } else { named.into_iter().collect() };
        let usage = app.usage(&order, UsageQuery { containers }).await?;
        let usage: Usage = serde_json::from_slice(&usage).map_err(AppError::internal)?;
        Ok(Json(UsageBody::from(usage)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem_openapi::types::ToJSON as _;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_null_under_a_key_that_is_there() {
        let half = MemoryUsage { value: None, limit_value: Some(67_108_864) };
        let usage = Usage {
            cpu: [("web".to_owned(), None), ("side".to_owned(), Some(0.5))].into(),
            memory: [("web".to_owned(), half)].into(),
            network_upload: Some(8),
            ..Usage::default()
        };
        assert_eq!(
            UsageBody::from(usage).to_json(),
            Some(json!({
                "cpu": { "web": null, "side": { "value": 0.5 } },
                "memory": { "web": null },
                "networkDownload": null,
                "networkUpload": { "value": 8 },
                "storage": null,
            }))
        );
    }
}
