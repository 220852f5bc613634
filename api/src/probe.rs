//! `vkube-api healthcheck`: asks the api that runs beside it whether it is ready, for containers without a shell.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// How long the answer may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Whether the api at this address is ready.
///
/// # Errors
/// With its own words when it is not.
pub async fn ready(listen: SocketAddr) -> anyhow::Result<()> {
    let ip = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let url = format!("http://{}/readyz", SocketAddr::new(ip, listen.port()));
    let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build().context("HTTP client")?;
    let answer = client.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    ensure!(status.is_success(), "{body}");
    Ok(())
}
