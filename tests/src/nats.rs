//! A NATS server of the tests' own: each system has one, so that one can be stopped without disturbing the others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::http;
use crate::process::{Process, free_port};
use crate::stack::Stack;
use crate::until::until;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A server, which keeps its address and its data when it is stopped and started.
#[derive(Debug)]
pub struct Nats {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    port: u16,
    monitor_port: u16,
    process: Option<Process>,
}

/// What the server counted of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Connection {
    /// The name that the client gave.
    #[serde(default)]
    pub name: String,
    /// Messages that the client sent.
    pub in_msgs: u64,
    /// Messages that it was sent.
    pub out_msgs: u64,
}

impl Nats {
    /// Starts a server that keeps its log in `folder` and its data in `store`.
    pub async fn start(stack: &Stack, folder: &Path, store: &Path) -> Result<Self> {
        let (port, monitor_port) = (free_port()?, free_port()?);
        let config = folder.join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor_port}\"\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always }}\n",
            store.display()
        );
        std::fs::write(&config, text)?;
        let program = stack.nats_server().await?.clone();
        let mut nats = Self { program, config, log: folder.join("nats.log"), port, monitor_port, process: None };
        nats.start_again().await?;
        Ok(nats)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A client of the tests' own.
    pub async fn client(&self) -> Result<async_nats::Client> {
        async_nats::ConnectOptions::new().name("e2e").connect(self.url()).await.context("cannot connect to NATS")
    }

    /// What the server counted of each connection.
    pub async fn connections(&self) -> Result<Vec<Connection>> {
        #[derive(Deserialize)]
        struct Connections {
            connections: Vec<Connection>,
        }
        let url = format!("http://127.0.0.1:{}/connz?limit=1024", self.monitor_port);
        let answer = http::plain()?.get(url).send().await?.error_for_status()?;
        Ok(answer.json::<Connections>().await?.connections)
    }

    /// Ends the server as a power cut would.
    pub async fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("NATS does not run")?;
        process.kill().await
    }

    /// Stops the server's clock: its clients stay connected and hear nothing.
    pub async fn pause(&self) -> Result<()> {
        self.process.as_ref().context("NATS does not run")?.pause().await
    }

    /// Lets a paused server go on.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().context("NATS does not run")?.resume()
    }

    /// Starts a stopped server, at the same address and with the same data.
    pub async fn start_again(&mut self) -> Result<()> {
        let config = self.config.display().to_string();
        let mut process = Process::start("nats-server", &self.program, &["-c", &config], &[], &self.log)?;
        let url = format!("http://127.0.0.1:{}/healthz", self.monitor_port);
        let http = http::plain()?;
        until("NATS is healthy", READY_WITHIN, async || {
            process.must_run()?;
            Ok(http.get(&url).send().await.ok().filter(|answer| answer.status().is_success()))
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }
}
