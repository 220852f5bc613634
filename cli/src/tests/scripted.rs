//! An API that gives one prepared answer a connection, and keeps what it was asked.

use std::sync::{Arc, LazyLock, Mutex};

use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::args::Cli;
use crate::error::Error;

/// A scripted API; its end is the test's.
pub(super) struct Api {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Api {
    /// Starts it with the bytes that each connection gets in its turn.
    pub(super) async fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let answers: Vec<String> = answers.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let asked = asked.clone();
            async move {
                for answer in answers {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let request = read(&mut stream).await;
                    asked.lock().unwrap().push(request);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        });
        Self { url, asked, task }
    }

    /// The requests, in order: each its first line, its headers in lower case, a blank line and its body.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (first, headers) = head.split_once("\r\n").unwrap();
            let headers = headers.to_ascii_lowercase().replace("\r\n", "\n");
            let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return format!("{first}\n{headers}\n\n{body}");
            }
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "half a request");
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// A header of a kept request.
pub(super) fn header(request: &str, name: &str) -> Option<String> {
    let head = request.split("\n\n").next().unwrap_or_default();
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned)
}

/// An answer of JSON.
pub(super) fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// A stream that ends with its connection.
pub(super) fn stream(events: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}")
}

/// What came of a command.
pub(super) struct Ended {
    pub(super) outcome: Result<(), Error>,
    pub(super) out: String,
    pub(super) notes: String,
}

impl Ended {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        self.outcome.as_ref().err().map_or(0, Error::exit_code)
    }
}

/// Reads a command line: this URL and no secret unless it says otherwise, whatever the environment holds.
pub(super) fn command_line(url: &str, line: &str) -> Cli {
    static TLS: LazyLock<()> = LazyLock::new(|| {
        // Fails only when somebody else was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    LazyLock::force(&TLS);
    let given: Vec<&str> = line.split(' ').collect();
    let defaults = [("--url", url), ("--secret", ""), ("--operator-token", "")];
    let defaults = defaults.iter().filter(|(flag, _)| !given.contains(flag));
    let words =
        ["vkube"].into_iter().chain(defaults.flat_map(|(flag, value)| [*flag, *value])).chain(given.iter().copied());
    Cli::try_parse_from(words).unwrap()
}

/// Runs a command line.
pub(super) async fn run(url: &str, line: &str) -> Ended {
    let cli = command_line(url, line);
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let outcome = crate::run(cli, &mut out, &mut notes).await;
    let [out, notes] = [out, notes].map(|bytes| String::from_utf8(bytes).unwrap());
    Ended { outcome, out, notes }
}
