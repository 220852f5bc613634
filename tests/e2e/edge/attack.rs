//! Bytes that no client of good will sends.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use common::failure::Reason;
use e2e::test::test;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The time for a head, and a little.
const HEAD: Duration = Duration::from_secs(30);
const A_LITTLE: Duration = Duration::from_secs(15);
/// How long a client may take nothing of an answer.
const UNREAD: Duration = Duration::from_mins(1);

/// Begins HTTP/2 without TLS, and says that it has no wishes.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A connection from an address of this machine's.
pub(super) async fn connect(address: &str, from: IpAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    Ok(timeout(A_LITTLE, socket.connect(address.parse()?)).await??)
}

/// Whether a request on this connection is answered; not if it is closed.
pub(super) async fn is_answered(connection: &mut TcpStream) -> Result<bool> {
    if connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.is_err() {
        return Ok(false);
    }
    let mut start = [0; 15];
    match timeout(A_LITTLE, connection.read_exact(&mut start)).await.context("neither answered nor closed")? {
        Ok(_) => Ok(start.starts_with(b"HTTP/1.1 200 OK")),
        Err(_) => Ok(false),
    }
}

/// Everything that comes until the end of the connection.
async fn rest(connection: &mut TcpStream, within: Duration) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A connection that is reset has ended, too.
    let _ = timeout(within, connection.read_to_end(&mut bytes)).await.context("the connection stays open")?;
    Ok(bytes)
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() -> Result<()> {
    test(async |t| {
        let address = t.shared().await?.apis[0].url.trim_start_matches("http://").to_owned();
        let cases = [
            ("nothing", &[][..]),
            ("a part of a line", b"GET /healthz HT"),
            ("a line", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"),
            ("after a request", b"GET /hea"),
            ("a part of the preface of HTTP/2", &HTTP2[..10]),
            ("HTTP/2 and no request", HTTP2),
            // A stream's headers without END_HEADERS: a continuation would have to follow.
            ("a part of HTTP/2's headers", &[HTTP2, b"\0\0\x01\x01\x01\0\0\0\x01\x82"].concat()),
        ];
        let tried = cases.into_iter().map(|(case, bytes)| {
            let address = address.clone();
            async move {
                let mut connection = TcpStream::connect(&address).await?;
                if case == "after a request" {
                    ensure!(is_answered(&mut connection).await?, "no answer");
                }
                let begun = Instant::now();
                connection.write_all(bytes).await?;
                // A byte now and then gains nothing.
                let (mut reader, mut writer) = connection.split();
                let trickle = async {
                    if case == "a line" {
                        for _ in 0..20 {
                            tokio::time::sleep(Duration::from_secs(3)).await;
                            if writer.write_all(b"a: b\r\n").await.is_err() {
                                break;
                            }
                        }
                    }
                    std::future::pending::<()>().await;
                };
                let mut came = Vec::new();
                let ended = async {
                    let _ = reader.read_to_end(&mut came).await;
                };
                tokio::select! {
                    ended = timeout(HEAD + A_LITTLE, ended) => ended.with_context(|| format!("{case}: still open"))?,
                    () = trickle => {}
                }
                let took = begun.elapsed();
                ensure!(took + Duration::from_secs(1) >= HEAD, "{case}: ended after {took:?}");
                anyhow::Ok(())
            }
        });
        futures::future::try_join_all(tried).await?;
        Ok(())
    })
}

#[test]
fn heads_that_are_too_large_are_refused() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        let long = "x".repeat(17 << 10);
        for (case, request) in [
            ("a header", client.get("/k8s/regions").header("x-long", &long)),
            ("a secret", client.get("/k8s/order").secret(&long)),
            ("a query", client.get(&format!("/k8s/regions?a={long}"))),
        ] {
            let answer = request.send().await.context(case)?;
            answer.refused(431, Reason::HeadersTooLarge).context(case)?;
        }
        // Beyond what is held of a head there is an end to politeness, and to the connection.
        let address = t.shared().await?.apis[0].url.trim_start_matches("http://").to_owned();
        let huge = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
        let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
        for (case, head) in [("huge", huge), ("many", many)] {
            let mut connection = TcpStream::connect(&address).await?;
            // It may be closed while we still send.
            let _ = connection.write_all(head.as_bytes()).await;
            let came = rest(&mut connection, A_LITTLE).await.context(case)?;
            let came = String::from_utf8_lossy(&came);
            assert!(came.is_empty() || came.starts_with("HTTP/1.1 431 "), "{case}: {came}");
        }
        Ok(())
    })
}

