//! Errors as HTTP: the only place with status codes. Every failure, from every route, leaves in the shape of `wire.md` §2.

use std::marker::PhantomData;
use std::time::Duration;

use common::failure::Reason;
use common::telemetry::Chain;
use poem::error::{CorsError, MethodNotAllowedError, NotFoundError, ParsePathError, SizedLimitError};
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse as _, Response};
use poem_openapi::payload::Payload as _;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::{
    ApiResponse, Object,
    payload::Json,
    types::{Example, Type as _},
};

use crate::app::error::AppError;

/// The status of a reason.
pub(super) fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::InvalidRequest | Reason::RegionUnknown | Reason::ContainerUnknown => StatusCode::BAD_REQUEST,
        Reason::Unauthorized | Reason::RegistryRefused => StatusCode::UNAUTHORIZED,
        Reason::NotFound | Reason::ImageNotFound | Reason::NotDeployed => StatusCode::NOT_FOUND,
        Reason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Reason::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::OrderExists
        | Reason::RegionMismatch
        | Reason::PortOccupied
        | Reason::OrderEnded
        | Reason::OrderStopped
        | Reason::DomainTaken
        | Reason::JobBegun
        | Reason::LogUnavailable
        | Reason::Superseded => StatusCode::CONFLICT,
        Reason::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::IdempotencyKeyReused
        | Reason::QuotaExceeded
        | Reason::ImagePullRefused
        | Reason::CrashLoop
        | Reason::RolloutTimeout
        | Reason::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::RateLimited | Reason::RegistryRateLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Reason::RegistryUnreachable => StatusCode::BAD_GATEWAY,
        Reason::PortsExhausted
        | Reason::NoRoom
        | Reason::RegionUnavailable
        | Reason::UnsupportedJob
        | Reason::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Reason::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// When to ask again, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A failure (`wire.md` §2).
#[derive(Debug, Object)]
#[oai(rename = "Failure", example)]
pub(super) struct ErrorBody {
    error: ErrorMember,
}

impl Example for ErrorBody {
    fn example() -> Self {
        let member = ErrorMember {
            code: 409,
            message: "host port(s) occupied: TCP 2999; choose others".to_owned(),
            reason: Some("PORT_OCCUPIED".to_owned()),
            request_id: Some("01890a5dac96774bbcceb302099a8057".to_owned()),
            job_id: None,
            details: None,
        };
        Self { error: member }
    }
}

/// What went wrong.
#[derive(Debug, Object)]
#[oai(rename = "Error", rename_all = "camelCase", skip_serializing_if_is_none)]
struct ErrorMember {
    /// The HTTP status.
    code: u16,
    /// What went wrong, and what to do.
    message: String,
    /// A stable word: `PORT_OCCUPIED`, `IMAGE_NOT_FOUND`, ...
    reason: Option<String>,
    /// The request's id, as in the header `X-Request-Id` and in our log.
    request_id: Option<String>,
    /// The job whose end this is: the change was accepted, and has failed or was replaced. Without it nothing was accepted,
    /// unless the answer does not tell (5xx).
    job_id: Option<String>,
    /// Each wrong field.
    details: Option<Vec<Detail>>,
}

/// One wrong field.
#[derive(Debug, Object)]
struct Detail {
    /// Where: `containers[0].ports[1].hostPort`; empty = the whole body.
    field: String,
    /// What is wrong and what to do.
    problem: String,
}

/// Turns any error of any route into an answer.
pub(super) fn render(error: poem::Error, request_id: &str) -> Response {
    let error = match error.downcast::<AppError>() {
        Ok(error) => error,
        Err(error) => foreign(&error),
    };
    let status = status(error.reason);
    log(&error, request_id);
    let details = error.details.into_iter().map(|d| Detail { field: d.field, problem: d.problem }).collect::<Vec<_>>();
    let body = ErrorBody {
        error: ErrorMember {
            code: status.as_u16(),
            message: error.message,
            reason: serde_json::to_value(error.reason).ok().and_then(|word| word.as_str().map(str::to_owned)),
            request_id: Some(request_id.to_owned()),
            job_id: error.job.map(|job| job.to_string()),
            details: (!details.is_empty()).then_some(details),
        },
    };
    let mut response = Json(body).into_response();
    response.set_status(status);
    // The end of a job stays its end however often it is asked for.
    let soon = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) && error.job.is_none();
    if let Some(after) = error.retry_after.or(soon.then_some(RETRY_AFTER)) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

/// The cause goes to the log, once, and never to the client.
fn log(error: &AppError, request_id: &str) {
    match (error.reason, std::error::Error::source(error)) {
        (Reason::Internal, Some(cause)) => tracing::error!(request_id, error = %Chain(cause), "server error"),
        (Reason::Internal, None) => tracing::error!(request_id, "server error"),
        (_, Some(cause)) => tracing::warn!(request_id, error = %Chain(cause), "{error}"),
        (_, None) => {}
    }
}

