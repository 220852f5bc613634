//! The operator's side (`wire.md` §7). Without a token in the settings these calls do not exist.

mod details;
mod order;
mod orders;
mod regions;

use common::failure::Reason;
use jiff::Timestamp;
use poem_openapi::Object;
use serde_json::Value;

use super::auth::OperatorToken;
use super::body::Body;
use super::error::Statuses;
use super::order::OrderBody;
use super::param::HeaderLines;
use crate::app::App;
use crate::app::error::AppError;
use crate::app::operator::OperatorRequest;
use crate::app::secret::Operator;
use crate::store::orders::Order;

/// The calls.
pub(super) const CALLS: (orders::OrdersApi, order::AdminOrderApi, regions::AdminRegionsApi) =
    (orders::OrdersApi, order::AdminOrderApi, regions::AdminRegionsApi);

/// Failures of the operator's questions.
struct AdminFailures;

impl Statuses for AdminFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "Problems of the query; `details` names each parameter"),
        (401, "The token is missing or not valid"),
        (404, "There is no such order or region, or no operator is configured"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// Failures of the operator's changes.
struct AdminChangeFailures;

impl Statuses for AdminChangeFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "Problems of the body; `details` names each field"),
        (401, "The token is missing or not valid"),
        (404, "There is no such order or region, or no operator is configured"),
        (408, "The body did not come in time"),
        (413, "The body is too large"),
        (415, "The body is not JSON"),
        (422, "The key was used for another request"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// Failures of the operator's changes that an order may be in no state for.
struct OrderChangeFailures;

impl Statuses for OrderChangeFailures {
    const ALL: &'static [(u16, &'static str)] = AdminChangeFailures::ALL;
    const MORE: &'static [(u16, &'static str)] =
        &[(409, "An order with this id was made from another body, or the order has ended")];
}

/// An order as its operator sees it: with its dates, in unix seconds, 0 until it is activated by its first successful deploy.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct AdminOrder {
    #[oai(flatten)]
    order: OrderBody,
    /// Where it stands in its life: `ServicePending`, `ServiceRunning`, `ServiceStop`, `ServiceDone`, `ServiceAbort`.
    service_status: String,
    /// When its end is near.
    warn_at: i64,
    /// When it stops.
    end_at: i64,
    /// When it is deleted, unless it is extended before.
    delete_at: i64,
}

impl AdminOrder {
    fn new(app: &App, order: &Order) -> Self {
        let dates = app.dates(order).map(|dates| [dates.warn_at, dates.end_at, dates.delete_at]);
        let [warn_at, end_at, delete_at] = dates.map_or([0; 3], |dates| dates.map(Timestamp::as_second));
        let service_status = order.service_status().as_str().to_owned();
        Self { order: OrderBody::from(order), service_status, warn_at, end_at, delete_at }
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

/// What came with an operator's change, read only once it is known who sends it.
struct Given<'a> {
    operator: Operator,
    body: Value,
    key: Option<&'a str>,
}

impl<'a> Given<'a> {
    fn read<T>(app: &App, token: &OperatorToken, key: &'a HeaderLines, body: &Body<T>) -> Result<Self, AppError> {
        Ok(Self { operator: operator(app, token)?, key: key.idempotency_key()?, body: body.json()? })
    }

    /// The change as the core wants it.
    fn request(&self) -> OperatorRequest<'_> {
        OperatorRequest { operator: &self.operator, body: &self.body, idempotency_key: self.key }
    }
}
