//! Around every route: request id, trace, one log line, limits, and errors in the one shape. Nothing leaves without it.

use std::any::Any;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::failure::Reason;
use poem::error::MethodNotAllowedError;
use poem::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use poem::middleware::{CatchPanic, Cors};
use poem::web::RemoteAddr;
use poem::{Addr, Body, Endpoint, EndpointExt as _, IntoResponse, PathPattern, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use uuid::Uuid;

use super::allow::Allow;
use super::client::Proxies;
use super::error::{raise, render};
use super::limits::{self, Caller, LimitSettings, Limits, Refused, Standing};
use crate::app::error::AppError;

/// The header that carries a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The paths of probes, which are answered however much is in work.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// How much of a body that is too large is taken before the connection is closed.
const MAX_DROPPED_BYTES: u64 = 8 << 20;
/// The most bytes of path, query and headers together.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long a client may take to send a body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The limits of the edge.
#[derive(Debug, Clone)]
pub struct EdgeSettings {
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
    /// The most requests in work at once; more are answered 503.
    pub max_in_flight: usize,
    /// What each caller may have.
    pub limits: LimitSettings,
    /// Who tells us of callers.
    pub proxies: Proxies,
}

/// Marks a request that came by NATS.
#[derive(Debug, Clone, Copy)]
pub struct ByNats;

/// Headers that browsers may send.
const OURS: [&str; 7] =
    ["secret", "idempotency-key", "last-event-id", "content-type", "prefer", "username", "password"];
/// Headers that existing clients send, and that say nothing to us (`wire.md` §1).
const OF_EXISTING_CLIENTS: [&str; 4] = ["x-sdk-time", "address", "public-key", "signature"];

/// The answer to a request that never comes to a route, in the one shape.
pub fn refused(error: AppError) -> Response {
    let id = new_id();
    let response = finish(render(raise(error), &id), &id);
    tracing::info!(request_id = id, http.response.status_code = response.status().as_u16(), "request refused");
    response
}

/// Puts the edge around routes. `allow` tells the methods of each path.
pub(super) fn wrap(
    routes: impl Endpoint + 'static,
    allow: Allow,
    settings: EdgeSettings,
) -> impl Endpoint<Output = Response> {
    let cors = Cors::new()
        .allow_headers(OURS.into_iter().chain(OF_EXISTING_CLIENTS))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            REQUEST_ID,
            limits::LIMIT,
            limits::REMAINING,
            limits::RESET,
        ]);
    let on_panic = |_: Box<dyn Any + Send>| {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.set_data(Panicked);
        response
    };
    let edge = Edge {
        inner: routes.with(CatchPanic::new().with_handler(on_panic)),
        allow,
        limits: Limits::new(settings.limits),
        proxies: settings.proxies,
        max_body_bytes: settings.max_body_bytes,
        receiving: Semaphore::new(settings.max_in_flight),
        working: Semaphore::new(settings.max_in_flight),
    };
    edge.with(cors).catch_all_error(error_answer)
}

/// Marks the answer of a handler that panicked.
#[derive(Clone)]
struct Panicked;

/// A browser's request that CORS does not allow: it never came to the edge.
async fn error_answer(error: poem::Error) -> Response {
    let id = new_id();
    let response = render(error, &id);
    tracing::info!(request_id = id, http.response.status_code = response.status().as_u16(), "request refused by CORS");
    finish(response, &id)
}

/// Puts on what every answer has.
fn finish(mut response: Response, id: &str) -> Response {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A new request id.
fn new_id() -> String {
    Uuid::now_v7().simple().to_string()
}

struct Edge<E> {
    inner: E,
    allow: Allow,
    limits: Limits,
    proxies: Proxies,
    max_body_bytes: usize,
    receiving: Semaphore,
    working: Semaphore,
}

impl<E: Endpoint> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let began = Instant::now();
        let id = new_id();
        let span = tracing::info_span!(
            "http.request",
            request_id = %id,
            trace_id = tracing::field::Empty,
            network.protocol.name = if request.data::<ByNats>().is_some() { "nats" } else { "http" },
            http.request.method = %request.method(),
            client.address = tracing::field::Empty,
            order.id = tracing::field::Empty,
            job.id = tracing::field::Empty,
        );
        continue_trace(&span, &request);
        span.record("trace_id", common::telemetry::trace_id(&span));
        let path = request.uri().path().to_owned();
        let address = self.address(&request);
        if let Some(address) = address {
            span.record("client.address", tracing::field::display(address));
        }
        let caller = self.limits.caller(&request, address);
        let (standing, answer) = self.answer(request, &caller).instrument(span.clone()).await;
        let _entered = span.entered();
        let (mut response, pattern) = match answer {
            Ok(response) => {
                let pattern = response.data::<PathPattern>().map(|pattern| pattern.0.to_string());
                (response, pattern)
            }
            Err(error) => {
                let pattern = error.data::<PathPattern>().map(|pattern| pattern.0.to_string());
                let not_allowed = error.is::<MethodNotAllowedError>();
                let mut response = render(error, &id);
                if not_allowed && let Ok(methods) = HeaderValue::from_str(&self.allow.methods(&path)) {
                    response.headers_mut().insert(header::ALLOW, methods);
                }
                (response, pattern)
            }
        };
        if response.data::<Panicked>().is_some() {
            response = render(raise(AppError::internal("a handler panicked")), &id);
        }
        if let Some(standing) = standing {
            standing.tell(response.headers_mut());
        }
        let response = finish(response, &id);
        let status = response.status();
        self.limits.ended(&caller, status);
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let route = pattern.as_deref().unwrap_or("-");
        // Probes come every few seconds and say nothing when all is well.
        if PROBES.contains(&route) && status == StatusCode::OK {
            tracing::debug!(http.route = route, http.response.status_code = status.as_u16(), took_ms, "request");
        } else {
            tracing::info!(http.route = route, http.response.status_code = status.as_u16(), took_ms, "request");
        }
        Ok(response)
    }
}

