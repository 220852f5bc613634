//! The tests' HTTP client. Whatever it sends, it checks the answer against `wire.md` §2 before a test sees it.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use common::failure::Reason;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::until::until;

/// Longer than any answer may take: the api waits 60 s at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(75);

/// Longer than any test reads a stream.
const STREAM_WITHIN: Duration = Duration::from_mins(10);

/// How long a patient client goes on.
const PATIENCE: Duration = Duration::from_mins(1);

/// An HTTP client without any of our rules.
pub fn plain() -> Result<reqwest::Client> {
    Ok(builder().build()?)
}

/// The same, to be set up further.
pub fn builder() -> reqwest::ClientBuilder {
    static TLS: LazyLock<()> = LazyLock::new(|| {
        // Fails only when somebody else was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    LazyLock::force(&TLS);
    reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN)
}

/// Speaks to one api instance.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// A client of the api at this URL (`http://host:port`).
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self { http: plain()?, url: url.to_owned() })
    }

    /// The same, from this address of the machine's.
    pub fn from_address(url: &str, address: IpAddr) -> Result<Self> {
        Ok(Self { http: builder().local_address(address).build()?, url: url.to_owned() })
    }

    /// Begins a request. The path is relative to `/api/v1` unless it begins with `//`: then it is the whole path.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let url = match path.strip_prefix('/') {
            Some(whole) if whole.starts_with('/') => format!("{}{whole}", self.url),
            _ => format!("{}/api/v1{path}", self.url),
        };
        let what = format!("{method} {path}");
        Request { what, builder: self.http.request(method, url) }
    }

    /// Begins a GET.
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    /// Begins a POST.
    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }
}

/// A request that is being written.
#[derive(Debug)]
#[must_use]
pub struct Request {
    what: String,
    builder: reqwest::RequestBuilder,
}

impl Request {
    /// With the secret of an order.
    pub fn secret(self, secret: &str) -> Self {
        self.header("secret", secret)
    }

    /// With an operator's token.
    pub fn operator(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With a header.
    pub fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value), ..self }
    }

    /// With a header that need not be text.
    pub fn header_bytes(self, name: HeaderName, value: &[u8]) -> Result<Self> {
        Ok(Self { builder: self.builder.header(name, HeaderValue::from_bytes(value)?), ..self })
    }

    /// With a body of JSON.
    pub fn json(self, body: &Value) -> Self {
        Self { builder: self.builder.json(body), ..self }
    }

    /// With any body, and no content type but what headers say.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        Self { builder: self.builder.body(body), ..self }
    }

    /// Sends it and reads the answer, which must have the form of `wire.md` §2.
    pub async fn send(self) -> Result<Answer> {
        let what = self.what.clone();
        let begun = Instant::now();
        let response = self.send_raw().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.with_context(|| format!("{what}: no whole answer"))?;
        Answer::checked(&what, status, &headers, &bytes, begun.elapsed())
    }

    /// Sends it again for a while as long as the service is busy, as a patient client does. For what prepares a test.
    pub async fn send_patiently(self) -> Result<Answer> {
        let what = format!("{} is not turned away", self.what);
        until(&what, PATIENCE, async || {
            let builder = self.builder.try_clone().context("a body that cannot be sent twice")?;
            let answer = Self { what: self.what.clone(), builder }.send().await?;
            let busy = answer.body.pointer("/error/reason") == Some(&"OVERLOADED".into());
            Ok((!busy).then_some(answer))
        })
        .await
    }

    /// Sends it and returns whatever comes, for as long as it comes.
    pub async fn send_stream(self) -> Result<reqwest::Response> {
        Self { builder: self.builder.timeout(STREAM_WITHIN), ..self }.send_raw().await
    }

    /// Sends it and returns whatever comes.
    pub async fn send_raw(self) -> Result<reqwest::Response> {
        let what = self.what;
        self.builder.send().await.with_context(|| format!("{what}: no answer"))
    }
}

