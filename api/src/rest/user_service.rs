//! The order as existing clients see it besides `GET /k8s/order` (`wire.md` §5), and what its customer says of it.

use jiff::Timestamp;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::auth::OrderSecret;
use super::body::Body;
use super::change::{Change, Nothing};
use super::error::{Answer, Statuses};
use super::order::{OrderBody, OrderFailures, ServiceOptions};
use super::param::HeaderLines;
use super::tag::Tag;
use crate::app::App;
use crate::app::change::key_reused;
use crate::app::metadata::Metadata;
use crate::store::orders::Order;

/// The calls.
pub(super) struct UserServiceApi;

/// Failures of what a customer says of an order.
pub(super) struct MetadataFailures;

impl Statuses for MetadataFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "Problems of the body; `details` names each field"),
        (401, "The secret is missing or not valid"),
        (409, "The order has ended"),
        (408, "The body did not come in time"),
        (413, "The body is too large"),
        (415, "The body is not JSON"),
        (422, "The key was used for another request"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// An order and where it stands in its life. Times are unix seconds; 0 = not set.
#[derive(Object)]
#[oai(rename = "UserService", rename_all = "camelCase", example)]
struct UserServiceBody {
    /// The order's id.
    id: String,
    /// The purchased service.
    service: String,
    /// The purchased service's id.
    #[oai(rename = "serviceID")]
    service_id: String,
    /// The service's category.
    #[oai(rename = "serviceCategoryID")]
    service_category_id: String,
    /// The merchant's name.
    provider: String,
    /// The consumer's wallet.
    address: String,
    /// The merchant's wallet.
    recipient: String,
    /// The public key that made the order.
    public_key: String,
    /// What was bought.
    service_options: ServiceOptions,
    /// `ServicePending` (nothing deployed), `ServiceRunning`, `ServiceStop`, `ServiceDone` (paid time over), `ServiceAbort`.
    status: String,
    /// The same as `status`.
    service_status: String,
    /// How long it runs, in hours.
    duration: u32,
    /// When its paid time began.
    #[oai(rename = "serviceActivateTS")]
    activated_at: i64,
    /// When it first ran.
    #[oai(rename = "serviceRunningTS")]
    running_at: i64,
    /// When its paid time was over.
    #[oai(rename = "serviceDoneTS")]
    done_at: i64,
    /// When its operator ended it.
    #[oai(rename = "serviceAbortTS")]
    aborted_at: i64,
    /// When its paid time ends.
    end_at: i64,
    /// When its paid time ends (RFC 3339); empty until it is activated.
    service_expired_date: String,
    /// When it was made.
    created_at: i64,
    /// When it last changed.
    updated_at: i64,
    /// What its customer says of it.
    description: String,
    /// The label that its customer gave it.
    customized_label: String,
    /// What was to be paid.
    amount: u64,
    /// What was paid.
    amount_paid: u64,
    /// The customer's address for letters.
    email: String,
}

impl From<&Order> for UserServiceBody {
    fn from(order: &Order) -> Self {
        let body = OrderBody::from(order);
        let seconds = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_second);
        let status = order.service_status().as_str();
        Self {
            id: body.id,
            service: body.service,
            service_id: body.service_id,
            service_category_id: body.service_category_id,
            provider: body.provider,
            address: body.address,
            recipient: body.recipient,
            public_key: body.public_key,
            service_options: body.service_options,
            status: status.to_owned(),
            service_status: status.to_owned(),
            duration: body.duration,
            activated_at: seconds(order.activated_at),
            running_at: seconds(order.activated_at),
            done_at: seconds(order.ends_at.filter(|_| order.is_over)),
            aborted_at: seconds(order.aborted_at),
            end_at: seconds(order.ends_at),
            service_expired_date: body.service_expired_date,
            created_at: body.created_at,
            updated_at: body.updated_at,
            description: order.description.clone(),
            customized_label: order.customized_label.clone(),
            amount: body.amount,
            amount_paid: body.amount_paid,
            email: order.purchase.email.clone(),
        }
    }
}

impl Example for UserServiceBody {
    fn example() -> Self {
        let body = OrderBody::example();
        Self {
            id: body.id,
            service: body.service,
            service_id: body.service_id,
            service_category_id: body.service_category_id,
            provider: body.provider,
            address: body.address,
            recipient: body.recipient,
            public_key: body.public_key,
            service_options: body.service_options,
            status: "ServicePending".to_owned(),
            service_status: "ServicePending".to_owned(),
            duration: body.duration,
            activated_at: 0,
            running_at: 0,
            done_at: 0,
            aborted_at: 0,
            end_at: 0,
            service_expired_date: body.service_expired_date,
            created_at: body.created_at,
            updated_at: body.updated_at,
            description: "my shop".to_owned(),
            customized_label: "shop".to_owned(),
            amount: body.amount,
            amount_paid: body.amount_paid,
            email: "customer@example.com".to_owned(),
        }
    }
}

/// A description.
#[derive(Object)]
#[oai(example)]
struct SetDescription {
    /// 3 to 253 characters.
    description: String,
}

impl Example for SetDescription {
    fn example() -> Self {
        Self { description: "my shop".to_owned() }
    }
}

/// A label.
#[derive(Object)]
#[oai(rename_all = "camelCase", example)]
struct SetLabel {
    /// A Kubernetes label value.
    customized_label: String,
}

impl Example for SetLabel {
    fn example() -> Self {
        Self { customized_label: "shop".to_owned() }
    }
}

async fn set<T>(
    app: &App,
    which: Metadata,
    secret: &OrderSecret,
    key: &HeaderLines,
    body: &Body<T>,
) -> Answer<Json<Nothing>, MetadataFailures> {
    let change = Change::begin(app, secret, key).await?;
    if change.earlier.is_some() {
        // The key stands for a job.
        return Err(key_reused().into());
    }
    app.set_metadata(&change.order, which, &body.json()?, change.key).await?;
    Ok(Json(Nothing {}))
}

#[OpenApi(tag = "Tag::Order")]
impl UserServiceApi {
    /// Show the order and where it stands in its life
    #[oai(path = "/k8s/userService", method = "get", operation_id = "get_user_service")]
    async fn show(&self, app: Data<&App>, secret: OrderSecret) -> Answer<Json<UserServiceBody>, OrderFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        Ok(Json(UserServiceBody::from(&order)))
    }

    /// Describe the order
    #[oai(path = "/k8s/deployment/metadata/annotation", method = "post", operation_id = "set_order_description")]
    async fn describe(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The same key with the same body is the same change, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        body: Body<SetDescription>,
    ) -> Answer<Json<Nothing>, MetadataFailures> {
        set(&app, Metadata::Description, &secret, &key, &body).await
    }

    /// Label the order
    #[oai(path = "/k8s/deployment/metadata/label", method = "post", operation_id = "set_order_label")]
    async fn label(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The same key with the same body is the same change, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        body: Body<SetLabel>,
    ) -> Answer<Json<Nothing>, MetadataFailures> {
        set(&app, Metadata::Label, &secret, &key, &body).await
    }
}
