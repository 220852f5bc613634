//! The operator's side (`wire.md` §7). Without a token in the settings these calls do not exist.

use common::failure::Reason;
use common::name::RegionCode;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use secrecy::ExposeSecret as _;

use super::auth::OperatorToken;
use super::body::Body;
use super::error::{Answer, Statuses};
use super::job::JobBody;
use super::order::OrderBody;
use super::param::{HeaderLines, Loose, number, parsed};
use super::tag::Tag;
use crate::app::App;
use crate::app::change::Wait;
use crate::app::error::AppError;
use crate::app::json::Problems;
use crate::app::order::{Cursor, MadeOrder};
use crate::app::secret::Operator;
use crate::store::orders::{Filter, ServiceStatus};

/// The calls.
pub(super) struct AdminApi;

/// Failures of the operator's questions.
pub(super) struct AdminFailures;

impl Statuses for AdminFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "Problems of the query; `details` names each parameter"),
        (401, "The token is missing or not valid"),
        (404, "There is no such order, or no operator is configured"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// Failures of the operator's changes.
pub(super) struct AdminChangeFailures;

impl Statuses for AdminChangeFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "Problems of the body; `details` names each field"),
        (401, "The token is missing or not valid"),
        (404, "There is no such order, or no operator is configured"),
        (409, "An order with this id was made from another body, or the order has ended"),
        (413, "The body is too large"),
        (415, "The body is not JSON"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// A new order.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
struct MakeOrder {
    /// Its id, a DNS label of at most 48 characters; ours to make unless given.
    id: Option<String>,
    /// What was bought.
    service_options: MakeServiceOptions,
    /// How long it runs, in hours.
    duration: u32,
    /// The customer's address for letters.
    email: Option<String>,
    /// The customer's wallet.
    address: Option<String>,
    /// What was paid.
    amount: Option<u64>,
    /// The purchased service's id.
    #[oai(rename = "serviceID")]
    service_id: Option<String>,
    /// The purchased service.
    service: Option<String>,
    /// The merchant's name.
    provider: Option<String>,
    /// The merchant's wallet.
    recipient: Option<String>,
    /// The public key that made the order.
    public_key: Option<String>,
    /// The service's category.
    #[oai(rename = "serviceCategoryID")]
    service_category_id: Option<String>,
}

/// What was bought.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
struct MakeServiceOptions {
    /// `<n>-Unit-Resource`.
    resource_unit: String,
    /// `User Specified Service Port` or `System Random Map Port`.
    port_specification: String,
    /// `Yes` to keep a volume.
    persist_storage: Option<String>,
    /// Where it runs; unless given, where its first deploy says.
    region: Option<String>,
}

impl Example for MakeOrder {
    fn example() -> Self {
        Self {
            id: None,
            service_options: MakeServiceOptions {
                resource_unit: "2-Unit-Resource".to_owned(),
                port_specification: crate::app::order_request::USER_PORTS.to_owned(),
                persist_storage: None,
                region: Some("ausrine".to_owned()),
            },
            duration: 100,
            email: Some("customer@example.com".to_owned()),
            address: None,
            amount: Some(18_000),
            service_id: None,
            service: None,
            provider: None,
            recipient: None,
            public_key: None,
            service_category_id: None,
        }
    }
}

/// An order that was made.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Made {
    /// The order.
    order: OrderBody,
    /// What opens it: shown this once.
    secret: Option<String>,
}

/// What came of making an order.
#[derive(ApiResponse)]
enum MadeResponse {
    /// The same request had made it before.
    #[oai(status = 200)]
    Before(Json<Made>),
    /// It is new.
    #[oai(status = 201)]
    New(Json<Made>),
}

/// A page of orders, newest first.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Orders {
    /// The orders.
    orders: Vec<OrderBody>,
    /// If there are more: what to give as `after` to get them.
    next: Option<String>,
}

/// All that there is to an order.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Details {
    /// The order.
    order: OrderBody,
    /// Where it stands in its life: `ServicePending`, `ServiceRunning`, `ServiceStop`, `ServiceDone`, `ServiceAbort`.
    service_status: String,
    /// The operator who made it.
    made_by: String,
    /// Its newest revisions, newest first.
    revisions: Vec<RevisionBody>,
    /// Its newest jobs, newest first.
    jobs: Vec<JobBody>,
    /// The host ports that it holds.
    ports: Vec<HeldPort>,
}

/// A revision.
#[derive(Object)]
#[oai(rename = "Revision", rename_all = "camelCase")]
struct RevisionBody {
    /// Its number.
    revision: u64,
    /// When it was accepted (RFC 3339).
    created_at: String,
}

/// A host port that an order holds.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct HeldPort {
    /// The number.
    host_port: u16,
    /// `TCP` or `UDP`.
    protocol: String,
    /// `reserved` for a job under way, `bound`, or `cooling` before it is free.
    state: String,
}

/// Why an order ends.
#[derive(Object)]
struct Abort {
    /// For the log; at most 512 characters.
    reason: String,
}

