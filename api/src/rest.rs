//! HTTP, and nothing but HTTP: one `*Api` a resource, bodies beside handlers. The guide's calls are mounted twice, under
//! `/api/v1` and without it (`wire.md` §1); the OpenAPI document shows the first.

mod admin;
mod allow;
mod auth;
mod body;
mod change;
mod client;
mod deploy_body;
mod deployment;
mod document;
mod edge;
mod edit;
mod error;
mod health;
mod ingress;
mod job;
mod limits;
mod logs;
mod lookup;
mod monitor;
mod order;
mod param;
mod pod;
mod server;
mod step;
mod tag;
mod user_service;

pub use client::{ForwardedHeader, Proxies};
pub use document::document;
pub use edge::{ByNats, EdgeSettings, refused};
pub use limits::LimitSettings;
pub use param::HeaderLines;
pub use server::{ServeError, ServerSettings, TlsError, TlsFiles, serve};

use poem::{Endpoint, EndpointExt as _, Response, Route, get};
use poem_openapi::OpenApiService;

use crate::app::App;
use allow::Allow;

/// The prefix of every call.
const PREFIX: &str = "/api/v1";

/// The seven calls of the guide.
const GUIDE: (lookup::LookupApi, order::OrderApi, pod::PodApi) = (lookup::LookupApi, order::OrderApi, pod::PodApi);

/// Every route behind the edge.
pub fn routes(app: App, settings: EdgeSettings) -> impl Endpoint<Output = Response> {
    let service = document::service();
    let unprefixed = OpenApiService::new(GUIDE, "vkube", env!("CARGO_PKG_VERSION"));
    let allow = Allow::default().and(PREFIX, &document::parsed(&service)).and("", &document::parsed(&unprefixed));
    let page = service.swagger_ui();
    let document = document();
    let routes = Route::new()
        .at("/healthz", get(health::healthz))
        .at("/readyz", get(health::readyz))
        .at(
            "/openapi.json",
            get(poem::endpoint::make_sync(move |_| {
                Response::builder().content_type("application/json; charset=utf-8").body(document.clone())
            })),
        )
        .nest("/docs", page)
        .nest(PREFIX, service)
        .nest("/", unprefixed)
        .data(app);
    edge::wrap(routes, allow, settings)
}
