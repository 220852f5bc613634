//! The same calls as NATS request-reply (`wire.md` §7): a second door to the routes of [`crate::rest`]. Each operation of
//! the OpenAPI document is an endpoint of the micro service `vkube`; its messages become requests of the very routes that
//! HTTP serves, in this process, so that nothing can be called by one door only.

mod answer;
pub mod call;
pub mod request;
mod schema;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::service::{Request, Service, ServiceExt as _};
use common::failure::Reason;
use common::subject;
use common::telemetry::Chain;
use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use poem::{Endpoint, Response};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::answer::{Reply, SendError, is_streamed};
use self::call::{Call, calls};
use crate::app::error::AppError;
use crate::rest;

/// How long subscriptions may take to end: what they still hold is worked on.
const LATE: Duration = Duration::from_secs(1);

/// How much one instance does at a time.
#[derive(Debug, Clone, Copy)]
pub struct ServiceLimits {
    /// The most requests in work; more are answered 503.
    pub max_in_flight: usize,
    /// The most answers that go on for as long as somebody follows them.
    pub max_streams: usize,
    /// The longest that one of those goes on. Who listens to an inbox for other answers is not noticed to have gone.
    pub longest_stream: Duration,
}

impl ServiceLimits {
    /// With this many requests in work.
    pub fn in_flight(max_in_flight: usize) -> Self {
        Self { max_in_flight, max_streams: 256, longest_stream: Duration::from_mins(15) }
    }
}

/// Why the service cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// What it shall offer.
    #[error("the OpenAPI document is not JSON")]
    Document(#[source] serde_json::Error),
    /// An endpoint, or what makes it known, is refused.
    #[error("the NATS service cannot begin")]
    Start(#[source] async_nats::Error),
}

/// Every call of an OpenAPI document as a row of a Markdown table.
///
/// # Errors
/// When the document is not JSON.
pub fn table(document: &str) -> Result<String, ServiceError> {
    serde_json::from_str(document).map(|document| call::table(&document)).map_err(ServiceError::Document)
}

/// The open door: an instance of the service.
pub struct Door<E> {
    service: Service,
    requests: SelectAll<BoxStream<'static, (Arc<Call>, Request)>>,
    room: Arc<Room<E>>,
}

/// Where requests are worked on.
struct Room<E> {
    client: Client,
    routes: E,
    in_work: Arc<Semaphore>,
    followed: Semaphore,
    longest_stream: Duration,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// The end of the grace period.
    cut: CancellationToken,
    warned_of_silence: AtomicBool,
}

/// Offers every operation of an OpenAPI document, each answered by `routes`, until `shutdown`. Requests wait until
/// [`Door::run`].
///
/// # Errors
/// When the client cannot subscribe.
pub async fn open<E: Endpoint<Output = Response> + 'static>(
    client: Client,
    document: &str,
    routes: E,
    limits: ServiceLimits,
    shutdown: CancellationToken,
) -> Result<Door<E>, ServiceError> {
    let document: Value = serde_json::from_str(document).map_err(ServiceError::Document)?;
    let service = client
        .service_builder()
        .description("Every call of vkube's REST API as request-reply: see docs/NATS.md.")
        .start(subject::SERVICE, env!("CARGO_PKG_VERSION"))
        .await
        .map_err(ServiceError::Start)?;
    let mut requests = SelectAll::new();
    for call in calls(&document).into_iter().map(Arc::new) {
        let endpoint = service.endpoint_builder().name(&call.name).metadata(call.metadata.clone());
        let endpoint = endpoint.add(call.subject()).await.map_err(ServiceError::Start)?;
        requests.push(endpoint.map(move |request| (call.clone(), request)).boxed());
    }
    tracing::info!(calls = requests.len(), "nats: the service is open");
    let room = Room {
        client,
        routes,
        in_work: Arc::new(Semaphore::new(limits.max_in_flight)),
        followed: Semaphore::new(limits.max_streams),
        longest_stream: limits.longest_stream,
        tasks: TaskTracker::new(),
        shutdown,
        cut: CancellationToken::new(),
        warned_of_silence: AtomicBool::new(false),
    };
    Ok(Door { service, requests, room: Arc::new(room) })
}

impl<E: Endpoint<Output = Response> + 'static> Door<E> {
    /// Answers requests until the shutdown; then takes no more, and what is in work has the grace period to end.
    pub async fn run(self, grace: Duration) {
        let Self { service, mut requests, room } = self;
        while let Some(Some((call, request))) = room.shutdown.run_until_cancelled(requests.next()).await {
            room.take(call, request).await;
        }
        if let Err(error) = service.stop().await {
            tracing::warn!(%error, "nats: the service does not stop");
        }
        let ending = async {
            let late = async {
                while let Some((call, request)) = requests.next().await {
                    room.take(call, request).await;
                }
            };
            // Without a connection the subscriptions do not end by themselves.
            let _ = time::timeout(LATE, late).await;
            room.tasks.close();
            room.tasks.wait().await;
        };
        if time::timeout(grace, ending).await.is_err() {
            tracing::warn!(requests = room.tasks.len(), "nats: some requests did not end in time");
        }
        room.cut.cancel();
    }
}

impl<E: Endpoint<Output = Response> + 'static> Room<E> {
    /// Begins to work on a request, beside those that are in work.
    async fn take(self: &Arc<Self>, call: Arc<Call>, request: Request) {
        if !request.message.reply.as_deref().is_some_and(subject::is_inbox) {
            // Whoever asks would not hear what became of it, so nothing becomes of it.
            if !self.warned_of_silence.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    call = call.name,
                    "nats: a request without an inbox is dropped; of others nothing is said"
                );
            }
            return;
        }
        let Ok(permit) = self.in_work.clone().try_acquire_owned() else {
            return self.reply(&call, &request, rest::refused(busy("too many requests are in work"))).await;
        };
        let room = self.clone();
        self.tasks.spawn(async move {
            let work = room.clone().work(&call, &request, permit);
            room.cut.run_until_cancelled(work).await;
        });
    }

    async fn work(self: Arc<Self>, call: &Call, request: &Request, permit: OwnedSemaphorePermit) {
        let message = &request.message;
        let response = match request::request(call, message.headers.as_ref(), message.payload.clone()) {
            Ok(request) => self.routes.get_response(request).await,
            Err(error) => rest::refused(error),
        };
        if !is_streamed(&response) {
            return self.reply(call, request, response).await;
        }
        drop(permit);
        match self.followed.try_acquire() {
            Ok(_permit) => self.reply(call, request, response).await,
            Err(_) => self.reply(call, request, rest::refused(busy("too many answers are being followed"))).await,
        }
    }

    /// When a stream ends early, and why.
    async fn end(&self) -> AppError {
        match time::timeout(self.longest_stream, self.shutdown.cancelled()).await {
            Ok(()) => AppError::new(Reason::Overloaded, "the instance shuts down; ask again"),
            Err(_) => AppError::new(Reason::DeadlineExceeded, "an answer goes on for so long and no longer; ask again"),
        }
    }

    async fn reply(&self, call: &Call, request: &Request, response: Response) {
        match (Reply { client: &self.client, request }).send(response, self.end()).await {
            Ok(()) => {}
            Err(SendError::Gone) => tracing::debug!(call = call.name, "nats: nobody follows an answer any more"),
            Err(error) => tracing::warn!(call = call.name, error = %Chain(&error), "nats: an answer was not sent"),
        }
    }
}

fn busy(why: &str) -> AppError {
    AppError::new(Reason::Overloaded, format!("{why}; try again in a moment")).retry_after(Duration::from_secs(1))
}
