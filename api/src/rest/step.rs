//! What the order's pod does: restart, stop, start (`wire.md` §5).

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::auth::OrderSecret;
use super::body::Body;
use super::change::{Change, ChangeFailures, Nothing, StepResponse};
use super::error::Answer;
use super::param::HeaderLines;
use super::tag::Tag;
use crate::app::App;
use crate::app::change::Step;

/// The calls.
pub(super) struct StepApi;

/// What came with a step.
struct Given<'a> {
    secret: OrderSecret,
    key: HeaderLines,
    prefer: HeaderLines,
    until: Option<&'a str>,
    body: Body<Nothing>,
}

async fn take(app: &App, step: Step, given: Given<'_>) -> Answer<StepResponse, ChangeFailures> {
    let change = Change::begin(app, &given.secret, &given.key).await?;
    let body = given.body.json()?;
    let request = change.request(app, &body, &given.prefer, given.until)?;
    let answer = app.step(change.order, change.earlier, step, request).await?;
    Ok(StepResponse::of(app, &answer).await)
}

#[OpenApi(tag = "Tag::Order")]
impl StepApi {
    /// Restart the order's pod
    ///
    /// The pod is replaced by one of the same revision.
    #[oai(path = "/k8s/pod/restart", method = "post", operation_id = "restart_pod")]
    async fn restart(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// `available`: succeed only when every container is ready.
        until: Query<Option<String>>,
        /// The same key is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<Nothing>,
    ) -> Answer<StepResponse, ChangeFailures> {
        take(&app, Step::Restart, Given { secret, key, prefer, until: until.0.as_deref(), body }).await
    }

    /// Stop the order's pod
    ///
    /// Ports, volume, configuration and domains are kept. The answer comes when the pod is gone.
    #[oai(path = "/k8s/pod/stop", method = "post", operation_id = "stop_pod")]
    async fn stop(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The same key is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<Nothing>,
    ) -> Answer<StepResponse, ChangeFailures> {
        take(&app, Step::Stop, Given { secret, key, prefer, until: None, body }).await
    }

    /// Start the pod of a stopped order
    ///
    /// The same revision, on the same ports.
    #[oai(path = "/k8s/pod/start", method = "post", operation_id = "start_pod")]
    async fn start(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// `available`: succeed only when every container is ready.
        until: Query<Option<String>>,
        /// The same key is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<Nothing>,
    ) -> Answer<StepResponse, ChangeFailures> {
        take(&app, Step::Start, Given { secret, key, prefer, until: until.0.as_deref(), body }).await
    }
}
