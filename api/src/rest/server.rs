//! The listener: plain HTTP for a proxy in front, small answers sent at once, none kept for who does not read, a graceful
//! end.

use std::net::SocketAddr;
use std::time::Duration;

use poem::listener::{Acceptor, Listener as _, TcpAcceptor, TcpListener};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Response, Server, http::uri::Scheme};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio_util::sync::CancellationToken;

/// How long a kept-alive connection may be silent.
const IDLE: Duration = Duration::from_mins(2);

/// How long a client may take nothing of what it is sent.
const UNREAD: Duration = Duration::from_mins(1);

/// How many requests one connection of HTTP/2 may have in work: there is no limit unless one is set.
const MAX_STREAMS: u32 = 64;

/// Sets what poem never does: `TCP_NODELAY`, without which small chunks on a kept connection wait for the peer's
/// acknowledgement, and `TCP_USER_TIMEOUT`, without which a stream that nobody reads stays for ever.
struct Tuned(TcpAcceptor);

impl Acceptor for Tuned {
    type Io = tokio::net::TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> std::io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let connection = self.0.accept().await?;
        // A socket that is gone already is noticed by whoever reads it.
        let _ = connection.0.set_nodelay(true);
        let unread = u32::try_from(UNREAD.as_millis()).unwrap_or(u32::MAX);
        let _ = set_tcp_user_timeout(&connection.0, unread);
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
    Server::new_with_acceptor(Tuned(acceptor))
        .name("vkube-api")
        .idle_timeout(IDLE)
        .http2_max_concurrent_streams(MAX_STREAMS)
        .run_with_graceful_shutdown(endpoint, shutdown.cancelled_owned(), Some(grace))
        .await
}
