//! What the order's pod uses.

use std::collections::{BTreeMap, BTreeSet};

use common::name::ContainerName;
use common::usage::{Usage, UsageQuery};
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

/// What the pod uses. A figure that is not known is `null`; what holds it is always there.
#[derive(Object)]
#[oai(rename = "Usage", rename_all = "camelCase", example)]
struct UsageBody {
    /// Each container's CPU.
    cpu: BTreeMap<String, CpuBody>,
    /// Each container's memory.
    memory: BTreeMap<String, MemoryBody>,
    /// What the pod receives, in bits per second.
    network_download: FigureBody,
    /// What the pod sends, in bits per second.
    network_upload: FigureBody,
    /// What the order's volume holds, in bytes; `null` also where the region's kind of volume is not measured.
    storage: FigureBody,
}

/// A container's CPU.
#[derive(Object)]
#[oai(rename = "CpuUsage")]
struct CpuBody {
    /// The part of one core: 0.25 is 25 %, and 2 is two whole cores. CPU has no limit, so that there is no whole of the
    /// container's own to be a part of.
    value: Nullable<f64>,
}

/// A container's memory.
#[derive(Object)]
#[oai(rename = "MemoryUsage", rename_all = "camelCase")]
struct MemoryBody {
    /// In use, in bytes, without caches that can be dropped.
    value: Nullable<u64>,
    /// The most that the container may use, in bytes.
    limit_value: Nullable<u64>,
}

/// A figure.
#[derive(Object)]
#[oai(rename = "Figure")]
struct FigureBody {
    /// How much.
    value: Nullable<u64>,
}

impl Example for UsageBody {
    fn example() -> Self {
        let memory = MemoryBody { value: Nullable(Some(10_485_760)), limit_value: Nullable(Some(1_073_741_824)) };
        Self {
            cpu: [("nginx-test".to_owned(), CpuBody { value: Nullable(Some(0.25)) })].into(),
            memory: [("nginx-test".to_owned(), memory)].into(),
            network_download: FigureBody { value: Nullable(Some(12_000)) },
            network_upload: FigureBody { value: Nullable(Some(480_000)) },
            storage: FigureBody { value: Nullable(None) },
        }
    }
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        let figure = |value| FigureBody { value: Nullable(value) };
        let cpu = usage.cpu.into_iter().map(|(name, value)| (name, CpuBody { value: Nullable(value) }));
        let memory = usage.memory.into_iter().map(|(name, memory)| {
            (name, MemoryBody { value: Nullable(memory.value), limit_value: Nullable(memory.limit_value) })
        });
        Self {
            cpu: cpu.collect(),
            memory: memory.collect(),
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
    /// are asked for again and again. Storage is measured once a minute. A pod that is stopped, or has only begun, has
    /// figures that are `null`; so has one whose node does not tell at the moment.
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
    use common::usage::MemoryUsage;
    use poem_openapi::types::ToJSON as _;
    use serde_json::json;

    #[test]
    fn a_figure_that_is_not_known_is_null_and_what_holds_it_is_there() {
        let memory = MemoryUsage { value: None, limit_value: Some(67_108_864) };
        let usage = Usage {
            cpu: [("web".to_owned(), None)].into(),
            memory: [("web".to_owned(), memory)].into(),
            ..Usage::default()
        };
        assert_eq!(
            UsageBody::from(usage).to_json(),
            Some(json!({
                "cpu": { "web": { "value": null } },
                "memory": { "web": { "value": null, "limitValue": 67_108_864 } },
                "networkDownload": { "value": null },
                "networkUpload": { "value": null },
                "storage": { "value": null },
            }))
        );
    }
}
