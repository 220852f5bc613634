//! Whether the worker lives and is ready, told over HTTP; and the client that asks it in a container's health check.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The longest that one connection is kept.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once.
const MAX_CONNECTIONS: usize = 32;

/// A part of the worker: its name, and why it is not ready, if it is not.
pub type Check = (&'static str, Box<dyn Fn() -> Option<String> + Send + Sync>);

/// All parts of the worker.
pub struct Health(Vec<Check>);

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Health {
    /// The health of these parts.
    pub fn new(checks: Vec<Check>) -> Self {
        Self(checks)
    }

    /// Answers until told to stop.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: &CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        let health = Arc::clone(&self);
                        connections.spawn(timeout(CONNECTION_TIMEOUT, health.connection(stream)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "health connection is not accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let answer = |request: Request<hyper::body::Incoming>| {
            let answer = self.answer(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        };
        let served = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service_fn(answer));
        if let Err(error) = served.await {
            tracing::debug!(%error, "health connection ended");
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let not_ready: Vec<_> = self.0.iter().filter_map(|(name, check)| Some((*name, check()?))).collect();
        let ready = not_ready.is_empty();
        let status = match (method == Method::GET || method == Method::HEAD, path) {
            (false, _) => StatusCode::METHOD_NOT_ALLOWED,
            // A process that answers lives; restarting it would not bring the others back.
            (true, "/healthz") => StatusCode::OK,
            (true, "/readyz") if ready => StatusCode::OK,
            (true, "/readyz") => StatusCode::SERVICE_UNAVAILABLE,
            (true, _) => StatusCode::NOT_FOUND,
        };
        let parts: serde_json::Map<_, _> = self
            .0
            .iter()
            .map(|(name, _)| {
                let problem = not_ready.iter().find(|(part, _)| part == name);
                ((*name).to_owned(), problem.map_or("ready", |(_, why)| why.as_str()).into())
            })
            .collect();
        let body = serde_json::json!({ "ready": ready, "parts": parts, "version": env!("CARGO_PKG_VERSION") });
        let mut answer = Response::new(Full::from(format!("{body}\n")));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        answer
    }
}

/// Why a worker counts as not ready.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It does not answer in time.
    #[error("no answer from {0}")]
    NoAnswer(SocketAddr),
    /// It says so.
    #[error("{0}")]
    NotReady(String),
}

/// Asks the worker that listens here whether it is ready.
///
/// # Errors
/// When it is not, or does not answer within 3 seconds.
pub async fn ask(listen: SocketAddr) -> Result<(), AskError> {
    let local = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(local, listen.port());
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(64 << 10).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(Duration::from_secs(3), asked).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(Ok(answer)) if !answer.is_empty() => {
            Err(AskError::NotReady(answer.rsplit("\r\n").next().unwrap_or_default().trim().to_owned()))
        }
        _ => Err(AskError::NoAnswer(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(problem: Option<&'static str>) -> Health {
        Health::new(vec![("nats", Box::new(|| None)), ("jobs", Box::new(move || problem.map(str::to_owned)))])
    }

    #[test]
    fn readiness_names_what_is_missing() {
        for (case, problem, method, path, status) in [
            ("ready", None, Method::GET, "/readyz", 200),
            ("not ready", Some("no stream"), Method::GET, "/readyz", 503),
            ("lives all the same", Some("no stream"), Method::GET, "/healthz", 200),
            ("another path", None, Method::GET, "/", 404),
            ("another method", None, Method::POST, "/readyz", 405),
        ] {
            assert_eq!(health(problem).answer(&method, path).status(), status, "{case}");
        }
    }

    #[tokio::test]
    async fn the_health_check_hears_what_is_not_ready() {
        let stop = CancellationToken::new();
        for (problem, expected) in [(None, None), (Some("no stream"), Some("no stream"))] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = Arc::new(health(problem)).serve(listener, &stop);
            let heard = tokio::select! {
                heard = ask(address) => heard.err().map(|error| error.to_string()),
                () = serving => unreachable!("it serves until told to stop"),
            };
            assert_eq!(heard.is_some(), expected.is_some());
            assert!(heard.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
    }
}
