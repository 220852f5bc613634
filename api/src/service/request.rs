//! A message as the request that REST would get: each parameter has its place in the path, the query or a header, and no
//! value can reach beyond it.

use async_nats::HeaderMap;
use bytes::Bytes;
use common::failure::Reason;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use poem::http::{HeaderName, HeaderValue, Uri, header};
use poem::{Body, Request};

use super::call::{Call, Place};
use crate::app::error::AppError;
use crate::app::json::Problems;
use crate::rest::ByNats;

/// What is written otherwise in paths and queries: all but some that never mean anything there. Dots are, as `..` does.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');
/// Headers that pass on though no call describes them.
const PASSED: [HeaderName; 3] =
    [header::ACCEPT, HeaderName::from_static("last-event-id"), HeaderName::from_static("traceparent")];

/// The request of a call.
///
/// # Errors
/// [`Reason::InvalidRequest`] when a parameter of the path is missing, or a value cannot stand where REST has it.
pub fn request(call: &Call, headers: Option<&HeaderMap>, payload: Bytes) -> Result<Request, AppError> {
    let mut problems = Problems::default();
    let (mut path, mut query, mut passed) = (call.path.clone(), Vec::new(), poem::http::HeaderMap::new());
    for parameter in &call.parameters {
        let name = parameter.name.as_str();
        let given: Vec<&str> = values(headers, name).collect();
        match (&parameter.place, given.as_slice()) {
            (Place::Path, [value]) if !value.is_empty() => path = path.replace(&format!("{{{name}}}"), &encoded(value)),
            (Place::Path, [] | [_]) => problems.add(name, "is required"),
            (Place::Path, _) => problems.add(name, "must be given once"),
            (Place::Query, given) => query.extend(given.iter().map(|value| format!("{name}={}", encoded(value)))),
            (Place::Header(header), given) => pass(header, given, &mut passed, &mut problems),
        }
    }
    for header in &PASSED {
        if !passed.contains_key(header) {
            pass(header, &values(headers, header.as_str()).collect::<Vec<_>>(), &mut passed, &mut problems);
        }
    }
    if !problems.is_empty() {
        return Err(AppError::invalid(problems));
    }
    let uri: Uri = format!("{path}?{}", query.join("&"))
        .parse()
        .map_err(|_| AppError::new(Reason::InvalidRequest, "the parameters of the path and query are too long"))?;
    let mut request = Request::builder().method(call.method.clone()).uri(uri).finish();
    *request.headers_mut() = passed;
    request.set_data(ByNats);
    if !payload.is_empty() {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.set_body(Body::from_bytes(payload));
    }
    Ok(request)
}

/// Passes the values of a header on, as bytes that HTTP allows there.
fn pass(name: &HeaderName, given: &[&str], passed: &mut poem::http::HeaderMap, problems: &mut Problems) {
    for value in given {
        match HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes()) {
            Ok(value) => drop(passed.append(name, value)),
            Err(_) => problems.add(name.as_str(), "must not contain control characters"),
        }
    }
}

/// The values of a header, whatever the case of its name.
fn values<'a>(headers: Option<&'a HeaderMap>, name: &str) -> impl Iterator<Item = &'a str> {
    let given = headers.into_iter().flat_map(HeaderMap::iter);
    let same = given.filter(move |(given, _)| AsRef::<str>::as_ref(given).eq_ignore_ascii_case(name));
    same.flat_map(|(_, values)| values).map(async_nats::HeaderValue::as_str)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use poem::http::Method;

    use super::super::call::Parameter;
    use super::*;

    fn call() -> Call {
        let parameter = |name: &str, place| Parameter { name: name.to_owned(), place };
        Call {
            name: "call_it".to_owned(),
            method: Method::POST,
            path: "/api/v1/orders/{id}/jobs/{job}".to_owned(),
            parameters: vec![
                parameter("id", Place::Path),
                parameter("job", Place::Path),
                parameter("tailLines", Place::Query),
                parameter("type", Place::Query),
                parameter("secret", Place::Header(HeaderName::from_static("secret"))),
            ],
            metadata: std::collections::HashMap::new(),
        }
    }

    fn headers(given: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, *value);
        }
        headers
    }

    #[test]
    fn every_parameter_has_its_place_and_no_value_leaves_it() {
        for (case, given, path, query) in [
            ("plain", &[("id", "a"), ("job", "b")][..], "a/jobs/b", ""),
            ("without regard to case", &[("ID", "a"), ("Job", "b"), ("TAILLINES", "7")], "a/jobs/b", "tailLines=7"),
            ("repeated", &[("id", "a"), ("job", "b"), ("type", "x"), ("type", "y")], "a/jobs/b", "type=x&type=y"),
            ("climbing", &[("id", ".."), ("job", "../../admin")], "%2E%2E/jobs/%2E%2E%2F%2E%2E%2Fadmin", ""),
            ("encoded already", &[("id", "%2e"), ("job", "b")], "%252e/jobs/b", ""),
            ("a query in a path", &[("id", "a?b=c#d"), ("job", "b")], "a%3Fb%3Dc%23d/jobs/b", ""),
            ("a parameter in a parameter", &[("id", "{job}"), ("job", "b")], "%7Bjob%7D/jobs/b", ""),
            (
                "a query in a query",
                &[("id", "a"), ("job", "b"), ("type", "x&y=z +")],
                "a/jobs/b",
                "type=x%26y%3Dz%20%2B",
            ),
            ("no ASCII", &[("id", "ž"), ("job", "\u{7f}")], "%C5%BE/jobs/%7F", ""),
            ("unknown", &[("id", "a"), ("job", "b"), ("colour", "red"), ("Host", "x")], "a/jobs/b", ""),
        ] {
            let mut request = request(&call(), Some(&headers(given)), Bytes::new()).unwrap();
            assert_eq!(request.uri().path(), format!("/api/v1/orders/{path}"), "{case}");
            assert_eq!(request.uri().query().unwrap_or_default(), query, "{case}");
            assert!(request.headers().is_empty() && request.take_body().is_empty(), "{case}");
        }
    }

    #[test]
    fn what_cannot_stand_where_rest_has_it_is_told_by_name() {
        let long = "x".repeat(70_000);
        for (case, given, expected) in [
            ("nothing", &[][..], "2 problems, see details: id, job"),
            ("empty", &[("id", ""), ("job", "b")], "id is required"),
            ("twice", &[("id", "a"), ("id", "b"), ("job", "c")], "id must be given once"),
            ("control", &[("id", "a"), ("job", "b"), ("secret", "a\0b")], "secret must not contain control characters"),
            ("long", &[("id", long.as_str()), ("job", "b")], "the parameters of the path and query are too long"),
        ] {
            let error = request(&call(), Some(&headers(given)), Bytes::new()).unwrap_err();
            assert_eq!((error.reason, error.message.as_str()), (Reason::InvalidRequest, expected), "{case}");
        }
        assert!(request(&call(), None, Bytes::new()).is_err());
    }

    #[tokio::test]
    async fn headers_and_body_are_those_of_rest() {
        let given = headers(&[
            ("id", "a"),
            ("job", "b"),
            ("Secret", " s3cret\t"),
            ("traceparent", "00-1-2-01"),
            ("Content-Type", "text/plain"),
        ]);
        let mut request = request(&call(), Some(&given), Bytes::from_static(b"{}")).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.header("secret"), Some("s3cret"));
        assert_eq!(request.header("traceparent"), Some("00-1-2-01"));
        assert_eq!(request.content_type(), Some("application/json"));
        assert_eq!(request.take_body().into_string().await.unwrap(), "{}");
    }
}
