//! A request by NATS: its headers become path, query and headers of the request that REST would get.

use std::sync::LazyLock;

use api::service::call::{Call, calls};
use api::service::request::request;
use async_nats::HeaderMap;
use bytes::Bytes;

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let document = serde_json::from_str(&api::rest::document()).expect("the OpenAPI document is JSON");
    calls(&document)
});

/// Whatever the headers say, the request is one of the call that was asked for: as many segments in its path, those that are
/// not parameters unchanged, no other parameter in its query, no other header. The first byte says which call, each line after
/// it is a header's value, for each of the call's parameters in turn.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let Some(call) = CALLS.get(usize::from(*first) % CALLS.len()) else { return };
    let Ok(text) = str::from_utf8(rest) else { return };
    let mut headers = HeaderMap::new();
    for (parameter, value) in call.parameters.iter().cycle().zip(text.split('\n').take(2 * call.parameters.len())) {
        if let Ok(value) = value.parse::<async_nats::HeaderValue>() {
            headers.append(parameter.name.as_str(), value);
        }
    }
    let Ok(request) = request(call, Some(&headers), Bytes::new()) else { return };
    assert_eq!(*request.method(), call.method);
    let (asked, made) = (call.path.split('/'), request.uri().path().split('/'));
    assert_eq!(asked.clone().count(), made.clone().count(), "{}", request.uri());
    for (asked, made) in asked.zip(made) {
        assert!(asked == made || (asked.starts_with('{') && !made.is_empty() && made != "." && made != ".."));
    }
    let known = |name: &str| call.parameters.iter().any(|parameter| parameter.name.eq_ignore_ascii_case(name));
    let query = request.uri().query().unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        assert!(
            pair.split_once('=').is_some_and(|(name, value)| known(name) && !value.contains(['=', '+', ' '])),
            "{query}"
        );
    }
    let passed = ["accept", "last-event-id", "traceparent"];
    assert!(request.headers().keys().all(|name| known(name.as_str()) || passed.contains(&name.as_str())));
}
