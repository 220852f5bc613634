//! Domains of an order (`wire.md` §5).

use poem::web::Data;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};

use super::auth::OrderSecret;
use super::body::Body;
use super::change::{Change, ChangeFailures, Nothing, StepResponse};
use super::error::Answer;
use super::param::HeaderLines;
use super::tag::Tag;
use crate::app::App;
use crate::app::expose::Ask;

/// The calls.
pub(super) struct IngressApi;

/// A domain, and how it leads to the order's pod.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
struct BindDomain {
    /// A host name of at least two labels; other scripts in their ASCII form.
    domain: String,
    /// Whether the pod encrypts by itself: connections are passed through to it. The same for all domains of the order.
    is_encry_byself: Option<bool>,
    /// The TCP port of the pod that requests go to.
    container_port: u16,
    /// Whether the region has a certificate issued for the domain. Unless given, as for another domain of the order that ends
    /// in the same two labels, or not.
    is_letsencrypt: Option<bool>,
}

impl Example for BindDomain {
    fn example() -> Self {
        Self {
            domain: "shop.example.com".to_owned(),
            is_encry_byself: Some(false),
            container_port: 80,
            is_letsencrypt: Some(true),
        }
    }
}

/// Domains that are added or removed.
#[derive(Object)]
#[oai(example)]
struct EditDomains {
    /// `Add` or `Del`.
    action: Action,
    /// At least one.
    domains: Vec<String>,
}

/// What is done with the domains.
#[derive(Enum)]
#[oai(rename = "DomainAction")]
enum Action {
    /// They are bound too.
    Add,
    /// They are not bound any more.
    Del,
}

impl Example for EditDomains {
    fn example() -> Self {
        Self { action: Action::Add, domains: vec!["www.example.com".to_owned()] }
    }
}

/// What came with a change of domains.
struct Given<T> {
    secret: OrderSecret,
    key: HeaderLines,
    prefer: HeaderLines,
    body: Body<T>,
}

async fn expose<T>(app: &App, ask: Ask, given: Given<T>) -> Answer<StepResponse, ChangeFailures> {
    let change = Change::begin(app, &given.secret, &given.key).await?;
    let body = given.body.json()?;
    let request = change.request(app, &body, &given.prefer, None)?;
    let answer = app.expose(change.order, change.earlier, ask, request).await?;
    Ok(StepResponse::of(app, &answer).await)
}

#[OpenApi(tag = "Tag::Order")]
impl IngressApi {
    /// Bind a domain
    ///
    /// It is added to those that are bound; of one that is bound, port and encryption are changed. A domain is one order's.
    #[oai(path = "/k8s/pod/ingress", method = "post", operation_id = "bind_domain")]
    async fn bind(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The same key with the same body is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<BindDomain>,
    ) -> Answer<StepResponse, ChangeFailures> {
        expose(&app, Ask::Bind, Given { secret, key, prefer, body }).await
    }

    /// Add or remove domains
    ///
    /// Of an order that has at least one. Those that are added lead where the others do, which must all lead the same way.
    #[oai(path = "/k8s/pod/ingress", method = "patch", operation_id = "update_domains")]
    async fn edit(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The same key with the same body is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<EditDomains>,
    ) -> Answer<StepResponse, ChangeFailures> {
        expose(&app, Ask::Edit, Given { secret, key, prefer, body }).await
    }

    /// Unbind all domains
    #[oai(path = "/k8s/pod/ingress", method = "delete", operation_id = "unbind_domains")]
    async fn unbind(
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
        expose(&app, Ask::Unbind, Given { secret, key, prefer, body }).await
    }
}