impl<E: Endpoint> Edge<E> {
    /// The address of the client, unless it came by NATS.
    fn address(&self, request: &Request) -> Option<IpAddr> {
        match request.remote_addr() {
            RemoteAddr(Addr::SocketAddr(peer)) => Some(self.proxies.client(peer.ip(), request.headers())),
            _ => None,
        }
    }

    /// The answer, and how its caller stands.
    async fn answer(&self, request: Request, caller: &Caller) -> (Option<Standing>, poem::Result<Response>) {
        let refused = |refused: Box<Refused>| (refused.standing, Err(raise(refused.error)));
        if PROBES.contains(&request.uri().path()) {
            return match self.limits.admit_probe(caller) {
                Ok(standing) => (standing, self.inner.call(request).await.map(IntoResponse::into_response)),
                Err(why) => refused(why),
            };
        }
        match self.limits.admit(caller) {
            Ok(admitted) => (admitted.standing, self.worked(request).await),
            Err(why) => refused(why),
        }
    }

    async fn worked(&self, mut request: Request) -> poem::Result<Response> {
        if head_bytes(&request) > MAX_HEAD_BYTES {
            let message = format!("path, query and headers must have at most {MAX_HEAD_BYTES} bytes together");
            return Err(raise(AppError::new(Reason::HeadersTooLarge, message)));
        }
        let busy = || {
            let busy = AppError::new(Reason::Overloaded, "too many requests are in work; try again in a moment");
            raise(busy.retry_after(Duration::from_secs(1)))
        };
        // Bodies that come slowly hold up other bodies, but no request without one and none that is in work.
        let body = request.take_body();
        if !body.is_empty() {
            let _receiving = self.receiving.try_acquire().map_err(|_| busy())?;
            request.set_body(self.received(body).await?);
        }
        let _working = self.working.try_acquire().map_err(|_| busy())?;
        self.inner.call(request).await.map(IntoResponse::into_response)
    }

    /// Reads the body within its limits of size and time, whether or not its length was declared.
    async fn received(&self, body: Body) -> poem::Result<Vec<u8>> {
        let read = tokio::time::timeout(BODY_DEADLINE, read_body(body.into_async_read(), self.max_body_bytes)).await;
        let read = read.map_err(|_| AppError::new(Reason::RequestTimeout, "the body did not come in time"));
        let read = read.and_then(|read| {
            read.map_err(|_| AppError::new(Reason::InvalidRequest, "the body cannot be read"))?.ok_or_else(|| {
                let message = format!("the body must have at most {} bytes", self.max_body_bytes);
                AppError::new(Reason::PayloadTooLarge, message)
            })
        });
        read.map_err(raise)
    }
}

/// The bytes of path, query and headers.
fn head_bytes(request: &Request) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() + target
}

/// Reads a body of at most `max` bytes; None = there is more. Some of what is too much is taken and dropped, as a client
/// that is still sending when the connection closes never sees the answer.
async fn read_body(body: impl AsyncRead + Unpin, max: usize) -> std::io::Result<Option<Vec<u8>>> {
    let most = u64::try_from(max).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut body = body.take(most.saturating_add(1));
    body.read_to_end(&mut bytes).await?;
    if bytes.len() <= max {
        return Ok(Some(bytes));
    }
    body.set_limit(MAX_DROPPED_BYTES);
    tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
    Ok(None)
}

/// Continues the trace that a client began, if its header `traceparent` is well formed.
fn continue_trace(span: &tracing::Span, request: &Request) {
    let Some(parent) = request.header("traceparent").filter(|text| text.len() <= 256) else { return };
    if let Ok(parent) = parent.parse::<async_nats::HeaderValue>() {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("traceparent", parent);
        common::telemetry::continue_trace(span, Some(&headers));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_server_error_that_tells_nothing_of_it() {
        let routes = poem::endpoint::make_sync(|_| -> Response { panic!("hunter2") });
        let edge = wrap(
            routes,
            Allow::default(),
            EdgeSettings {
                max_body_bytes: 1024,
                max_in_flight: 1,
                limits: LimitSettings::default(),
                proxies: Proxies::default(),
            },
        );
        // The first one leaves its place to the next.
        for _ in 0..2 {
            let mut response = edge.call(Request::default()).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let id = response.header(REQUEST_ID).unwrap().to_owned();
            let body: Value = response.take_body().into_json().await.unwrap();
            let error = json!({ "code": 500, "message": "server error", "reason": "INTERNAL", "requestId": id });
            assert_eq!(body, json!({ "error": error }));
        }
    }
}
