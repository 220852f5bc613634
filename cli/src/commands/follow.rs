//! `vkube logs --follow`: the log's stream (`wire.md` §5.1). A broken connection, or an api that shuts down, is followed by
//! another one that goes on after the last line that was printed; every line is printed once.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Context;
use crate::client::Call;
use crate::error::Error;
use crate::retry::backoff;
use crate::sse::{Event, Reader};

/// The API says something, if only a blank line, every 2 s.
const SILENCE: Duration = Duration::from_secs(15);
/// How many connections in a row may bring nothing.
const MOST_FAILURES: u32 = 10;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Why a stream is read no further.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// There will be no more lines.
    Final,
    /// There may be: ask again.
    Broken(String),
}

/// How far the log was printed.
#[derive(Debug, Default)]
struct Position {
    last_id: Option<String>,
    /// Connections in a row that broke soon and brought no line.
    failures: u32,
}

/// Prints lines until the stream ends for good.
pub(crate) async fn run(call: Call, context: &mut Context<'_>) -> Result<(), Error> {
    let call = call.header(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let mut position = Position::default();
    // What is wrong with the first call is told at once.
    let mut opened: Result<Response, Error> = Ok(context.client.open(&call).await?);
    loop {
        let begun = Instant::now();
        let why = match opened {
            Ok(response) => match print(response, &call, &mut position, context).await? {
                End::Final => return Ok(()),
                End::Broken(why) => {
                    // A silent log is no failure.
                    if begun.elapsed() > SILENCE {
                        position.failures = 0;
                    }
                    why
                }
            },
            Err(error) if error.is_outlasted() => {
                if position.failures >= MOST_FAILURES {
                    return Err(error);
                }
                error.to_string()
            }
            Err(error) => return Err(error),
        };
        if position.failures >= MOST_FAILURES {
            return Err(call.strange("its stream breaks again and again"));
        }
        context.note(&format!("{why}; connecting again"));
        sleep(backoff(position.failures)).await;
        position.failures += 1;
        opened = context.client.open(&position.resume(&call)?).await;
    }
}

/// Prints what one connection brings.
async fn print(
    mut response: Response,
    call: &Call,
    position: &mut Position,
    context: &mut Context<'_>,
) -> Result<End, Error> {
    let mut reader = Reader::default();
    loop {
        let chunk = match timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Ok(End::Broken("the stream ended without a word".to_owned())),
            Ok(Err(error)) => return Ok(End::Broken(call.unreachable(error).to_string())),
            Err(_) => return Ok(End::Broken(format!("nothing was heard for {} s", SILENCE.as_secs()))),
        };
        for event in reader.take(&chunk).map_err(|_| call.strange("an event is too long"))? {
            if let Some(end) = position.take(event, context)? {
                return Ok(end);
            }
        }
        context.out.flush().map_err(Error::Output)?;
    }
}

impl Position {
    /// Prints one event, and remembers it once that is done.
    fn take(&mut self, event: Event, context: &mut Context<'_>) -> Result<Option<End>, Error> {
        let Event { id, kind, data } = event;
        let end = match kind.as_str() {
            "message" => {
                line(id.as_deref(), data, context).map_err(Error::Output)?;
                None
            }
            "gap" => {
                context.note(&format!("lines are missing: {}", member(&data, "message")));
                None
            }
            "end" => {
                let (reason, message) = (member(&data, "reason"), member(&data, "message"));
                let told = if message.is_empty() { reason.clone() } else { message };
                match reason.as_str() {
                    "ServerShutdown" | "RegionUnavailable" => Some(End::Broken(told)),
                    "SecretRevoked" => return Err(Error::Revoked(told)),
                    _ => {
                        context.note(&told);
                        Some(End::Final)
                    }
                }
            }
            // What is not known yet says nothing about lines.
            _ => None,
        };
        // An end brings nothing to go on after: what came before it stays the place.
        if end.is_none() {
            self.failures = 0;
            self.last_id = id.or(self.last_id.take());
        }
        Ok(end)
    }

    /// The call that goes on after the last event.
    fn resume(&self, call: &Call) -> Result<Call, Error> {
        let Some(id) = &self.last_id else { return Ok(call.clone()) };
        let value = HeaderValue::from_str(id).map_err(|_| call.strange("an event's id cannot be sent back"))?;
        Ok(call.clone().header(LAST_EVENT_ID, value))
    }
}

/// A line of the log as it is, or for programs as JSON with its id. A line holds no line feed: one that is in the data
/// stands for a carriage return, which no event can hold.
fn line(id: Option<&str>, mut data: Vec<u8>, context: &mut Context<'_>) -> std::io::Result<()> {
    data.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'\r');
    if context.json {
        return writeln!(context.out, "{}", json!({ "id": id, "data": String::from_utf8_lossy(&data) }));
    }
    context.out.write_all(&data)?;
    context.out.write_all(b"\n")
}

/// A text in the JSON of an event's data.
fn member(data: &[u8], name: &str) -> String {
    let data: Value = serde_json::from_slice(data).unwrap_or_default();
    data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
