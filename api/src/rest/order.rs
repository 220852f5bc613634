//! An order as customers and operators see it.

use jiff::Timestamp;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::auth::OrderSecret;
use super::error::{Answer, Statuses};
use super::tag::Tag;
use crate::app::App;
use crate::app::order_request::{RANDOM_PORTS, USER_PORTS};
use crate::store::orders::{Order, PortSpecification};
use common::pod::Storage;

/// The calls.
pub(super) struct OrderApi;

/// Failures of calls that only need the order.
pub(super) struct OrderFailures;

impl Statuses for OrderFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (401, "The secret is missing or not valid"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// An order.
#[derive(Debug, Object)]
#[oai(rename = "Order", rename_all = "camelCase", example)]
pub(super) struct OrderBody {
    /// When it was made, in unix seconds.
    pub(super) created_at: i64,
    /// When it last changed, in unix seconds.
    pub(super) updated_at: i64,
    /// How long it runs, in hours.
    pub(super) duration: u32,
    /// When its paid time ends (RFC 3339); empty until it is activated by its first successful deploy.
    pub(super) service_expired_date: String,
    /// What was to be paid.
    pub(super) amount: u64,
    /// What was paid.
    pub(super) amount_paid: u64,
    /// The purchased service's id.
    #[oai(rename = "serviceID")]
    pub(super) service_id: String,
    /// The purchased service.
    pub(super) service: String,
    /// The service's category.
    #[oai(rename = "serviceCategoryID")]
    pub(super) service_category_id: String,
    /// The merchant's name.
    pub(super) provider: String,
    /// The consumer's wallet.
    pub(super) address: String,
    /// The merchant's wallet.
    pub(super) recipient: String,
    /// The order's id.
    pub(super) id: String,
    /// What was bought.
    pub(super) service_options: ServiceOptions,
    /// The order's status: `OrderFiled` once paid, `OrderAbort` when its operator has ended it.
    pub(super) status: String,
    /// The public key that made the order.
    pub(super) public_key: String,
}

/// What was bought.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(super) struct ServiceOptions {
    /// `User Specified Service Port` or `System Random Map Port`.
    port_specification: String,
    /// `<n>-Unit-Resource`.
    resource_unit: String,
    /// `Yes` if the order keeps a volume.
    persist_storage: Option<String>,
    /// Where it runs.
    region: Option<String>,
}

impl From<&Order> for OrderBody {
    fn from(order: &Order) -> Self {
        let purchase = &order.purchase;
        Self {
            created_at: order.created_at.as_second(),
            updated_at: order.updated_at.as_second(),
            duration: purchase.duration_hours,
            service_expired_date: order.ends_at.map(seconds).unwrap_or_default(),
            amount: purchase.amount,
            amount_paid: purchase.amount,
            service_id: purchase.service_id.clone(),
            service: purchase.service.clone(),
            service_category_id: purchase.service_category_id.clone(),
            provider: purchase.provider.clone(),
            address: purchase.address.clone(),
            recipient: purchase.recipient.clone(),
            id: order.id.to_string(),
            service_options: ServiceOptions {
                port_specification: match purchase.port_specification {
                    PortSpecification::User => USER_PORTS.to_owned(),
                    PortSpecification::Random => RANDOM_PORTS.to_owned(),
                },
                resource_unit: purchase.units.to_string(),
                persist_storage: (purchase.storage == Storage::Persistent).then(|| "Yes".to_owned()),
                region: purchase.region.as_ref().map(ToString::to_string),
            },
            status: if order.aborted_at.is_some() { "OrderAbort" } else { "OrderFiled" }.to_owned(),
            public_key: purchase.public_key.clone(),
        }
    }
}

/// A time in whole seconds, RFC 3339.
fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

impl Example for OrderBody {
    fn example() -> Self {
        Self {
            created_at: 1_620_962_741,
            updated_at: 1_620_962_788,
            duration: 100,
            service_expired_date: String::new(),
            amount: 18_000,
            amount_paid: 18_000,
            service_id: "9xxxxxx0xxx6exxxxxxxxx".to_owned(),
            service: "Container Service".to_owned(),
            service_category_id: "xxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
            provider: "v-kube-service".to_owned(),
            address: "xxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
            recipient: "xxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
            id: "xxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
            service_options: ServiceOptions {
                port_specification: USER_PORTS.to_owned(),
                resource_unit: "2-Unit-Resource".to_owned(),
                persist_storage: None,
                region: None,
            },
            status: "OrderFiled".to_owned(),
            public_key: String::new(),
        }
    }
}

#[OpenApi(tag = "Tag::Order")]
impl OrderApi {
    /// Query order information
    ///
    /// The order that the secret opens.
    #[oai(path = "/k8s/order", method = "get", operation_id = "get_order")]
    async fn order(&self, app: Data<&App>, secret: OrderSecret) -> Answer<Json<OrderBody>, OrderFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        Ok(Json(OrderBody::from(&order)))
    }
}
