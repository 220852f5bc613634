//! `vkube-api healthcheck`: asks the api that runs beside it whether it is ready, for containers without a shell.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::rest::ServerSettings;

/// How long the answer may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Whether the api with these settings is ready.
///
/// # Errors
/// With its own words when it is not.
pub async fn ready(settings: &ServerSettings) -> anyhow::Result<()> {
    let (listen, is_encrypted) = (settings.listen, settings.tls.is_some());
    let ip = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let scheme = if is_encrypted { "https" } else { "http" };
    let url = format!("{scheme}://{}/readyz", SocketAddr::new(ip, listen.port()));
    // Nobody's name is in the certificate that stands for this address, and nothing secret is asked or told.
    let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().tls_danger_accept_invalid_certs(is_encrypted);
    let client = client.build().context("HTTP client")?;
    let answer = client.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    ensure!(status.is_success(), "{body}");
    Ok(())
}
