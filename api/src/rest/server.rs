//! The listener: plain HTTP for a proxy in front, small answers sent at once, a graceful end.

use std::net::SocketAddr;
use std::time::Duration;

use poem::listener::{Acceptor, Listener as _, TcpAcceptor, TcpListener};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Response, Server, http::uri::Scheme};
use tokio_util::sync::CancellationToken;

/// How long a kept-alive connection may be silent.
const IDLE: Duration = Duration::from_mins(2);

/// How many requests one connection of HTTP/2 may have in work: there is no limit unless one is set.
const MAX_STREAMS: u32 = 64;

/// poem never sets `TCP_NODELAY`, without which small chunks on a kept connection wait for the peer's acknowledgement.
struct NoDelay(TcpAcceptor);

impl Acceptor for NoDelay {
    type Io = tokio::net::TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> std::io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let connection = self.0.accept().await?;
        // A socket that is gone already is noticed by whoever reads it.
        let _ = connection.0.set_nodelay(true);
        Ok(connection)
    }
}

/// Serves until shutdown; then what is in work has the grace period to end.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    endpoint: impl Endpoint<Output = Response> + 'static,
    shutdown: CancellationToken,
    grace: Duration,
) -> std::io::Result<()> {
    let acceptor = TcpListener::bind(address).into_acceptor().await?;
    Server::new_with_acceptor(NoDelay(acceptor))
        .name("vkube-api")
        .idle_timeout(IDLE)
        .http2_max_concurrent_streams(MAX_STREAMS)
        .run_with_graceful_shutdown(endpoint, shutdown.cancelled_owned(), Some(grace))
        .await
}
