//! An HTTP server that answers as a test tells it to: for what a healthy registry never says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time;

/// A request, as far as tests look at it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Path and query.
    pub(super) target: String,
    pub(super) authorization: Option<String>,
    pub(super) accept: Option<String>,
}

/// What to do with a request.
pub(super) enum Reply {
    /// Status, headers (whole lines), body.
    Whole(u16, Vec<String>, String),
    /// A body that never ends.
    Endless,
    /// Nothing, on a connection that stays open.
    Silence,
    /// Not HTTP.
    Noise,
}

/// The server; it is gone when this is dropped.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Starts a server on a free port of the loopback address. The script gets the server's own address too.
    pub(super) async fn start(script: impl Fn(&Asked, SocketAddr) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, seen) = (Arc::new(script), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                connections.spawn(async move {
                    serve(stream, |request| {
                        seen.lock().unwrap().push(request.clone());
                        script(&request, address)
                    })
                    .await
                });
            }
        });
        Self { address, asked, task }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: impl Fn(Asked) -> Reply) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let target = head.split(' ').nth(1)?.to_owned();
    let asked = Asked { target, authorization: header("authorization"), accept: header("accept") };
    match answer(asked) {
        Reply::Whole(status, headers, body) => {
            let headers: String = headers.into_iter().map(|line| line + "\r\n").collect();
            let length = body.len();
            let whole = format!(
                "HTTP/1.1 {status} Scripted\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
            );
            stream.write_all(whole.as_bytes()).await.ok()?;
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.ok()?;
            while stream.write_all(&[b' '; 4096]).await.is_ok() {}
        }
        Reply::Silence => time::sleep(Duration::from_mins(1)).await,
        Reply::Noise => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.ok()?,
    }
    Some(())
}
