//! A response as messages: one, or where it is long or streamed numbered parts and an empty message that ends them.

use std::pin::pin;

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request};
use async_nats::{Client, HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use common::subject::{HEADER_END, HEADER_PART, HEADER_STATUS};
use futures::{Stream, StreamExt as _, future, stream};
use poem::http::header;
use poem::{Response, ResponseParts};
use serde_json::Value;

use crate::app::error::AppError;
use crate::rest;

/// The most bytes of one part: half of what a server takes unless it is told otherwise.
const MAX_PART_BYTES: usize = 512 << 10;
/// Headers of REST that say something to whoever asked by NATS.
const PASSED: [(&str, header::HeaderName); 7] = [
    ("Content-Type", header::CONTENT_TYPE),
    ("Location", header::LOCATION),
    ("Retry-After", header::RETRY_AFTER),
    ("X-Request-Id", header::HeaderName::from_static("x-request-id")),
    ("RateLimit-Limit", header::HeaderName::from_static("ratelimit-limit")),
    ("RateLimit-Remaining", header::HeaderName::from_static("ratelimit-remaining")),
    ("RateLimit-Reset", header::HeaderName::from_static("ratelimit-reset")),
];

/// Why an answer did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("nobody listens any more")]
    Gone,
    #[error("the answer cannot be published")]
    Publish(#[source] async_nats::client::PublishError),
    #[error("word of followers that are gone cannot be subscribed to")]
    Subscribe(#[source] async_nats::client::SubscribeError),
}

/// Where the answer to one request goes.
pub(super) struct Reply<'a> {
    pub(super) client: &'a Client,
    pub(super) request: &'a Request,
}

impl Reply<'_> {
    /// Sends a response in as many messages as it takes. What is streamed is cut off at `end`, and says why.
    pub(super) async fn send(&self, response: Response, end: impl Future<Output = AppError>) -> Result<(), SendError> {
        let streamed = is_streamed(&response);
        let (parts, body) = response.into_parts();
        if streamed {
            return self.send_parts(head(&parts, &[]), body.into_bytes_stream(), end).await;
        }
        let (head, body) = match body.into_bytes().await {
            Ok(body) => (head(&parts, &body), body),
            Err(error) => (cut(AppError::internal(error.to_string())).await, Bytes::new()),
        };
        if body.len() > self.max_part_bytes() {
            return self.send_parts(head, stream::iter([Ok(body)]), future::pending()).await;
        }
        self.request.respond_with_headers(Ok(body), head).await.map_err(SendError::Publish)
    }

    async fn send_parts(
        &self,
        head: HeaderMap,
        body: impl Stream<Item = std::io::Result<Bytes>>,
        end: impl Future<Output = AppError>,
    ) -> Result<(), SendError> {
        // The server tells an inbox of ours when nobody hears a part any more.
        let inbox = self.client.new_inbox();
        let mut echoes = self.client.subscribe(inbox.clone()).await.map_err(SendError::Subscribe)?;
        let (mut body, mut end) = (pin!(body), pin!(end));
        let (mut headers, mut number) = (head, 0_u64);
        let mut last = loop {
            let chunk = tokio::select! {
                biased;
                echo = echoes.next() => match echo {
                    Some(echo) if echo.status != Some(StatusCode::NO_RESPONDERS) => continue,
                    _ => return Err(SendError::Gone),
                },
                why = &mut end => break cut(why).await,
                chunk = body.next() => chunk,
            };
            let mut chunk = match chunk {
                None => break HeaderMap::new(),
                Some(Err(error)) => break cut(AppError::internal(error)).await,
                Some(Ok(chunk)) => chunk,
            };
            while !chunk.is_empty() {
                let part = chunk.split_to(chunk.len().min(self.max_part_bytes()));
                headers.insert(HEADER_PART, HeaderValue::from(number));
                let reply = self.request.message.reply.clone().ok_or(SendError::Gone)?;
                let headers = std::mem::take(&mut headers);
                let sent = self.client.publish_with_reply_and_headers(reply, inbox.clone(), headers, part).await;
                sent.map_err(SendError::Publish)?;
                number += 1;
            }
        };
        last.insert(HEADER_END, "true");
        self.request.respond_with_headers(Ok(Bytes::new()), last).await.map_err(SendError::Publish)
    }

    fn max_part_bytes(&self) -> usize {
        MAX_PART_BYTES.min(self.client.server_info().max_payload / 2).max(1)
    }
}

