//! A TCP proxy before one server for one process, which can slow down, cut or silently lose what passes it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::process::free_port;

/// How often a trickle lets a piece through.
const TRICKLE_EVERY: Duration = Duration::from_millis(50);
/// How long to wait before the port is asked for again.
const BIND_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It passes.
    Pass,
    /// Each piece passes after so long.
    Delay(Duration),
    /// Connections are reset, and new ones refused.
    Cut,
    /// Connections are made and stay, and what goes this way is lost. They are reset when the mode changes, as TCP never
    /// goes on after a loss.
    HalfOpen(Lost),
    /// Each way of a connection passes so many bytes more, then the connection is reset.
    DropAfter(u64),
    /// So many bytes a second pass each way.
    Trickle(u64),
}

/// Which way bytes are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// What the client sends.
    ToServer,
    /// What the server sends.
    ToClient,
    /// Both.
    BothWays,
}

/// The way that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Lost {
    fn includes(self, way: Way) -> bool {
        match self {
            Self::ToServer => way == Way::ToServer,
            Self::ToClient => way == Way::ToClient,
            Self::BothWays => true,
        }
    }
}

/// A connection is to be reset.
struct Reset;

/// A proxy, which ends with all its connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of loopback and passes everything on to the target.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), target).await
    }

    /// The same at another address of this machine.
    pub async fn start_at(address: IpAddr, target: SocketAddr) -> Result<Self> {
        let address = SocketAddr::from((address, free_port()?));
        let listener = TcpListener::bind(address).await.context("a proxy cannot listen")?;
        let (mode, follow) = watch::channel(Mode::Pass);
        let serving = tokio::spawn(serve(listener, address, target, follow));
        Ok(Self { address, mode, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens from now on, to the connections that there are and to new ones.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(first: TcpListener, address: SocketAddr, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let (mut listener, mut connections) = (Some(first), JoinSet::new());
    loop {
        if *mode.borrow_and_update() == Mode::Cut {
            listener = None;
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(listening) = &listener else {
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                tokio::time::sleep(BIND_AGAIN_AFTER).await;
            }
            continue;
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            Ok((client, _)) = listening.accept() => drop(connections.spawn(connection(client, target, mode.clone()))),
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return reset(&client) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let there = pump(from_client, to_server, Way::ToServer, mode.clone());
        let back = pump(from_server, to_client, Way::ToClient, mode);
        tokio::try_join!(there, back)
    };
    if let Err(Reset) = ended {
        reset(&client);
        reset(&server);
    }
}

/// What is closed after this is closed without a farewell.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Passes on what comes, until it ends.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    mut mode: watch::Receiver<Mode>,
) -> Result<(), Reset> {
    let mut buffer = vec![0; 16 << 10];
    let (mut lost, mut passed) = (false, 0);
    loop {
        let read = tokio::select! {
            biased;
            () = changed(&mut mode) => 0,
            read = from.read(&mut buffer) => {
                let read = read.map_err(|_| Reset)?;
                if read == 0 && lost_now(&mode, way) {
                    // That it ends is lost too.
                    changed(&mut mode).await;
                    return Err(Reset);
                }
                if read == 0 {
                    return to.shutdown().await.map_err(|_| Reset);
                }
                read
            }
        };
        let mut rest = buffer.get(..read).unwrap_or_default();
        if rest.is_empty() {
            passed = 0;
            if lost || mode.has_changed().is_err() || *mode.borrow() == Mode::Cut {
                return Err(Reset);
            }
        }
        while !rest.is_empty() {
            if lost_now(&mode, way) {
                lost = true;
                break;
            }
            let now = *mode.borrow();
            let written = tokio::select! {
                biased;
                () = changed(&mut mode) => 0,
                written = write(&mut to, rest, now, passed) => written?,
            };
            passed = if written == 0 { 0 } else { passed + written as u64 };
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}

/// Waits until the mode changes, or its proxy is gone.
async fn changed(mode: &mut watch::Receiver<Mode>) {
    let _ = mode.changed().await;
}

fn lost_now(mode: &watch::Receiver<Mode>, way: Way) -> bool {
    matches!(*mode.borrow(), Mode::HalfOpen(lost) if lost.includes(way))
}

/// Writes some of the bytes as the mode has it, and says how many.
async fn write(to: &mut WriteHalf<'_>, bytes: &[u8], mode: Mode, passed: u64) -> Result<usize, Reset> {
    let most = match mode {
        Mode::Cut => return Err(Reset),
        Mode::Pass | Mode::HalfOpen(_) => u64::MAX,
        Mode::Delay(time) => {
            tokio::time::sleep(time).await;
            u64::MAX
        }
        Mode::DropAfter(bytes) if passed >= bytes => return Err(Reset),
        Mode::DropAfter(bytes) => bytes - passed,
        Mode::Trickle(bytes_per_second) => {
            tokio::time::sleep(TRICKLE_EVERY).await;
            (bytes_per_second / 20).max(1)
        }
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    to.write(bytes.get(..most).unwrap_or_default()).await.map_err(|_| Reset)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const A_MOMENT: Duration = Duration::from_millis(200);

    /// A server that sends back what it gets, behind a proxy.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Proxy::start(address).await.unwrap()
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    /// Says something, and whether it comes back: None = nothing came.
    async fn says(stream: &mut TcpStream, word: &[u8], within: Duration) -> Option<std::io::Result<()>> {
        let mut back = vec![0; word.len()];
        let talk = async {
            stream.write_all(word).await?;
            stream.read_exact(&mut back).await
        };
        let read = timeout(within, talk).await.ok()?;
        Some(read.map(|_| assert_eq!(back, word)))
    }

    #[tokio::test]
    async fn what_passes_comes_back_and_an_end_is_an_end() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        let long = vec![7; 100_000];
        stream.write_all(&long).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        timeout(SOON, stream.read_to_end(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, long);
    }

    #[tokio::test]
    async fn a_delay_holds_each_piece_and_ends_with_its_mode() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        proxy.set(Mode::Delay(Duration::from_millis(150)));
        let begun = Instant::now();
        says(&mut stream, b"slow", SOON).await.unwrap().unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300), "150 ms each way: {:?}", begun.elapsed());
        proxy.set(Mode::Delay(SOON * 10));
        assert!(says(&mut stream, b"held", A_MOMENT).await.is_none());
        proxy.set(Mode::Pass);
        let mut back = [0; 4];
        timeout(SOON, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"held");
    }

    #[tokio::test]
    async fn a_cut_resets_what_there_is_refuses_what_comes_and_heals() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        says(&mut stream, b"before", SOON).await.unwrap().unwrap();
        proxy.set(Mode::Cut);
        let ended = timeout(SOON, stream.read(&mut [0; 8])).await.unwrap();
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        timeout(SOON, async {
            while TcpStream::connect(proxy.address()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        proxy.set(Mode::Pass);
        let again = timeout(SOON, async {
            loop {
                match TcpStream::connect(proxy.address()).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        says(&mut again.await.unwrap(), b"after", SOON).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn half_open_connections_stay_say_nothing_and_are_reset_when_healed() {
        for lost in [Lost::ToServer, Lost::ToClient, Lost::BothWays] {
            let proxy = echo().await;
            let (mut old, mut idle) = (connect(&proxy).await, connect(&proxy).await);
            says(&mut old, b"before", SOON).await.unwrap().unwrap();
            says(&mut idle, b"before", SOON).await.unwrap().unwrap();
            proxy.set(Mode::HalfOpen(lost));
            let mut new = connect(&proxy).await;
            assert!(says(&mut old, b"lost", A_MOMENT).await.is_none(), "{lost:?}");
            assert!(says(&mut new, b"lost", A_MOMENT).await.is_none(), "{lost:?}");
            proxy.set(Mode::Pass);
            for stream in [&mut old, &mut new] {
                let ended = timeout(SOON, stream.read(&mut [0; 8])).await.unwrap();
                assert!(ended.is_err(), "{lost:?}: bytes were lost in the middle");
            }
            says(&mut idle, b"nothing of it was lost", SOON).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn one_way_lets_the_other_way_pass() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        proxy.set(Mode::HalfOpen(Lost::ToServer));
        let (mut client, (mut server, _)) = (connect(&proxy).await, listener.accept().await.unwrap());
        server.write_all(b"heard").await.unwrap();
        client.write_all(b"unheard").await.unwrap();
        let mut heard = [0; 5];
        timeout(SOON, client.read_exact(&mut heard)).await.unwrap().unwrap();
        assert!(timeout(A_MOMENT, server.read(&mut [0; 8])).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_drops_after_so_many_bytes() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        says(&mut stream, &[1; 1000], SOON).await.unwrap().unwrap();
        proxy.set(Mode::DropAfter(10));
        says(&mut stream, &[2; 10], SOON).await.unwrap().unwrap();
        assert!(says(&mut stream, &[3; 1], SOON).await.unwrap().is_err());
        let mut stream = connect(&proxy).await;
        assert!(says(&mut stream, &[4; 11], SOON).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_trickle_passes_so_many_bytes_a_second() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        proxy.set(Mode::Trickle(1000));
        let begun = Instant::now();
        says(&mut stream, &[5; 300], SOON).await.unwrap().unwrap();
        let took = begun.elapsed();
        assert!((250..3000).contains(&took.as_millis()), "300 bytes of 1000 a second: {took:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_a_reset() {
        let port = free_port().unwrap();
        let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
        let mut stream = connect(&proxy).await;
        assert!(says(&mut stream, b"hello", SOON).await.unwrap().is_err());
    }
}
