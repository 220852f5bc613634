//! What the order runs: deploy, log, status.

use common::ingress::{Ingress, Tls};
use common::read::{LogQuery, Status};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::value::RawValue;

use super::auth::OrderSecret;
use super::body::{Body, Raw};
use super::change::{ChangeFailures, DeployResponse};
use super::deploy_body::DeployBody;
use super::deployment::{Given, deploy};
use super::error::{Answer, Statuses};
use super::param::{HeaderLines, Loose, flag, number, parsed};
use super::tag::Tag;
use crate::app::App;
use crate::app::error::AppError;
use crate::app::json::Problems;

/// The calls.
pub(super) struct PodApi;

/// Failures of `GET /k8s/pod/log`.
pub(super) struct LogFailures;

impl Statuses for LogFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "A wrong query parameter, or several containers and none was named"),
        (401, "The secret is missing or not valid"),
        (404, "Nothing is deployed"),
        (409, "The container has no log to show yet"),
        (500, "`server error`"),
        (503, "The region is not there at the moment; try again"),
        (504, "The region did not answer in time; try again"),
    ];
}

/// Failures of `GET /k8s/pod/status`.
pub(super) struct StatusFailures;

impl Statuses for StatusFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (401, "The secret is missing or not valid"),
        (404, "Nothing is deployed"),
        (500, "`server error`"),
        (503, "The region is not there at the moment; try again"),
        (504, "The region did not answer in time; try again"),
    ];
}

/// A status as customers see it: the region's, with one member more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusBody<'a> {
    name: &'a str,
    pod_status: &'a RawValue,
    pod_spec: &'a RawValue,
    annotations: &'a RawValue,
    observed_at: &'a str,
    stale: bool,
    domains: Option<Vec<BoundDomain>>,
}

/// A domain that leads to the pod.
#[derive(Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct BoundDomain {
    /// The domain.
    domain: String,
    /// The TCP port of the pod that requests go to.
    container_port: u16,
    /// Whether a certificate is issued for it, or the pod encrypts by itself.
    is_https: bool,
}

impl BoundDomain {
    fn all_of(ingress: &Ingress) -> Vec<Self> {
        let bound = ingress.domains.iter().map(|(domain, route)| Self {
            domain: domain.to_string(),
            container_port: route.container_port.get(),
            is_https: route.tls != Tls::Region,
        });
        bound.collect()
    }
}

/// A pod's state. Documents the answer, which travels as the region's own JSON.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the contract")]
struct PodStatus {
    /// The pod's name.
    name: String,
    /// The pod's `status` as Kubernetes prints it; `{}` while there is no pod.
    pod_status: Any<serde_json::Value>,
    /// The pod's `spec` as Kubernetes prints it.
    pod_spec: Any<serde_json::Value>,
    /// The pod's annotations.
    annotations: Any<serde_json::Value>,
    /// When the region last heard of this from its cluster (RFC 3339).
    observed_at: String,
    /// Whether the pod may be otherwise by now: a newer revision was accepted than the one shown, or its region has lost
    /// sight of its cluster since `observedAt`.
    stale: bool,
    /// The domains bound to the order.
    domains: super::param::Nullable<Vec<BoundDomain>>,
}

#[OpenApi(tag = "Tag::Order")]
impl PodApi {
    /// Deploy the order's pod
    ///
    /// Deploying again replaces the running pod by a new revision. The answer comes when the pod was made, or with
    /// `until=available` when it is ready; if that takes longer than 20 s, or than `Prefer: wait=<s>`, the job is answered
    /// instead: it is accepted and will run.
    #[oai(path = "/k8s/deploy", method = "post", operation_id = "deploy_pod")]
    async fn deploy(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// `available`: succeed only when every container is ready.
        until: Query<Option<String>>,
        /// The same key with the same body is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<DeployBody>,
    ) -> Answer<DeployResponse, ChangeFailures> {
        deploy(&app, Given { secret, until: until.0.as_deref(), key, prefer, body }).await
    }

    /// Query pod log
    ///
    /// The whole log, its last 1 MiB at most, as one JSON string.
    #[oai(path = "/k8s/pod/log", method = "get", operation_id = "get_pod_log")]
    #[expect(clippy::too_many_arguments, reason = "one argument a query parameter")]
    async fn log(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// Which container; required if there are several.
        container: Query<Option<String>>,
        /// Only the last lines, counted.
        #[oai(name = "tailLines")]
        tail_lines: Query<Option<Loose<u32>>>,
        /// Only what is younger than this many seconds.
        #[oai(name = "sinceSeconds")]
        since_seconds: Query<Option<Loose<u32>>>,
        /// The log of the container before its last restart.
        previous: Query<Option<Loose<bool>>>,
        /// Begin each line with its time.
        timestamps: Query<Option<Loose<bool>>>,
    ) -> Answer<Raw<String>, LogFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        let mut problems = Problems::default();
        let query = LogQuery {
            container: parsed("container", container.0.as_deref(), str::parse, &mut problems),
            tail_lines: number("tailLines", tail_lines.0.as_ref(), 0..=i32::MAX.unsigned_abs(), &mut problems),
            since_seconds: number("sinceSeconds", since_seconds.0.as_ref(), 1..=i32::MAX.unsigned_abs(), &mut problems),
            previous: flag("previous", previous.0.as_ref(), &mut problems),
            timestamps: flag("timestamps", timestamps.0.as_ref(), &mut problems),
        };
        if !problems.is_empty() {
            return Err(AppError::invalid(problems).into());
        }
        let log = app.log(&order, query).await?;
        let json = serde_json::to_vec(&String::from_utf8_lossy(&log)).map_err(AppError::internal)?;
        Ok(Raw::new(json))
    }

    /// Query pod status
    ///
    /// The pod's own `status` and `spec`, nothing renamed or dropped. Ports that the system assigned are in
    /// `podSpec.containers[].ports[].hostPort`.
    #[oai(path = "/k8s/pod/status", method = "get", operation_id = "get_pod_status")]
    async fn status(&self, app: Data<&App>, secret: OrderSecret) -> Answer<Raw<PodStatus>, StatusFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        let status = app.status(&order).await?;
        // The pod's own JSON is passed on as it is; what a region says around it is checked.
        let status: Status = serde_json::from_slice(&status).map_err(AppError::internal)?;
        let body = StatusBody {
            name: &status.name,
            pod_status: &status.pod_status,
            pod_spec: &status.pod_spec,
            annotations: &status.annotations,
            observed_at: &status.observed_at,
            stale: status.stale,
            domains: order.ingress().map(BoundDomain::all_of),
        };
        Ok(Raw::new(serde_json::to_vec(&body).map_err(AppError::internal)?))
    }
}