#[test]
fn requests_that_are_taken_back_at_once_end_the_connection() -> Result<()> {
    test(async |t| {
        let address = t.shared().await?.apis[0].url.trim_start_matches("http://").to_owned();
        let mut connection = TcpStream::connect(&address).await?;
        let mut bytes = HTTP2.to_vec();
        for stream in (1_u32..20_000).step_by(2) {
            // GET / of http, complete; and RST_STREAM with CANCEL.
            let id = stream.to_be_bytes();
            bytes.extend([&b"\0\0\x03\x01\x05"[..], &id, b"\x82\x86\x84"].concat());
            bytes.extend([&b"\0\0\x04\x03\0"[..], &id, b"\0\0\0\x08"].concat());
        }
        let _ = connection.write_all(&bytes).await;
        let came = rest(&mut connection, A_LITTLE).await?;
        // GOAWAY with ENHANCE_YOUR_CALM.
        let is_told = came.windows(4).any(|code| code == [0, 0, 0, 0x0b]);
        assert!(is_told || came.is_empty(), "{:?}", came.get(..200));
        t.client().await?.get("/k8s/regions").send().await?.ok()?;
        Ok(())
    })
}

#[test]
fn an_answer_that_is_not_taken_is_not_kept() -> Result<()> {
    test(async |t| {
        let address = t.shared().await?.apis[0].url.trim_start_matches("http://").to_owned();
        let mut connection = TcpStream::connect(&address).await?;
        // SETTINGS_INITIAL_WINDOW_SIZE of 0: the head of an answer may be sent, and nothing of its body. TCP has no part in it.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
        let get = b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";
        let begun = Instant::now();
        connection.write_all(&[&preface[..], get].concat()).await?;
        let (mut reader, mut writer) = connection.split();
        // PING now and then.
        let alive = async {
            let mut every = tokio::time::interval(Duration::from_secs(5));
            loop {
                every.tick().await;
                if writer.write_all(b"\0\0\x08\x06\0\0\0\0\0vkubetes").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut came = Vec::new();
        let ended = async {
            let _ = reader.read_to_end(&mut came).await;
        };
        tokio::select! {
            ended = timeout(UNREAD + A_LITTLE, ended) => ended.context("the connection stays open")?,
            () = alive => {}
        }
        let took = begun.elapsed();
        assert!(took >= UNREAD, "it ended after {took:?}");
        assert!(!came.windows(7).any(|part| part == b"\"error\""), "a body was sent");
        Ok(())
    })
}

#[test]
fn what_is_no_http_gets_no_further() -> Result<()> {
    test(async |t| {
        let address = t.shared().await?.apis[0].url.trim_start_matches("http://").to_owned();
        let smuggled = b"POST /api/v1/k8s/checkports HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
            content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /admin/orders HTTP/1.1\r\nhost: x\r\n\r\n";
        for (case, bytes) in [
            ("noise", &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..]),
            ("HTTP/0.9", b"GET /healthz\r\n\r\n"),
            ("a line end in a header", b"GET /healthz HTTP/1.1\r\nhost: x\r\nsecret: a\rb\r\n\r\n"),
            ("a null in a header", b"GET /healthz HTTP/1.1\r\nhost: x\r\nsecret: a\0b\r\n\r\n"),
            ("two lengths", b"POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
        ] {
            let mut connection = TcpStream::connect(&address).await?;
            connection.write_all(bytes).await?;
            connection.shutdown().await?;
            let came = rest(&mut connection, A_LITTLE).await.context(case)?;
            let came = String::from_utf8_lossy(&came);
            assert!(came.is_empty() || came.starts_with("HTTP/1.1 400 "), "{case}: {came}");
        }
        // A body with two lengths is one request at most, and the connection is not used for another.
        let mut connection = TcpStream::connect(&address).await?;
        connection.write_all(smuggled).await?;
        connection.shutdown().await?;
        let came = rest(&mut connection, A_LITTLE).await?;
        let came = String::from_utf8_lossy(&came);
        assert!(!came.contains("HTTP/1.1 401"), "what was in the body was a request: {came}");
        Ok(())
    })
}

#[test]
fn every_answer_forbids_browsers_to_guess_its_type() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for (path, status) in
            [("/k8s/regions", 200), ("/nowhere", 404), ("/k8s/order", 401), ("//healthz", 200), ("//openapi.json", 200)]
        {
            let answer = client.get(path).send_raw().await?;
            assert_eq!(answer.status().as_u16(), status, "{path}");
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        }
        let answer = client.get("//docs").send_raw().await?;
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let document: Value = client.get("//openapi.json").send_raw().await?.json().await?;
        assert!(document["paths"].is_object());
        Ok(())
    })
}
