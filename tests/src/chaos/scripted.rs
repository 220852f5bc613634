//! An API server that answers as told: it passes requests on to the real one, but for some that it answers itself, with an error,
//! before they were done or after, and some whose answers it cuts in half.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use kube::Client;
use rand::Rng as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What 429 says of when to come again.
const RETRY_AFTER: &str = "1";
/// The longest that a request is waited for whose answer is an error all the same.
const DONE_WITHIN: Duration = Duration::from_secs(10);

/// How requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// By the real server.
    Real,
    /// With this status, and nothing is done.
    Refusal(u16),
    /// With this status, though it was done.
    LostAnswer(u16),
    /// By the real server, up to somewhere in the middle.
    Half,
}

/// Which requests are answered so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// How.
    pub answer: Answer,
    /// How many of a hundred.
    pub percent: u32,
}

/// All of them by the real server.
const REAL: Script = Script { answer: Answer::Real, percent: 0 };

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The server, which ends when it is dropped.
#[derive(Debug)]
pub struct Scripted {
    address: SocketAddr,
    script: watch::Sender<Script>,
    serving: JoinHandle<()>,
}

impl Scripted {
    /// Listens on a port of loopback, without TLS, and asks the real server as this client.
    pub async fn start(client: Client) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the scripted server cannot listen")?;
        let (script, follow) = watch::channel(REAL);
        let address = listener.local_addr()?;
        Ok(Self { address, script, serving: tokio::spawn(serve(listener, Arc::new(client), follow)) })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How requests are answered from now on.
    pub fn set(&self, script: Script) {
        self.script.send_replace(script);
    }

    /// All are answered by the real server from now on.
    pub fn heal(&self) {
        self.set(REAL);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, client: Arc<Client>, script: watch::Receiver<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (client, script) = (Arc::clone(&client), script.clone());
        connections.spawn(async move {
            let answer = service_fn(|request| answer(&client, *script.borrow(), request));
            // A connection that breaks is what this server is for.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// Answers one request. An error breaks the connection.
async fn answer(client: &Client, script: Script, request: Request<Incoming>) -> std::io::Result<Response<Body>> {
    let meant = rand::rng().random_range(0..100) < script.percent;
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
    match script.answer {
        // Nobody is in conflict who only reads.
        Answer::Refusal(409) if !writes => real(client, request).await,
        Answer::Refusal(code) if meant => Ok(status(code)),
        Answer::LostAnswer(code) if meant && writes => {
            let done = async { real(client, request).await?.into_body().collect().await };
            // Whatever came of it.
            let _ = tokio::time::timeout(DONE_WITHIN, done).await;
            Ok(status(code))
        }
        Answer::Half if meant => real(client, request).await.map(half),
        Answer::Real | Answer::Refusal(_) | Answer::LostAnswer(_) | Answer::Half => real(client, request).await,
    }
}

async fn real(client: &Client, request: Request<Incoming>) -> std::io::Result<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answer = client.send(request).await.map_err(std::io::Error::other)?;
    Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()))
}

/// A failure as the API server words it.
fn status(code: u16) -> Response<Body> {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": "as the script says" });
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if code == 429 {
        answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
    }
    answer
}

/// An answer that breaks off in the middle of its first piece.
fn half(answer: Response<Body>) -> Response<Body> {
    answer.map(|body| {
        let first = body.into_data_stream().take(1).map_ok(|mut piece| {
            piece.truncate(piece.len() / 2);
            Frame::data(piece)
        });
        let broken = stream::iter([Err(std::io::Error::other("the answer breaks off"))]);
        StreamBody::new(first.chain(broken)).boxed_unsync()
    })
}
