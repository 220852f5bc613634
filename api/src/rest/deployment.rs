//! The whole pod, as existing clients call it (`wire.md` §5): deploy by other names, and the current body.

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::auth::OrderSecret;
use super::body::{Body, Raw};
use super::change::{Change, ChangeFailures, DeployResponse};
use super::deploy_body::DeployBody;
use super::error::{Answer, Statuses};
use super::param::HeaderLines;
use super::tag::Tag;
use crate::app::App;
use crate::app::error::AppError;

/// The calls.
pub(super) struct DeploymentApi;

/// Failures of `GET /k8s/deployment/info`.
pub(super) struct InfoFailures;

impl Statuses for InfoFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (401, "The secret is missing or not valid"),
        (404, "Nothing is deployed"),
        (500, "`server error`"),
        (503, "The region is not there at the moment; try again"),
        (504, "The region did not answer in time; try again"),
    ];
}

/// What came with a deploy.
pub(super) struct Given<'a> {
    pub(super) secret: OrderSecret,
    pub(super) until: Option<&'a str>,
    pub(super) key: HeaderLines,
    pub(super) prefer: HeaderLines,
    pub(super) body: Body<DeployBody>,
}

/// Deploys, whatever the call is named.
pub(super) async fn deploy(app: &App, given: Given<'_>) -> Answer<DeployResponse, ChangeFailures> {
    let change = Change::begin(app, &given.secret, &given.key).await?;
    let body = given.body.json()?;
    let request = change.request(app, &body, &given.prefer, given.until)?;
    let answer = app.deploy(change.order, change.earlier, request).await?;
    Ok(DeployResponse::of(app, &answer).await)
}

#[OpenApi(tag = "Tag::Order")]
impl DeploymentApi {
    /// Deploy the order's pod
    ///
    /// The same as `POST /k8s/deploy`.
    #[oai(path = "/k8s/deployment", method = "post", operation_id = "create_deployment")]
    async fn create(
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

    /// Deploy the order's pod again
    ///
    /// The same as `POST /k8s/deploy`: the running pod is replaced by a new revision.
    #[oai(path = "/k8s/deployment/update", method = "post", operation_id = "update_deployment")]
    async fn update(
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

    /// Show what is deployed
    ///
    /// The current pod in the form of the deploy body: it can be deployed as it is, but for passwords of registries, which are
    /// never shown.
    #[oai(path = "/k8s/deployment/info", method = "get", operation_id = "get_deployment_info")]
    async fn info(&self, app: Data<&App>, secret: OrderSecret) -> Answer<Raw<DeployBody>, InfoFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        let body = app.info(&order).await?;
        Ok(Raw::new(serde_json::to_vec(&body).map_err(AppError::internal)?))
    }
}
