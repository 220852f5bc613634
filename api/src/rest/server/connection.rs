//! One connection, of HTTP/1.1 or HTTP/2, by its first bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint as _, http};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::Routes;
use super::activity::{Activity, InWork, Watched};

/// How many requests one connection of HTTP/2 may have in work.
const MAX_STREAMS: u32 = 64;
/// How many streams that a client took back may wait to be forgotten (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;
/// The most bytes of headers that HTTP/2 puts together; HTTP/1.1 holds as much of what has come. The edge tells who sends
/// less than this, but too much; who sends more is cut off.
const MAX_HEAD_BYTES: u32 = 64 << 10;
/// How long a connection without a request in work may take to close.
const LAST: Duration = Duration::from_secs(1);

/// Whose connection it is.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) scheme: Scheme,
}

/// Serves a connection until it ends, has been silent for too long, or has answered what was in work at the shutdown.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    routes: Routes,
    shutdown: CancellationToken,
) {
    let activity = Activity::new();
    let service = service_fn(|request: http::Request<Incoming>| {
        let in_work = activity.request();
        let (local, remote) = (LocalAddr(Addr::SocketAddr(peer.local)), RemoteAddr(Addr::SocketAddr(peer.address)));
        let (routes, request) = (routes.clone(), (request, local, remote, peer.scheme.clone()).into());
        async move {
            let answer: http::Response<_> = routes.get_response(request).await.into();
            // The request is in work until its answer is gone.
            Ok::<_, Infallible>(answer.map(|body| Held { body, in_work }))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let max_head = usize::try_from(MAX_HEAD_BYTES).unwrap_or(usize::MAX);
    // Times are kept by `activity`: hyper's own would end a kept connection that is silent as if it sent a head too slowly.
    builder.http1().max_buf_size(max_head);
    builder
        .http2()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS);
    let stream = TokioIo::new(Watched { stream, activity: activity.clone() });
    let mut connection = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        ended = &mut connection => return told(ended),
        () = activity.overdue() => {
            tracing::debug!(client.address = %peer.address, "a connection was silent, or did not read, for too long");
            if activity.is_working() {
                return;
            }
        }
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let quiet = async {
        activity.quiet().await;
        time::sleep(LAST).await;
    };
    tokio::select! {
        ended = &mut connection => told(ended),
        () = quiet => {}
    }
}

/// A body whose request is in work until it is gone.
struct Held<B> {
    body: B,
    in_work: InWork,
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        // Nothing is asked for before what was there has gone.
        self.in_work.taken();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_some() {
            self.in_work.given();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Clients that break off, or speak another protocol, are no fault of ours.
fn told(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error = %common::telemetry::Chain(&*error), "a connection broke");
    }
}
