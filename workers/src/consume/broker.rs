//! The connection to NATS: one a worker, kept for its whole life.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::{ConnectOptions, Event};
use common::access::Access;
use common::login::{self, Login, LoginError};
use common::name::{Instance, RegionCode};
use common::stream::OLDEST_SERVER;
use common::subject;
use common::telemetry::Chain;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long the client may take to say that its last messages are on their way.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is told why there is no first connection.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long to wait for an answer of `JetStream`.
const API_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the broker cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// What is needed to sign in cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// NATS does not let this process do what it must: each is named.
    #[error("NATS does not permit what a worker of {region} needs: {missing}")]
    NotGranted {
        /// The worker's region.
        region: RegionCode,
        /// What is not permitted.
        missing: String,
    },
    /// The client cannot be made.
    #[error("NATS client cannot be made")]
    Client(#[source] async_nats::ConnectError),
    /// The server lacks what the product relies on.
    #[error("nats-server {found} is too old: {}.{}.{} or newer is needed", OLDEST_SERVER.0, OLDEST_SERVER.1, OLDEST_SERVER.2)]
    TooOld {
        /// The version that the server names.
        found: String,
    },
}

/// The connection.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Core NATS.
    pub client: async_nats::Client,
    /// `JetStream` over the same connection.
    pub jetstream: jetstream::Context,
    connects: watch::Receiver<u64>,
    login: Login,
    region: RegionCode,
}

impl Broker {
    /// Begins to connect. The broker need not be there yet.
    pub async fn connect(login: &Login, region: &RegionCode, worker: &Instance) -> Result<Self, BrokerError> {
        let (connected, connects) = watch::channel(0);
        let options = ConnectOptions::new()
            .name(format!("vkube-worker/{region}/{worker}"))
            .custom_inbox_prefix(subject::worker_inbox_prefix(region))
            .retry_on_initial_connect()
            .request_timeout(Some(API_TIMEOUT))
            // As the api's: a connection that died in silence is noticed within the minute.
            .ping_interval(Duration::from_secs(10))
            .event_callback(move |event| {
                let connected = connected.clone();
                async move { note(&event, &connected) }
            });
        let client = login.sign_in(options).await?.connect(login.servers()).await.map_err(BrokerError::Client)?;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(API_TIMEOUT);
        Ok(Self { client, jetstream, connects, login: login.clone(), region: region.clone() })
    }

    /// Waits for the first connection, and checks that the server is new enough and permits what is needed. None = told to stop.
    pub async fn ready(&self, stop: &CancellationToken) -> Result<Option<()>, BrokerError> {
        let mut connects = self.connects();
        while !(self.is_connected() && self.knows_server().await) {
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                _ = connects.changed() => {}
                () = sleep(TELL_EVERY) => {
                    let Some(problem) = stop.run_until_cancelled(self.problem()).await else { return Ok(None) };
                    tracing::warn!(problem, "NATS does not answer; still trying");
                }
            }
        }
        let (major, minor, patch) = OLDEST_SERVER;
        if !self.client.is_server_compatible(major, minor, patch) {
            return Err(BrokerError::TooOld { found: self.client.server_info().version });
        }
        let region = self.region.clone();
        match login::missing(&self.client, &Access::of_worker(&region)).await {
            Some(missing) if !missing.is_empty() => {
                Err(BrokerError::NotGranted { region, missing: missing.join(", ") })
            }
            _ => Ok(Some(())),
        }
    }

    /// Why there is no connection: the client itself tells no more than that there is none.
    async fn problem(&self) -> String {
        let options = ConnectOptions::new().connection_timeout(FLUSH_TIMEOUT);
        match self.login.sign_in(options).await {
            Ok(options) => match options.connect(self.login.servers()).await {
                Ok(_) => "it was slow".to_owned(),
                Err(error) => Chain(&error).to_string(),
            },
            Err(error) => Chain(&error).to_string(),
        }
    }

    /// Whether the client knows whom it is connected to: it says "connected" a moment before, and flushes after.
    async fn knows_server(&self) -> bool {
        let flushed = timeout(FLUSH_TIMEOUT, self.client.flush()).await;
        matches!(flushed, Ok(Ok(()))) && self.client.try_server_info().is_some()
    }

    /// Whether there is a connection right now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Wakes at every new connection: what was asked over the old one is not answered any more.
    pub fn connects(&self) -> watch::Receiver<u64> {
        self.connects.clone()
    }

    /// Sends what is still to be sent, and closes the connection.
    pub async fn close(&self) {
        let flushed = timeout(FLUSH_TIMEOUT, self.client.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("NATS did not take the last messages");
        }
        let _ = timeout(FLUSH_TIMEOUT, self.client.drain()).await;
    }
}

fn note(event: &Event, connected: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            tracing::info!("connected to NATS");
            connected.send_modify(|count| *count = count.wrapping_add(1));
        }
        // A refused permission shows here and nowhere else: the call itself only times out.
        Event::ServerError(error) => tracing::error!(error = %error, "NATS refuses something"),
        Event::Closed | Event::Draining => tracing::info!(event = %event, "NATS connection ends"),
        Event::Disconnected | Event::LameDuckMode | Event::SlowConsumer(_) | Event::ClientError(_) => {
            tracing::warn!(event = %event, "NATS connection is disturbed");
        }
    }
}