/// Whether a response goes on for as long as somebody listens.
pub(super) fn is_streamed(response: &Response) -> bool {
    response.content_type().is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// The headers of a message that ends an answer before its end.
async fn cut(why: AppError) -> HeaderMap {
    let (parts, body) = rest::refused(why).into_parts();
    head(&parts, &body.into_bytes().await.unwrap_or_default())
}

/// The headers of an answer's first message. `body` is that of a failure, whose message the micro headers repeat.
fn head(response: &ResponseParts, body: &[u8]) -> HeaderMap {
    let mut head = HeaderMap::new();
    let status = response.status;
    head.insert(HEADER_STATUS, HeaderValue::from(status.as_u16()));
    for (name, header) in PASSED {
        let value = response.headers.get(header).and_then(|value| value.to_str().ok()?.parse::<HeaderValue>().ok());
        if let Some(value) = value {
            head.insert(name, value);
        }
    }
    if status.is_client_error() || status.is_server_error() {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = body.pointer("/error/message").and_then(Value::as_str);
        let message = message.or(status.canonical_reason()).unwrap_or("error").replace(char::is_control, " ");
        if let Ok(message) = message.parse::<HeaderValue>() {
            head.insert(NATS_SERVICE_ERROR, message);
        }
        head.insert(NATS_SERVICE_ERROR_CODE, HeaderValue::from(status.as_u16()));
    }
    head
}

#[cfg(test)]
mod tests {
    use poem::http::StatusCode;

    use super::*;

    fn heading(response: Response, body: &str) -> HeaderMap {
        head(&response.into_parts().0, body.as_bytes())
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(HeaderValue::as_str)
    }

    #[test]
    fn an_answer_tells_its_status_and_what_rest_tells_in_headers() {
        let response = Response::builder()
            .status(StatusCode::ACCEPTED)
            .header("location", "/api/v1/jobs/7")
            .header("x-request-id", "r-1")
            .header("access-control-allow-origin", "*")
            .content_type("application/json");
        let headers = heading(response.finish(), "{}");
        assert_eq!(text(&headers, "Vkube-Status"), Some("202"));
        assert_eq!(text(&headers, "Location"), Some("/api/v1/jobs/7"));
        assert_eq!(text(&headers, "X-Request-Id"), Some("r-1"));
        assert_eq!(text(&headers, "Content-Type"), Some("application/json"));
        assert_eq!(headers.len(), 4, "{headers:?}");
    }

    #[test]
    fn a_failure_is_a_micro_error_too() {
        for (case, body, expected) in [
            ("plain", r#"{"error":{"code":503,"message":"no room"}}"#, "no room"),
            (
                "line ends",
                r#"{"error":{"message":"a\r\nNats-Service-Error-Code: 200\u0000\u001b[2J"}}"#,
                "a  Nats-Service-Error-Code: 200  [2J",
            ),
            ("not ours", "<html>", "Service Unavailable"),
        ] {
            let headers = heading(Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).finish(), body);
            assert_eq!(text(&headers, "Nats-Service-Error-Code"), Some("503"), "{case}");
            assert_eq!(text(&headers, "Nats-Service-Error"), Some(expected), "{case}");
        }
        let headers = heading(Response::builder().status(StatusCode::OK).finish(), "{}");
        assert_eq!(text(&headers, "Nats-Service-Error-Code"), None);
    }

    #[test]
    fn streams_are_told_by_their_content_type() {
        for (kind, expected) in
            [("text/event-stream", true), ("text/event-stream; charset=utf-8", true), ("application/json", false)]
        {
            assert_eq!(is_streamed(&Response::builder().content_type(kind).finish()), expected, "{kind}");
        }
        assert!(!is_streamed(&Response::builder().finish()));
    }
}