/// An error of poem or poem-openapi, in our words.
fn foreign(error: &poem::Error) -> AppError {
    if error.is::<NotFoundError>() {
        return AppError::new(Reason::NotFound, "there is no such path; see /openapi.json for those that are there");
    }
    if error.is::<MethodNotAllowedError>() {
        return AppError::new(Reason::MethodNotAllowed, "the path does not know this method; see the header Allow");
    }
    if error.is::<SizedLimitError>() {
        return AppError::new(Reason::PayloadTooLarge, "the body is too large");
    }
    if let Some(cors) = error.downcast_ref::<CorsError>() {
        return AppError::new(Reason::InvalidRequest, format!("a browser may not ask this of us: {cors}"));
    }
    match error.status() {
        StatusCode::UNAUTHORIZED => AppError::unauthorized(),
        StatusCode::BAD_REQUEST if error.is::<ParsePathError>() => {
            AppError::new(Reason::NotFound, "there is no such thing: the path cannot be read")
        }
        StatusCode::NOT_FOUND => AppError::new(Reason::NotFound, "there is no such thing"),
        StatusCode::PAYLOAD_TOO_LARGE => AppError::new(Reason::PayloadTooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            AppError::new(Reason::UnsupportedMediaType, "send JSON, with Content-Type: application/json")
        }
        status if status.is_client_error() => AppError::new(Reason::InvalidRequest, error.to_string()),
        _ => AppError::internal(error.to_string()),
    }
}

/// A failure of a handler, and in its type the statuses that its operation documents.
pub(super) struct Fails<S>(AppError, PhantomData<fn() -> S>);

/// The statuses of an operation's failures.
pub(super) trait Statuses {
    /// Each with what it means here.
    const ALL: &'static [(u16, &'static str)];
    /// Those that it has besides, where all are another operation's too.
    const MORE: &'static [(u16, &'static str)] = &[];
}

impl<S> From<AppError> for Fails<S> {
    fn from(error: AppError) -> Self {
        Self(error, PhantomData)
    }
}

impl<S> From<Fails<S>> for poem::Error {
    fn from(fails: Fails<S>) -> Self {
        let status = status(fails.0.reason);
        Self::new(fails.0, status)
    }
}

impl<S: Statuses> ApiResponse for Fails<S> {
    fn meta() -> MetaResponses {
        let response = |(status, description): &(u16, &'static str)| MetaResponse {
            description,
            status: Some(*status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: Json::<ErrorBody>::CONTENT_TYPE,
                schema: ErrorBody::schema_ref(),
            }],
            headers: Vec::new(),
        };
        MetaResponses { responses: S::ALL.iter().chain(S::MORE).map(response).collect() }
    }

    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

/// A handler's answer: `T`, or a failure with one of the statuses `S`.
pub(super) type Answer<T, S> = Result<T, Fails<S>>;

/// Any error as the error that [`render`] understands.
pub(super) fn raise(error: AppError) -> poem::Error {
    let status = status(error.reason);
    poem::Error::new(error, status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_has_the_shape_of_the_contract() {
        let mut problems = crate::app::json::Problems::default();
        problems.add("containers", "is required");
        let response = render(raise(AppError::invalid(problems)), "r-1");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body = response.into_body().into_string().await.unwrap();
        insta::assert_snapshot!(body, @r#"{"error":{"code":400,"details":[{"field":"containers","problem":"is required"}],"message":"containers is required","reason":"INVALID_REQUEST","requestId":"r-1"}}"#);
    }

    #[tokio::test]
    async fn the_end_of_a_job_names_it_and_asks_for_no_other_try() {
        let job = common::name::JobId::new();
        for (case, reason) in [
            ("one that is told before a job is accepted, too", Reason::RegionUnavailable),
            ("a limit of a registry", Reason::RegistryRateLimited),
            ("a fault of the region's", Reason::Internal),
        ] {
            let refused = render(raise(AppError::new(reason, "x")), "r-1");
            let ended = render(raise(AppError::new(reason, "x").end_of(job)), "r-1");
            assert_eq!(ended.status(), refused.status(), "{case}");
            assert_eq!(ended.headers().get(header::RETRY_AFTER), None, "{case}");
            let bodies = [refused, ended].map(|response| response.into_body().into_json::<serde_json::Value>());
            let [refused, ended] = futures::future::join_all(bodies).await.try_into().unwrap();
            assert_eq!(refused.unwrap().pointer("/error/jobId"), None, "{case}");
            assert_eq!(ended.unwrap()["error"]["jobId"], job.to_string(), "{case}");
        }
    }

    #[tokio::test]
    async fn a_fault_of_ours_shows_no_cause() {
        let response = render(raise(AppError::internal("password=hunter2")), "r-1");
        let body = response.into_body().into_string().await.unwrap();
        insta::assert_snapshot!(body, @r#"{"error":{"code":500,"message":"server error","reason":"INTERNAL","requestId":"r-1"}}"#);
    }
}
