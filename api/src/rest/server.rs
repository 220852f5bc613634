//! The listener: HTTP/1.1 and HTTP/2, in plain text for a proxy in front or over TLS, small answers sent at once, nothing
//! kept for who does not read or does not ask, and a graceful end.

mod activity;
mod connection;
mod tls;

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poem::endpoint::{DynEndpoint, ToDynEndpoint};
use poem::http::uri::Scheme;
use poem::{Endpoint, Response};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::tls::{TlsError, TlsFiles};

use self::connection::Peer;
use self::tls::Tls;
use super::client::{Proxies, one_client};
use super::limits::{Share, Shares};

/// How long a client may take nothing of what it is sent.
const UNREAD: Duration = Duration::from_mins(1);

/// How long a client may take to agree on encryption.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long nothing is accepted after the machine had no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// How often at most it is told that connections are turned away.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The address and port.
    pub listen: SocketAddr,
    /// The certificate; none = plain text.
    pub tls: Option<TlsFiles>,
    /// The most connections; further ones are closed at once.
    pub max_connections: usize,
    /// The most connections of one address that is no trusted proxy's; 0 = as many as it likes.
    pub max_connections_per_address: usize,
    /// How long what is in work may take to end after the shutdown.
    pub grace: Duration,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is another's, or none of this machine's.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The certificate or its key is of no use.
    #[error("TLS")]
    Tls(#[from] TlsError),
}

/// Routes of any kind.
type Routes = Arc<dyn DynEndpoint<Output = Response>>;

/// Serves until shutdown; then what is in work has the grace period to end.
///
/// # Errors
/// When the address cannot be listened on, or the certificate is of no use.
pub async fn serve(
    settings: ServerSettings,
    proxies: Proxies,
    routes: impl Endpoint<Output = Response> + 'static,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let tls = settings.tls.map(Tls::load).transpose()?.map(Arc::new);
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.map_err(|error| ServeError::Listen(settings.listen, error))?;
    tracing::info!(address = %settings.listen, tls = tls.is_some(), "listening");
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    if let Some(tls) = tls.clone() {
        connections.spawn(shutdown.clone().run_until_cancelled_owned(async move { tls.reload().await }));
    }
    let mut places = Places {
        all: Shares::new(settings.max_connections),
        by_address: Shares::new(settings.max_connections_per_address),
        hasher: RandomState::new(),
        proxies,
        turned_away: 0,
        told: None,
    };
    let routes: Routes = Arc::new(ToDynEndpoint(routes));
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                if let Some(place) = places.take(peer.ip()) {
                    let served = serve_one(stream, peer, tls.clone(), routes.clone(), shutdown.clone());
                    let cut = cut.clone();
                    connections.spawn(async move {
                        cut.run_until_cancelled(served).await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if time::timeout(settings.grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "some connections did not end in time");
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Serves one connection until it ends.
async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
    routes: Routes,
    shutdown: CancellationToken,
) {
    // A socket that is gone already is noticed by whoever reads it. Without the first, small chunks on a kept connection
    // wait for the peer's acknowledgement; without the second, a stream that nobody reads stays for ever.
    let _ = stream.set_nodelay(true);
    let _ = set_tcp_user_timeout(&stream, u32::try_from(UNREAD.as_millis()).unwrap_or(u32::MAX));
    let Ok(local) = stream.local_addr() else { return };
    let peer = |scheme| Peer { address: peer, local, scheme };
    let Some(tls) = tls else {
        return connection::serve(stream, peer(Scheme::HTTP), routes, shutdown).await;
    };
    match time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection::serve(stream, peer(Scheme::HTTPS), routes, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "no encryption could be agreed on"),
        Err(_) => tracing::debug!("no encryption was agreed on in time"),
    }
}

/// Who may connect.
struct Places {
    all: Shares,
    by_address: Shares,
    hasher: RandomState,
    proxies: Proxies,
    turned_away: u64,
    told: Option<Instant>,
}

impl Places {
    /// A place for a connection from this address, until it is dropped.
    fn take(&mut self, address: IpAddr) -> Option<(Share, Option<Share>)> {
        let place = self.all.take(0).and_then(|place| {
            if self.proxies.trusts(address) {
                return Some((place, None));
            }
            let own = self.by_address.take(self.hasher.hash_one(one_client(address)))?;
            Some((place, Some(own)))
        });
        if place.is_none() {
            self.turned_away += 1;
            if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                tracing::warn!(client.address = %address, in_all = self.turned_away, "too many connections; some are closed");
                self.told = Some(Instant::now());
            }
        }
        place
    }
}
