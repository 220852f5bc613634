//! The two doors of the api: one and the same call by HTTP and by NATS.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::Message;
use futures::StreamExt as _;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::http::{Answer, Client};
use crate::nats::{Identity, SERVICE};
use crate::system::System;

/// Longer than any answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(75);

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// HTTP.
    Rest,
    /// NATS request-reply.
    Nats,
}

impl Door {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Rest, Self::Nats];
}

/// A call as neither door knows it: what is to be done, with parameters by their names in the OpenAPI document.
#[derive(Debug, Clone)]
pub struct Call {
    /// The operation's id.
    pub operation: String,
    /// Parameters, secrets and tokens.
    pub given: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
}

impl Call {
    /// A call of an operation that says nothing.
    pub fn of(operation: &str) -> Self {
        Self { operation: operation.to_owned(), given: Vec::new(), body: None }
    }

    /// With a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.given.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an operator's token.
    #[must_use]
    pub fn operator(self, token: &str) -> Self {
        self.with("Authorization", &format!("Bearer {token}"))
    }

    /// With a body.
    #[must_use]
    pub fn body(self, body: impl Into<String>) -> Self {
        Self { body: Some(body.into()), ..self }
    }
}

/// What the document says of an operation.
#[derive(Debug)]
pub struct Operation {
    /// `GET`, `POST`, ...
    pub method: String,
    path: String,
    /// Names of parameters, and where HTTP has them.
    pub parameters: BTreeMap<String, String>,
    /// Whether it takes a body.
    pub has_body: bool,
    /// The name of the security scheme that it wants.
    pub security: Option<String>,
}

impl Operation {
    /// Its path, with this id wherever it names one.
    pub fn path_to(&self, id: &str) -> String {
        self.path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect::<Vec<_>>().join("/")
    }
}

/// Both doors of a system.
#[derive(Debug)]
pub struct Doors {
    rest: Client,
    nats: async_nats::Client,
    /// All operations, by their ids.
    pub operations: BTreeMap<String, Operation>,
}

impl Doors {
    /// The doors of a system, with what its document says.
    pub async fn of(system: &System) -> Result<Self> {
        let rest = system.client()?;
        let document = rest.get("//openapi.json").send().await?.ok()?;
        let mut operations = BTreeMap::new();
        for (path, methods) in document.get("paths").and_then(Value::as_object).context("paths")? {
            for (method, operation) in methods.as_object().context("methods")? {
                let id = text(operation, "operationId").context("an operation without an id")?;
                operations.insert(id.to_owned(), read(method, path, operation));
            }
        }
        // Services have inboxes of their own names.
        let options = async_nats::ConnectOptions::new().name("e2e").custom_inbox_prefix(format!("_INBOX_{SERVICE}"));
        let nats = system.nats.client_of(Identity::Service, options).await?;
        Ok(Self { rest, nats, operations })
    }

    /// Calls by a door; the answer must have the form of `wire.md` §2.
    pub async fn ask(&self, door: Door, call: &Call) -> Result<Answer> {
        let operation = self.operations.get(&call.operation).context("an operation that is not in the document")?;
        match door {
            Door::Rest => self.by_http(operation, call).await,
            Door::Nats => self.by_nats(operation, call).await,
        }
    }

    async fn by_http(&self, operation: &Operation, call: &Call) -> Result<Answer> {
        let place = |name: &str| operation.parameters.get(name).map_or("header", String::as_str);
        let (mut path, mut query) = (operation.path.clone(), Vec::new());
        for (name, value) in &call.given {
            match place(name) {
                "path" => path = path.replace(&format!("{{{name}}}"), &encoded(value)),
                "query" => query.push(format!("{name}={}", encoded(value))),
                _ => {}
            }
        }
        let mut request = self.rest.request(operation.method.parse()?, &format!("{path}?{}", query.join("&")));
        for (name, value) in call.given.iter().filter(|(name, _)| place(name) == "header") {
            request = request.header(name, value);
        }
        if let Some(body) = &call.body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        request.send().await
    }

    async fn by_nats(&self, operation: &Operation, call: &Call) -> Result<Answer> {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in &call.given {
            headers.append(name.as_str(), value.parse::<async_nats::HeaderValue>()?);
        }
        let begun = Instant::now();
        let inbox = self.nats.new_inbox();
        let mut messages = self.nats.subscribe(inbox.clone()).await?;
        let subject = format!("vkube.api.{}", call.operation);
        let payload = call.body.clone().unwrap_or_default().into();
        self.nats.publish_with_reply_and_headers(subject, inbox, headers, payload).await?;
        let (mut first, mut body, mut parts) = (None, Vec::new(), 0);
        loop {
            let message = tokio::time::timeout(ANSWER_WITHIN, messages.next()).await?.context("no whole answer")?;
            ensure!(message.status.is_none(), "nobody answers {}", call.operation);
            body.extend_from_slice(&message.payload);
            let part = header(&message, "Vkube-Part").map(str::to_owned);
            let end = header(&message, "Vkube-End").is_some();
            ensure!(!end || message.payload.is_empty(), "the end mark is empty");
            first.get_or_insert(message);
            match part {
                Some(part) => ensure!(part == parts.to_string(), "part {part} instead of {parts}"),
                None => break,
            }
            parts += 1;
        }
        let message = first.context("no answer")?;
        let status: u16 = header(&message, "Vkube-Status").context("an answer without a status")?.parse()?;
        let code = header(&message, "Nats-Service-Error-Code");
        ensure!(code == (status >= 400).then(|| status.to_string()).as_deref(), "{status} is not {code:?}");
        let what = format!("{} {} by NATS", operation.method, operation.path);
        Answer::checked(&what, status, &as_http(&message)?, &body, begun.elapsed())
    }
}

fn read(method: &str, path: &str, operation: &Value) -> Operation {
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let parameters = parameters.filter_map(|one| Some((text(one, "name")?.to_owned(), text(one, "in")?.to_owned())));
    let scheme = operation.pointer("/security/0").and_then(Value::as_object).and_then(|scheme| scheme.keys().next());
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        parameters: parameters.collect(),
        has_body: operation.get("requestBody").is_some(),
        security: scheme.cloned(),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}

fn as_http(message: &Message) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().flat_map(async_nats::HeaderMap::iter) {
        for value in values {
            let name: &str = name.as_ref();
            headers
                .append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(value.as_str().as_bytes())?);
        }
    }
    Ok(headers)
}

fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
