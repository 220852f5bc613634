//! One order: shown to its operators, extended, ended, and opened by a new secret.

use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use secrecy::ExposeSecret as _;

use super::super::auth::OperatorToken;
use super::super::body::Body;
use super::super::error::Answer;
use super::super::job::JobBody;
use super::super::param::HeaderLines;
use super::super::tag::Tag;
use super::details::Details;
use super::{AdminChangeFailures, AdminFailures, AdminOrder, Given, OrderChangeFailures, operator};
use crate::app::App;
use crate::app::order::MadeOrder;
use crate::store::jobs::JobState;

/// The calls.
pub(in super::super) struct AdminOrderApi;

/// An order, and what opens it.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Made {
    /// The order.
    order: AdminOrder,
    /// Its new secret: shown this once.
    secret: Option<String>,
}

impl Made {
    pub(super) fn new(app: &App, made: MadeOrder) -> Self {
        let secret = made.secret.map(|secret| secret.expose_secret().to_owned());
        Self { order: AdminOrder::new(app, &made.order), secret }
    }
}

/// By how much an order is extended.
#[derive(Object)]
#[oai(example)]
struct Extend {
    /// How many hours more; an order has 87600 at most in all.
    hours: u32,
}

impl Example for Extend {
    fn example() -> Self {
        Self { hours: 720 }
    }
}

/// An order that was extended.
#[derive(Object)]
struct Extended {
    /// The order with its new dates.
    order: AdminOrder,
}

/// How a secret is replaced.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
struct ReplaceSecret {
    /// For how long the secret before goes on opening the order, up to 604800 (7 days); 0 unless given.
    overlap_seconds: Option<u32>,
}

/// Why an order ends.
#[derive(Object)]
struct Abort {
    /// For the order's history; at most 512 characters.
    reason: String,
}

/// What came of ending an order.
#[derive(ApiResponse)]
enum AbortResponse {
    /// What ran is deleted; an order that was never deployed has no job to show: `{}`.
    #[oai(status = 200)]
    Done(Json<AbortBody>),
    /// The job is accepted and will run; one that has come to nothing is followed by another.
    #[oai(status = 202)]
    Accepted(Json<AbortBody>),
}

/// The job that deletes what runs.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct AbortBody {
    /// The job.
    job: Option<JobBody>,
}

/// Whether nothing of an order is left, by the state of the job that deletes it.
fn is_done(delete: Option<JobState>) -> bool {
    delete.is_none_or(|state| state == JobState::Succeeded)
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminOrderApi {
    /// Show an order
    ///
    /// With its revisions, jobs, ports and history.
    #[oai(path = "/admin/orders/:id", method = "get", operation_id = "get_order_details")]
    async fn show(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        /// The order's id.
        id: Path<String>,
    ) -> Answer<Json<Details>, AdminFailures> {
        operator(&app, &token)?;
        Ok(Json(Details::new(&app, &app.order_details(&id.0).await?)))
    }

    /// Extend an order
    ///
    /// Before its activation it will run longer. After its end it runs from now on, on the same ports, unless its customer had
    /// stopped it before; once it is deleted it cannot be extended.
    #[oai(path = "/admin/orders/:id/extend", method = "post", operation_id = "extend_order")]
    async fn extend(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        /// The order's id.
        id: Path<String>,
        /// The same key extends once, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        body: Body<Extend>,
    ) -> Answer<Json<Extended>, OrderChangeFailures> {
        let given = Given::read(&app, &token, &key, &body)?;
        let order = app.extend_order(&id.0, given.request()).await?;
        Ok(Json(Extended { order: AdminOrder::new(&app, &order) }))
    }

    /// Replace an order's secret
    ///
    /// The secret before goes on opening the order for `overlapSeconds`, and the one before that no longer. The same key again
    /// answers with the order, without the secret.
    #[oai(path = "/admin/orders/:id/secret", method = "post", operation_id = "replace_secret")]
    async fn secret(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        /// The order's id.
        id: Path<String>,
        /// The same key replaces once, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        body: Body<ReplaceSecret>,
    ) -> Answer<Json<Made>, AdminChangeFailures> {
        let given = Given::read(&app, &token, &key, &body)?;
        Ok(Json(Made::new(&app, app.replace_secret(&id.0, given.request()).await?)))
    }

    /// Abort an order
    ///
    /// A job deletes what runs, its volume included; the ports cool, then are free.
    #[oai(path = "/admin/orders/:id/abort", method = "post", operation_id = "abort_order")]
    async fn abort(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        /// The order's id.
        id: Path<String>,
        /// The same key is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<Abort>,
    ) -> Answer<AbortResponse, OrderChangeFailures> {
        let given = Given::read(&app, &token, &key, &body)?;
        let job = app.abort_order(&id.0, given.request(), prefer.wait(app.change_deadline())).await?;
        let done = is_done(job.as_ref().map(|job| job.state));
        let body = Json(AbortBody { job: job.as_ref().map(JobBody::from) });
        Ok(if done { AbortResponse::Done(body) } else { AbortResponse::Accepted(body) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_is_done_only_when_its_delete_has_succeeded() {
        for (delete, done) in [
            (None, true),
            (Some(JobState::Succeeded), true),
            (Some(JobState::Queued), false),
            (Some(JobState::Running), false),
            (Some(JobState::Failed), false),
            (Some(JobState::Superseded), false),
        ] {
            assert_eq!(is_done(delete), done, "{delete:?}");
        }
    }
}
