//! Bodies: requests as JSON that the use cases read themselves, with the schema of a documented type; answers as
//! bytes that are already JSON.

use std::marker::PhantomData;

use bytes::Bytes;
use common::failure::Reason;
use poem::http::{HeaderValue, header};
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions};
use serde_json::Value;

use super::error::raise;
use crate::app::error::AppError;

const JSON: &str = "application/json";
/// The schemas of bodies that have nothing that must be said: none at all is as good as `{}`.
const MAY_BE_ABSENT: [&str; 2] = ["Nothing", "ReplaceSecret"];

/// A request's body, documented as `T`: it is read as JSON once it is known who sends it.
pub(super) struct Body<T> {
    content_type: Option<String>,
    bytes: Bytes,
    documented: PhantomData<fn() -> T>,
}

impl<T> Body<T> {
    /// What came; `{}` if nothing did (`wire.md` §1).
    ///
    /// # Errors
    /// [`Reason::UnsupportedMediaType`], or [`Reason::InvalidRequest`] where it is no JSON.
    pub(super) fn json(&self) -> Result<Value, AppError> {
        if self.bytes.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        if !is_json(self.content_type.as_deref()) {
            let message = "send the body as JSON, with Content-Type: application/json";
            return Err(AppError::new(Reason::UnsupportedMediaType, message));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            AppError::new(Reason::InvalidRequest, format!("the body is not JSON: see {place}"))
        })
    }
}

impl<'a, T: Type> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: !MAY_BE_ABSENT.contains(&T::name().as_ref()) })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = body
            .take()?
            .into_bytes()
            .await
            .map_err(|_| raise(AppError::new(Reason::InvalidRequest, "the body cannot be read")))?;
        Ok(Self { content_type: request.content_type().map(str::to_owned), bytes, documented: PhantomData })
    }
}

/// Whether a content type, or none at all, may carry JSON.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == JSON || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// An answer that is JSON already, documented as `T`.
pub(super) struct Raw<T> {
    json: Bytes,
    documented: PhantomData<fn() -> T>,
}

impl<T> Raw<T> {
    /// An answer of these bytes, which are JSON.
    pub(super) fn new(json: impl Into<Bytes>) -> Self {
        Self { json: json.into(), documented: PhantomData }
    }
}

impl<T> IntoResponse for Raw<T> {
    fn into_response(self) -> Response {
        let mut response = Response::builder().body(self.json);
        let content_type = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }
}

impl<T: Type> Payload for Raw<T> {
    const CONTENT_TYPE: &'static str = "application/json; charset=utf-8";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type> ApiResponse for Raw<T> {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: T::schema_ref() }];
        let response = MetaResponse {
            description: "Success",
            status: Some(200),
            status_range: None,
            content,
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn json_is_told_by_its_content_type() {
        for (content_type, json) in [
            (None, true),
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/merge-patch+json"), true),
            (Some("text/plain"), false),
            (Some("application/x-www-form-urlencoded"), false),
            (Some(""), false),
        ] {
            assert_eq!(is_json(content_type), json, "{content_type:?}");
        }
    }
}
