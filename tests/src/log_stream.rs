//! A client of `GET /k8s/pod/logs`. It reads bytes as they come, and checks of each stream what holds for all: that it is
//! never silent for long, and never says anything but events and blank lines.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use crate::order::Order;

/// Existing clients give up a stream that is silent for 3 s; the contract says 2 s, and a busy machine may be late.
pub const SILENT_AT_MOST: Duration = Duration::from_millis(2500);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// `message`, `gap` or `end`.
    pub name: String,
    /// What it says, as the standard's parser makes it out of its `data` lines.
    pub data: Vec<u8>,
}

impl Event {
    /// The data as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// The data as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.data).with_context(|| format!("no JSON: {}", self.text()))
    }

    /// Why a stream ends, by its event `end`.
    fn reason(&self) -> Result<String> {
        Ok(self.json()?.pointer("/reason").and_then(Value::as_str).unwrap_or_default().to_owned())
    }
}

/// An open stream.
#[derive(Debug)]
pub struct LogStream {
    response: reqwest::Response,
    /// Everything that came, as it came.
    pub raw: Vec<u8>,
    parsed: usize,
    last: Instant,
    /// The longest time without a byte, while somebody read.
    pub silence: Duration,
    /// The id of the last event.
    pub last_id: Option<String>,
}

impl LogStream {
    /// Opens a stream, as clients of today do: with ids.
    pub async fn open(order: &Order, query: &str) -> Result<Self> {
        Self::of(order, query, &[("accept", "text/event-stream")]).await
    }

    /// Opens it again after the last event of another.
    pub async fn resume(&self, order: &Order, query: &str) -> Result<Self> {
        let id = self.last_id.as_deref().context("nothing was read yet")?;
        Self::of(order, query, &[("accept", "text/event-stream"), ("last-event-id", id)]).await
    }

    /// Opens a stream with these headers.
    pub async fn of(order: &Order, query: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let mut request = order.request(Method::GET, &format!("/k8s/pod/logs{query}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send_stream().await?;
        let status = response.status();
        if status != 200 {
            bail!("{status}: {}", response.text().await?);
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        ensure!(kind == Some("text/event-stream; charset=utf-8"), "content-type is {kind:?}");
        let (raw, silence) = (Vec::new(), Duration::ZERO);
        Ok(Self { response, raw, parsed: 0, last: Instant::now(), silence, last_id: None })
    }

    /// Waits for more bytes; false = the stream has ended.
    pub async fn more(&mut self) -> Result<bool> {
        let chunk = tokio::time::timeout(SILENT_AT_MOST * 4, self.response.chunk()).await;
        let chunk = chunk.context("the stream is silent")?.context("the stream broke off")?;
        let silent = std::mem::replace(&mut self.last, Instant::now()).elapsed();
        self.silence = self.silence.max(silent);
        self.raw.extend_from_slice(chunk.as_deref().unwrap_or_default());
        Ok(chunk.is_some())
    }

    /// The next event; none = the stream has ended. What was paused before does not count as silence.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        self.last = Instant::now();
        loop {
            if let Some(event) = self.parse()? {
                return Ok(Some(event));
            }
            if !self.more().await? {
                ensure!(self.raw.len() == self.parsed, "the stream ends within an event");
                return Ok(None);
            }
        }
    }

    /// The next event, which must be a line.
    pub async fn line(&mut self) -> Result<String> {
        let event = self.next().await?.context("the stream has ended")?;
        ensure!(event.name == "message", "no line: {} {}", event.name, event.text());
        Ok(event.text())
    }

    /// The reason of the event `end`, which must be the next and the last.
    pub async fn end(&mut self) -> Result<String> {
        let event = self.next().await?.context("the stream has ended without a word")?;
        ensure!(event.name == "end", "not the end: {} {}", event.name, event.text());
        ensure!(self.next().await?.is_none(), "nothing comes after the end");
        event.reason()
    }

    /// Takes the next event out of what has come; blank lines before it are dropped.
    fn parse(&mut self) -> Result<Option<Event>> {
        while self.raw.get(self.parsed) == Some(&b'\n') {
            self.parsed += 1;
        }
        let rest = self.raw.get(self.parsed..).unwrap_or_default();
        let Some(length) = rest.windows(2).position(|two| two == b"\n\n") else { return Ok(None) };
        let mut event = Event { id: None, name: String::new(), data: Vec::new() };
        let mut lines = 0;
        for line in rest.get(..length).unwrap_or_default().split(|byte| *byte == b'\n') {
            let colon = line.iter().position(|byte| *byte == b':').context("a line without a colon")?;
            let (field, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
            let value = value.strip_prefix(b" ").filter(|_| field == b"data").unwrap_or(value);
            match field {
                b"id" => event.id = Some(String::from_utf8(value.to_vec())?),
                b"event" => event.name = String::from_utf8(value.to_vec())?,
                b"data" => {
                    if lines > 0 {
                        event.data.push(b'\n');
                    }
                    lines += 1;
                    event.data.extend_from_slice(value);
                }
                other => bail!("a field of its own: {}", String::from_utf8_lossy(other)),
            }
        }
        ensure!(lines > 0 && ["message", "gap", "end"].contains(&event.name.as_str()), "no event: {event:?}");
        self.parsed += length + 2;
        self.last_id = event.id.clone().or(self.last_id.take());
        Ok(Some(event))
    }
}

/// Reads lines `<prefix><number>` and makes sure that none is lost or comes twice.
#[derive(Debug)]
pub struct Counted {
    prefix: &'static str,
    /// The number that comes next.
    pub next: u64,
}

impl Counted {
    /// Lines that begin so, from this number on.
    pub fn from(prefix: &'static str, next: u64) -> Self {
        Self { prefix, next }
    }

    /// Reads the next line.
    pub async fn read(&mut self, stream: &mut LogStream) -> Result<()> {
        let line = stream.line().await?;
        self.check(&line)
    }

    /// Checks the next line.
    pub fn check(&mut self, line: &str) -> Result<()> {
        ensure!(line == format!("{}{}", self.prefix, self.next), "line {} instead of number {}", line, self.next);
        self.next += 1;
        Ok(())
    }

    /// Reads lines up to the event `end`, and gives its reason.
    pub async fn read_to_the_end(&mut self, stream: &mut LogStream) -> Result<String> {
        loop {
            let event = stream.next().await?.context("the stream has ended without a word")?;
            match event.name.as_str() {
                "message" => self.check(&event.text())?,
                "end" => return event.reason(),
                other => bail!("{other}: {}", event.text()),
            }
        }
    }

    /// Reads so many lines.
    pub async fn read_many(&mut self, stream: &mut LogStream, count: u64) -> Result<()> {
        for _ in 0..count {
            self.read(stream).await?;
        }
        Ok(())
    }
}
