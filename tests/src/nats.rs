//! NATS of the tests' own, one server or a cluster: each system has one, so that one can be stopped without disturbing the
//! others.

mod identities;
mod server;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::{ConnectOptions, jetstream};
use common::name::RegionCode;
use serde::Deserialize;

use self::identities::Identities;
use self::server::Server;
use crate::stack::Stack;
use crate::until::until;

/// How long a cluster may take to have a leader of a stream.
const LEADER_WITHIN: Duration = Duration::from_secs(20);

pub use identities::{Identity, OPERATOR, OTHER_REGION, SERVICE};

/// Subjects to which an identity may not publish.
pub type Denied<'a> = (Identity, &'a [&'a str]);

/// The servers, which keep their addresses and their data when they are stopped and started.
#[derive(Debug)]
pub struct Nats {
    servers: Vec<Server>,
    identities: Identities,
}

/// What a server counted of one connection.
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
    /// Starts so many servers of a region, as one cluster if there are several, that keep their logs in `folder` and their data
    /// in `store` and beside it.
    pub async fn start(
        stack: &Stack,
        folder: &Path,
        store: &Path,
        servers: usize,
        region: &RegionCode,
    ) -> Result<Self> {
        let identities = Identities::make(folder, region, &["127.0.0.1", &stack.node_address])?;
        let named = (0..servers).map(|number| Server::new(&stack.nats_server, number, folder, store, &identities));
        let mut servers = named.collect::<Result<Vec<Server>>>()?;
        let routes: Vec<String> = servers.iter().map(Server::route).collect();
        for server in &mut servers {
            server.join(&routes);
        }
        let mut nats = Self { servers, identities };
        nats.start_again().await?;
        Ok(nats)
    }

    /// How many servers there are.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        self.servers.iter().map(Server::url).collect::<Vec<_>>().join(",")
    }

    /// The settings by which a part of the product signs in.
    pub fn login(&self, identity: Identity) -> [(&'static str, String); 3] {
        [
            ("VKUBE_NATS_URL", self.url()),
            ("VKUBE_NATS_NKEY_FILE", self.identities.key_file(identity).display().to_string()),
            ("VKUBE_NATS_CA_FILE", self.identities.certificate().display().to_string()),
        ]
    }

    /// A client of the tests' own, who may do everything.
    pub async fn client(&self) -> Result<async_nats::Client> {
        self.client_with(ConnectOptions::new().name("e2e")).await
    }

    /// A client that is one of the identities.
    pub async fn client_of(&self, identity: Identity, options: ConnectOptions) -> Result<async_nats::Client> {
        self.client_with(options.nkey(self.identities.seed(identity)?)).await
    }

    /// A client that signs in as its options say.
    pub async fn client_with(&self, options: ConnectOptions) -> Result<async_nats::Client> {
        let servers: Vec<String> = self.servers.iter().map(Server::url).collect();
        let options = options.add_root_certificates(self.identities.certificate()).require_tls(true);
        options.connect(servers).await.context("cannot connect to NATS")
    }

    /// What the servers counted of each connection.
    pub async fn connections(&self) -> Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for server in &self.servers {
            connections.extend(server.connections().await?);
        }
        Ok(connections)
    }

    /// The server that leads a stream.
    pub async fn leader(&self, stream: &str) -> Result<usize> {
        let context = jetstream::new(self.client().await?);
        until(&format!("{stream} has a leader"), LEADER_WITHIN, async || {
            let Ok(stream) = context.get_stream(stream).await else { return Ok(None) };
            let leader = stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone());
            Ok(self.servers.iter().position(|server| Some(server.name()) == leader.as_deref()))
        })
        .await
    }

    fn server(&mut self, number: usize) -> Result<&mut Server> {
        self.servers.get_mut(number).context("there is no such server")
    }

    /// Ends a server as a power cut would.
    pub async fn kill_one(&mut self, number: usize) -> Result<()> {
        self.server(number)?.kill().await
    }

    /// Asks a server to end, and waits until it has.
    pub async fn end_one(&mut self, number: usize) -> Result<()> {
        self.server(number)?.end().await
    }

    /// Ends all servers that run as a power cut would.
    pub async fn kill(&mut self) -> Result<()> {
        for server in self.servers.iter_mut().filter(|server| server.process().is_ok()) {
            server.kill().await?;
        }
        Ok(())
    }

    /// Starts the servers that do not run, at the same addresses and with the same data, and waits until all have what they
    /// should have.
    pub async fn start_again(&mut self) -> Result<()> {
        let stopped = self.servers.iter_mut().filter(|server| server.process().is_err());
        stopped.into_iter().try_for_each(Server::spawn)?;
        for server in &mut self.servers {
            server.ready().await?;
        }
        until("all NATS servers are of one cluster", LEADER_WITHIN, async || {
            for server in &self.servers {
                if server.leads().await? + 1 == self.servers.len() {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Stops the servers' clocks: their clients stay connected and hear nothing.
    pub async fn pause(&self) -> Result<()> {
        for server in &self.servers {
            server.process()?.pause().await?;
        }
        Ok(())
    }

    /// Lets paused servers go on.
    pub fn resume(&self) -> Result<()> {
        self.servers.iter().try_for_each(|server| server.process()?.resume())
    }

    /// Has a user not publish to some subjects from now on, or lets everybody do everything again.
    pub async fn deny(&self, denied: Option<Denied<'_>>) -> Result<()> {
        for server in &self.servers {
            server.deny(denied).await?;
        }
        Ok(())
    }

    /// Has a server see its clients off and end, and waits until it has.
    pub async fn end_as_lame_duck(&mut self, number: usize) -> Result<()> {
        self.server(number)?.end_as_lame_duck().await
    }

    /// Copies the stores of servers that do not run.
    pub fn copy_store(&self) -> Result<()> {
        self.servers.iter().try_for_each(Server::copy_store)
    }

    /// Puts the copies in the place of the stores of servers that do not run.
    pub fn restore_store(&self) -> Result<()> {
        self.servers.iter().try_for_each(Server::restore_store)
    }
}
