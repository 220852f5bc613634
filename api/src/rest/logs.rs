//! `GET /k8s/pod/logs`: a log as a stream of events (`wire.md` §5.1).

mod sse;

use common::log::Mark;
use futures::stream;
use jiff::Timestamp;
use poem::http::{HeaderValue, header};
use poem::web::Data;
use poem::{Body, IntoResponse, Response};
use poem_openapi::param::Query;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiResponse, OpenApi};

use super::auth::OrderSecret;
use super::error::{Answer, Statuses};
use super::param::{HeaderLines, Loose, flag, number, parsed};
use super::tag::Tag;
use crate::app::App;
use crate::app::error::AppError;
use crate::app::json::Problems;
use crate::app::log_stream::LogRequest;
use sse::{Dialect, KeepAlive, write};

/// The call.
pub(super) struct LogsApi;

/// Failures of `GET /k8s/pod/logs` before its first event.
pub(super) struct LogsFailures;

impl Statuses for LogsFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "A wrong query parameter or `Last-Event-ID`, or several containers and none was named"),
        (401, "The secret is missing or not valid"),
        (404, "Nothing is deployed"),
        (409, "The container has no log to show yet"),
        (500, "`server error`"),
        (503, "The region is not there at the moment, or too many follow; try again"),
        (504, "The region did not answer in time; try again"),
    ];
}

/// What caches are told.
const NO_STORE: &str = "no-store";

/// Events, as long as somebody reads them.
pub(super) struct Events(Body);

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        let mut response = Response::builder().body(self.0);
        for (name, value) in [
            // Existing clients read Latin 1 unless it says so.
            (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (header::CACHE_CONTROL, NO_STORE),
            // Asks proxies to pass on each event as it comes.
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl Payload for Events {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn schema_ref() -> MetaSchemaRef {
        String::schema_ref()
    }
}

impl ApiResponse for Events {
    fn meta() -> MetaResponses {
        let response = MetaResponse {
            description: "Events, until one called `end`: `message` is a line; `gap` says which lines may be missing",
            status: Some(200),
            status_range: None,
            content: vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() }],
            headers: vec![MetaHeader {
                name: "Cache-Control".to_owned(),
                description: Some(format!("`{NO_STORE}`: nothing in between keeps it.")),
                required: true,
                deprecated: false,
                schema: String::schema_ref(),
            }],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_: &mut Registry) {}
}

#[OpenApi(tag = "Tag::Order")]
impl LogsApi {
    /// Follow a pod's log
    ///
    /// Server-sent events: each line is `event:message` and `data:<line>`. A blank line says every other second that the
    /// stream is alive. The last event is `end`, and says why: `ContainerRestarted`, `PodReplaced`, `PodStopped`,
    /// `EndReached`, `Unfollowed`, `SecretRevoked`, `RegionUnavailable` or `ServerShutdown`. With `Accept: text/event-stream`
    /// every event has an `id`, but for an `end` that comes before anything else was told; a client that comes back with the
    /// last one as `Last-Event-ID` gets what came since, or an event `gap`. Other clients, who print what they are told, are
    /// told nothing of `EndReached`, `Unfollowed`, `RegionUnavailable` and `ServerShutdown`: the stream ends, and begins with
    /// the same line when they ask again.
    ///
    /// The same query begins with the same line for as long as the container runs, unless that line was removed by the
    /// region's log rotation; then with the oldest line that is there.
    #[oai(path = "/k8s/pod/logs", method = "get", operation_id = "follow_pod_logs")]
    #[expect(clippy::too_many_arguments, reason = "one argument a parameter")]
    async fn follow(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// Which container; required if there are several.
        container: Query<Option<String>>,
        /// End when all that there is now was shown.
        unfollow: Query<Option<Loose<bool>>>,
        /// Begin with the last lines, counted.
        #[oai(name = "tailLines")]
        tail_lines: Query<Option<Loose<u32>>>,
        /// Only lines of this time or younger: seconds since 1970; 0 = all.
        #[oai(name = "startTimestamp")]
        start: Query<Option<Loose<u32>>>,
        /// Only lines of this time or older: seconds since 1970; 0 = all.
        #[oai(name = "endTimestamp")]
        end: Query<Option<Loose<u32>>>,
        /// After which event to go on; goes before `tailLines` and `startTimestamp`.
        #[oai(name = "Last-Event-ID")]
        last_event_id: HeaderLines,
        /// `text/event-stream`: events have ids.
        #[oai(name = "Accept")]
        accept: HeaderLines,
    ) -> Answer<Events, LogsFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        let mut problems = Problems::default();
        let seconds = |name, given: Option<&Loose<u32>>, problems: &mut Problems| {
            number(name, given, 0..=u32::MAX, problems).filter(|second| *second > 0).map(i64::from)
        };
        let request = LogRequest {
            container: parsed("container", container.0.as_deref(), str::parse, &mut problems),
            after: last_event_id.last_event_id(&mut problems),
            tail_lines: number("tailLines", tail_lines.0.as_ref(), 0..=i32::MAX.unsigned_abs(), &mut problems),
            start: seconds("startTimestamp", start.0.as_ref(), &mut problems),
            end: seconds("endTimestamp", end.0.as_ref(), &mut problems),
            unfollow: flag("unfollow", unfollow.0.as_ref(), &mut problems),
        };
        if !problems.is_empty() {
            return Err(AppError::invalid(problems).into());
        }
        let dialect = if accept.holds("text/event-stream") { Dialect::WithIds } else { Dialect::Plain };
        let follower = app.follow_log(&order, secret.as_deref(), request).await?;
        let batches = stream::unfold(follower, async |mut follower| Some((follower.next().await?, follower)));
        let events = KeepAlive::new(Box::pin(batches), move |batch| write(&batch, dialect));
        Ok(Events(Body::from_bytes_stream(events)))
    }
}

/// The time of a line, as people read it.
fn time(mark: Mark) -> String {
    Timestamp::from_nanosecond(i128::from(mark.time_ns)).map(|time| time.to_string()).unwrap_or_default()
}