/// An answer whose form was checked.
#[derive(Debug, Clone)]
pub struct Answer {
    what: String,
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Value,
    /// The time from the request's first byte to the answer's last.
    pub took: Duration,
}

impl Answer {
    /// An answer, however it came, if it has the form of `wire.md` §2. A stream that has ended is one text.
    pub(crate) fn checked(what: &str, status: u16, headers: &HeaderMap, bytes: &[u8], took: Duration) -> Result<Self> {
        let answer = || -> Result<Self> {
            let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
            if status == 200 && kind.starts_with("text/event-stream") {
                let body = String::from_utf8_lossy(bytes).into_owned().into();
                return Ok(Self { what: what.to_owned(), status, headers: headers.clone(), body, took });
            }
            ensure!(kind.starts_with("application/json"), "content-type is {kind:?}");
            let body = serde_json::from_slice(bytes)?;
            let answer = Self { what: what.to_owned(), status, headers: headers.clone(), body, took };
            answer.has_the_form_of_the_contract()?;
            Ok(answer)
        };
        answer().with_context(|| format!("{what} was answered with {status} {}", String::from_utf8_lossy(bytes)))
    }

    /// `wire.md` §2: a failure has a top-level `error` with the status as its code; a success is an object or an array
    /// without `error` and `message`, the log being the one string.
    fn has_the_form_of_the_contract(&self) -> Result<()> {
        ensure!(self.status != 204, "204 is no answer");
        if self.status < 400 {
            ensure!(self.status < 300, "a redirect is no answer");
            let is_log = self.what.starts_with("GET ") && self.what.contains("/k8s/pod/log");
            let form = self.body.is_object() || self.body.is_array() || (is_log && self.body.is_string());
            ensure!(form, "a success is an object or an array");
            ensure!(self.body.get("error").is_none(), "a success has no top-level error");
            ensure!(self.body.get("message").is_none(), "a success has no top-level message");
            return Ok(());
        }
        let members = self.body.as_object().context("a failure is an object")?;
        ensure!(members.len() == 1, "a failure has the one member error");
        let error = members.get("error").and_then(Value::as_object).context("error is an object")?;
        ensure!(error.get("code") == Some(&self.status.into()), "error.code is the status");
        let message = error.get("message").and_then(Value::as_str).context("error.message is a text")?;
        ensure!(!message.trim().is_empty(), "error.message says something");
        let reason = error.get("reason").context("error.reason is there")?;
        serde_json::from_value::<Reason>(reason.clone()).context("error.reason is a known word")?;
        let id = error.get("requestId").and_then(Value::as_str).context("error.requestId is a text")?;
        ensure!(!id.is_empty(), "error.requestId is not empty");
        for (name, value) in error {
            let known = ["code", "message", "reason", "requestId", "jobId", "details"].contains(&name.as_str());
            ensure!(known, "error.{name} is not in the contract");
            ensure!(!value.is_null(), "error.{name} is null");
        }
        let ends_job = error.contains_key("jobId");
        ensure!(
            !ends_job || !self.headers.contains_key("retry-after"),
            "the end of a job is not to be asked for again"
        );
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            let texts = ["field", "problem"].map(|name| detail.get(name).and_then(Value::as_str));
            ensure!(texts.iter().all(Option::is_some), "error.details are pairs of field and problem");
        }
        Ok(())
    }

    /// The body, if the answer is 200.
    pub fn ok(self) -> Result<Value> {
        self.is(200)
    }

    /// The body, if the answer has this status.
    pub fn is(self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "{}: {} instead of {status}: {}", self.what, self.status, self.body);
        Ok(self.body)
    }

    /// The member `error`, if the answer is a failure of this status and reason.
    pub fn refused(self, status: u16, reason: Reason) -> Result<Value> {
        let what = self.what.clone();
        let body = self.is(status)?;
        let error = body.get("error").cloned().unwrap_or_default();
        let found: Option<Reason> = error.get("reason").cloned().and_then(|word| serde_json::from_value(word).ok());
        ensure!(found == Some(reason), "{what}: not refused for {reason:?}: {body}");
        Ok(error)
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
