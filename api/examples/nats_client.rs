//! Calls vkube by NATS with nothing but a NATS client, and writes the answer's body to the standard output. It signs in by the
//! variables of `dev/env`: `NATS_NKEY`, the file of a seed, `NATS_CA` and `NATS_INBOX_PREFIX`.
//!
//! ```sh
//! cargo run -p api --example nats_client -- "$NATS_URL" list_regions
//! cargo run -p api --example nats_client -- "$NATS_URL" get_pod_log secret="$VKUBE_SECRET" tailLines=10
//! cargo run -p api --example nats_client -- "$NATS_URL" check_ports '{"region":"ausrine","ports":[2999]}'
//! ```

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::header::HeaderValue;
use async_nats::{ConnectOptions, HeaderMap, Message};
use futures::StreamExt as _;

/// Longer than the api takes for any answer. Streams say something every few seconds.
const WITHIN: Duration = Duration::from_secs(75);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "nats_client URL OPERATION [HEADER=VALUE...] [BODY]";
    let (url, operation) = (arguments.next().context(usage)?, arguments.next().context(usage)?);
    let (mut headers, mut body) = (HeaderMap::new(), String::new());
    for argument in arguments {
        match argument.split_once('=') {
            // `parse` refuses line ends, on which `insert` of a text would panic.
            Some((name, value)) if !argument.starts_with('{') => {
                headers.append(name.parse::<async_nats::HeaderName>()?, value.parse::<HeaderValue>()?);
            }
            _ => body = argument,
        }
    }

    let client = options()?.connect(url).await?;
    // An inbox of this call's own: its end tells the api that nobody listens any more.
    let inbox = client.new_inbox();
    let mut answer = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply_and_headers(format!("vkube.api.{operation}"), inbox, headers, body.into()).await?;
    let mut output = std::io::stdout().lock();
    loop {
        let message = tokio::time::timeout(WITHIN, answer.next()).await?.context("the connection is gone")?;
        if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            bail!("nobody answers {operation}");
        }
        output.write_all(&message.payload)?;
        output.flush()?;
        if let Some(error) = header(&message, "Nats-Service-Error") {
            bail!("{} {error}", header(&message, "Nats-Service-Error-Code").unwrap_or("500"));
        }
        // An answer in one message has no part number; the last of several is empty and has none either.
        if header(&message, "Vkube-Part").is_none() {
            return Ok(());
        }
    }
}

fn options() -> Result<ConnectOptions> {
    let variable = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
    let mut options = ConnectOptions::new();
    if let Some(file) = variable("NATS_NKEY") {
        options = options.nkey(std::fs::read_to_string(file)?.trim().to_owned());
    }
    if let Some(file) = variable("NATS_CA") {
        options = options.add_root_certificates(file.into()).require_tls(true);
    }
    if let Some(prefix) = variable("NATS_INBOX_PREFIX") {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok(options)
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(HeaderValue::as_str)
}
