//! Orders: made and listed by their operators.

use common::name::RegionCode;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::super::auth::OperatorToken;
use super::super::body::Body;
use super::super::error::Answer;
use super::super::param::{HeaderLines, Loose, number, parsed};
use super::super::tag::Tag;
use super::order::Made;
use super::{AdminFailures, AdminOrder, Given, OrderChangeFailures, operator};
use crate::app::App;
use crate::app::error::AppError;
use crate::app::json::Problems;
use crate::app::order::Cursor;
use crate::store::orders::{Filter, ServiceStatus};

/// The calls.
pub(in super::super) struct OrdersApi;

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
    orders: Vec<AdminOrder>,
    /// If there are more: what to give as `after` to get them.
    next: Option<String>,
}

/// An e-mail address to look for.
fn read_email(text: &str) -> Result<String, &'static str> {
    if text.len() <= 512 && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err("must have at most 512 characters")
    }
}

#[OpenApi(tag = "Tag::Admin")]
impl OrdersApi {
    /// Make an order
    ///
    /// The same `id`, or the same key, with the same body again answers 200 with the same order, without its secret.
    #[oai(path = "/admin/orders", method = "post", operation_id = "create_order")]
    async fn make(
        &self,
        app: Data<&App>,
        token: OperatorToken,
        /// The same key makes one order, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        body: Body<MakeOrder>,
    ) -> Answer<MadeResponse, OrderChangeFailures> {
        let given = Given::read(&app, &token, &key, &body)?;
        let made = app.make_order(given.request()).await?;
        let is_new = made.secret.is_some();
        let body = Json(Made::new(&app, made));
        Ok(if is_new { MadeResponse::New(body) } else { MadeResponse::Before(body) })
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
        /// Only in this state: `ServicePending`, `ServiceRunning`, `ServiceStop`, `ServiceDone`,
        /// `ServiceAbort`.
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
        Ok(Json(Orders { orders: page.items.iter().map(|order| AdminOrder::new(&app, order)).collect(), next }))
    }
}
