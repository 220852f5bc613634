//! One call of the API: what is asked, by whom, and the answer, whose form is checked here (`wire.md` §2).

use std::fmt::Display;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;
use tokio::time::timeout;

use crate::args::Connection;
use crate::credentials::{Caller, Credentials};
use crate::error::{Error, Refusal};

/// The longest answer that is read, in bytes: a log of 1 MiB may be six times as long as JSON.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// The longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Speaks to the API at one URL.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
    patience: Duration,
}

/// A call that may be sent more than once.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    wait: Duration,
}

/// A success.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The body as it came.
    pub(crate) text: String,
    /// The body, read.
    pub(crate) value: Value,
}

impl Client {
    /// A client of the API that the command line names.
    pub(crate) fn new(given: &Connection) -> Result<Self, Error> {
        let base = base(&given.url)?;
        let patience = Duration::from_secs(given.timeout);
        // A redirect would carry the secret to wherever it leads.
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("vkube/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN.min(patience));
        if is_loopback(&base) {
            builder = builder.no_proxy();
            // A machine without certificate authorities may speak to itself all the same.
            if base.scheme() == "http" {
                builder = builder.tls_certs_only([]);
            }
        }
        let http = builder.build().map_err(Error::Setup)?;
        Ok(Self { http, base, credentials: Credentials::read(given)?, patience })
    }

    /// What a person should know before secrets are sent: those that open the API, or a registry's password.
    pub(crate) fn warning(&self, has_password: bool) -> Option<&'static str> {
        let open = self.base.scheme() == "http" && !is_loopback(&self.base);
        let told = "the URL is http:// to another machine: whoever listens on the way can read the secret";
        (open && (has_password || self.credentials.any())).then_some(told)
    }

    /// Begins a call. The segments are what follows `/api/v1` in its path.
    pub(crate) fn call(&self, method: Method, caller: Caller, path: &[&str]) -> Result<Call, Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = self.credentials.header(caller)? {
            headers.insert(name, value);
        }
        Ok(Call { method, url, headers, body: None, wait: Duration::ZERO })
    }

    /// Begins a GET.
    pub(crate) fn get(&self, caller: Caller, path: &[&str]) -> Result<Call, Error> {
        self.call(Method::GET, caller, path)
    }

    /// Begins a POST of JSON.
    pub(crate) fn post(&self, caller: Caller, path: &[&str], body: &Value) -> Result<Call, Error> {
        Ok(self.call(Method::POST, caller, path)?.body(body.to_string().into_bytes()))
    }

    /// Begins a DELETE that has nothing to say.
    pub(crate) fn delete(&self, caller: Caller, path: &[&str]) -> Result<Call, Error> {
        self.call(Method::DELETE, caller, path)
    }

    /// Sends a call once and reads its answer.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let within = call.wait + self.patience;
        let answer = async {
            let mut response = self.begin(call).await?;
            let status = response.status();
            let body = read(&mut response, call).await?;
            let text = String::from_utf8(body).map_err(|_| call.strange("its body is no UTF-8"))?;
            let value: Value = serde_json::from_str(&text).map_err(|_| call.strange("its body is no JSON"))?;
            if value.get("error").is_some() {
                return Err(Error::Refused(Box::new(Refusal::read(&call.whom(), status, None, text.as_bytes()))));
            }
            Ok(Answer { status, text, value })
        };
        timeout(within, answer).await.unwrap_or_else(|_| Err(Error::TimedOut { url: call.whom(), within }))
    }

    /// Sends a call whose answer is a stream; only its beginning is waited for.
    pub(crate) async fn open(&self, call: &Call) -> Result<Response, Error> {
        let within = self.patience;
        let begun = timeout(within, self.begin(call)).await;
        begun.unwrap_or_else(|_| Err(Error::TimedOut { url: call.whom(), within }))
    }

    /// The answer up to its body, if it is a success.
    async fn begin(&self, call: &Call) -> Result<Response, Error> {
        let mut request = self.http.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let mut response = request.send().await.map_err(|source| call.unreachable(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = read(&mut response, call).await?;
        let refusal = Refusal::read(&call.whom(), status, retry_after.map(Duration::from_secs), &body);
        Err(Error::Refused(Box::new(refusal)))
    }
}

impl Call {
    /// With a query parameter, if there is a value for it.
    #[must_use]
    pub(crate) fn query(mut self, name: &str, value: Option<impl Display>) -> Self {
        if let Some(value) = value {
            self.url.query_pairs_mut().append_pair(name, &value.to_string());
        }
        self
    }

    /// With a header instead of any other of its name.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a body of JSON.
    #[must_use]
    pub(crate) fn body(self, body: Vec<u8>) -> Self {
        Self { body: Some(body), ..self }
    }

    /// With a time that the API may take for its region.
    #[must_use]
    pub(crate) fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Who is asked, for people: the URL without its query.
    fn whom(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }

    /// That the connection failed.
    pub(crate) fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { url: self.whom(), source: source.without_url() }
    }

    /// That what came is not in the API's form.
    pub(crate) fn strange(&self, problem: &'static str) -> Error {
        Error::Strange { url: self.whom(), problem }
    }
}

/// The URL below which the API is. A name or password in it would be sent with every call, and shown in messages.
fn base(text: &str) -> Result<Url, Error> {
    let wrong = |problem: &str| Error::Usage(format!("--url (VKUBE_URL) {problem}"));
    let url = Url::parse(text).map_err(|_| wrong("must be a URL such as https://vkube.example.com"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must hold no user name and no password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must hold no query and no fragment"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// The whole body, bounded.
async fn read(response: &mut Response, call: &Call) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| call.unreachable(source))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(call.strange("its body is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_without_secrets_are_taken() {
        for (url, accepted) in [
            ("http://127.0.0.1:8080", true),
            ("https://vkube.example.com/behind/", true),
            ("ftp://vkube.example.com", false),
            ("vkube.example.com", false),
            ("https://me:hunter2@vkube.example.com", false),
            ("https://vkube.example.com?secret=hunter2", false),
        ] {
            let read = base(url);
            assert_eq!(read.is_ok(), accepted, "{url}");
            assert!(!format!("{read:?}").contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn loopback_is_told_from_other_machines() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80", true),
            ("http://localhost:8080", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