/// What came of ending an order.
#[derive(ApiResponse)]
enum AbortResponse {
    /// What ran is deleted; an order that was never deployed has no job to show: `{}`.
    #[oai(status = 200)]
    Done(Json<AbortBody>),
    /// The job is accepted and will run.
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

/// An e-mail address to look for.
fn read_email(text: &str) -> Result<String, &'static str> {
    if text.len() <= 512 && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err("must have at most 512 characters")
    }
}

/// The operator, or why this is not one.
fn operator(app: &App, token: &OperatorToken) -> Result<Operator, AppError> {
    if app.has_operators() {
        app.authenticate_operator(token.as_deref())
    } else {
        Err(AppError::new(Reason::NotFound, "there is no such path: no operator is configured"))
    }
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminApi {
    /// Make an order
    ///
    /// The same `id` with the same body again answers 200 with the same order, without its secret.
    #[oai(path = "/admin/orders", method = "post", operation_id = "create_order")]
    async fn make(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        body: Body<MakeOrder>,
    ) -> Answer<MadeResponse, AdminChangeFailures> {
        let operator = operator(&app, &token)?;
        let MadeOrder { order, secret } = app.make_order(&operator, &body.json()?).await?;
        let made = |secret| Json(Made { order: OrderBody::from(&order), secret });
        Ok(match secret {
            Some(secret) => MadeResponse::New(made(Some(secret.expose_secret().to_owned()))),
            None => MadeResponse::Before(made(None)),
        })
    }

    /// List orders
    ///
    /// Newest first.
    #[oai(path = "/admin/orders", method = "get", operation_id = "list_orders")]
    #[expect(clippy::too_many_arguments, reason = "one argument a query parameter")]
    async fn list(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        /// Only of this region.
        region: Query<Option<String>>,
        /// Only in this state: `ServicePending`, `ServiceRunning`, `ServiceStop`, `ServiceDone`, `ServiceAbort`.
        status: Query<Option<String>>,
        /// Only with exactly this e-mail address.
        email: Query<Option<String>>,
        /// The `next` of the page before.
        after: Query<Option<String>>,
        /// The most orders of the page, 1 to 500; 100 unless given.
        limit: Query<Option<Loose<u32>>>,
    ) -> Answer<Json<Orders>, AdminFailures> {
        operator(&app, &token)?;
        let mut problems = Problems::default();
        let read_status = |text: &str| {
            let words = || ServiceStatus::ALL.map(ServiceStatus::as_str).join(", ");
            let known = ServiceStatus::ALL.into_iter().find(|status| status.as_str() == text);
            known.ok_or_else(|| format!("must be one of {}", words()))
        };
        let after: Option<Cursor> = parsed("after", after.0.as_deref(), str::parse, &mut problems);
        let filter = Filter {
            region: parsed("region", region.0.as_deref(), RegionCode::from_name, &mut problems),
            status: parsed("status", status.0.as_deref(), read_status, &mut problems),
            email: parsed("email", email.0.as_deref(), read_email, &mut problems),
            after: after.map(|Cursor(at, id)| (at, id)),
        };
        let limit = number("limit", limit.0.as_ref(), 1..=500, &mut problems).unwrap_or(100);
        if !problems.is_empty() {
            return Err(AppError::invalid(problems).into());
        }
        let page = app.orders(&filter, usize::try_from(limit).unwrap_or(100)).await?;
        let next = page.items.last().filter(|_| page.more);
        let next = next.map(|order| Cursor(order.created_at, order.id.clone()).to_string());
        Ok(Json(Orders { orders: page.items.iter().map(OrderBody::from).collect(), next }))
    }

    /// Show an order
    ///
    /// With its revisions, jobs and ports.
    #[oai(path = "/admin/orders/:id", method = "get", operation_id = "get_order_details")]
    async fn show(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        /// The order's id.
        id: Path<String>,
    ) -> Answer<Json<Details>, AdminFailures> {
        operator(&app, &token)?;
        let details = app.order_details(&id.0).await?;
        let revisions = details.revisions.iter();
        let ports = details.ports.iter();
        Ok(Json(Details {
            order: OrderBody::from(&details.order),
            service_status: details.order.service_status().as_str().to_owned(),
            made_by: details.order.made_by.clone(),
            revisions: revisions
                .map(|r| RevisionBody { revision: r.revision.get(), created_at: r.created_at.to_string() })
                .collect(),
            jobs: details.jobs.iter().map(JobBody::from).collect(),
            ports: ports
                .map(|(host, state)| HeldPort {
                    host_port: host.port.get(),
                    protocol: host.protocol.to_string(),
                    state: (*state).to_owned(),
                })
                .collect(),
        }))
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
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<Abort>,
    ) -> Answer<AbortResponse, AdminChangeFailures> {
        operator(&app, &token)?;
        let wait = match prefer.wait(app.change_deadline()) {
            Wait::For(time) => Some(time),
            Wait::No => None,
        };
        let job = app.abort_order(&id.0, &body.json()?, wait).await?;
        let done = job.as_ref().is_none_or(|job| job.outcome.is_some());
        let body = Json(AbortBody { job: job.as_ref().map(JobBody::from) });
        Ok(if done { AbortResponse::Done(body) } else { AbortResponse::Accepted(body) })
    }
}
