//! The one connection to NATS: how it is made, and who is told when it is made again.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Event};
use common::access::Access;
use common::login;
use common::name::Instance;
use common::{stream, subject};
use tokio::sync::watch;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use super::BusSettings;
use super::error::BusError;

/// The longest that one answer of the server is waited for.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How often a connection is tried while the first one does not come about.
const CONNECT_AGAIN: Duration = Duration::from_millis(250);
/// The longest that the client's word of being connected is waited for.
const EVENT_WAIT: Duration = Duration::from_secs(2);
/// The longest that closing may take.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// A connection that comes back by itself.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) context: jetstream::Context,
    connects: watch::Receiver<u64>,
    closed: CancellationToken,
}

impl Link {
    /// Connects, trying until the settings' limit.
    pub(super) async fn open(
        settings: &BusSettings,
        instance: &Instance,
        shutdown: &CancellationToken,
    ) -> Result<Self, BusError> {
        let (made, mut connects) = watch::channel(0_u64);
        let closed = CancellationToken::new();
        let options = settings.login.sign_in(options(settings, instance, made, closed.clone())).await?;
        let deadline = Instant::now() + settings.connect_timeout;
        let client = loop {
            match options.clone().connect(settings.login.servers()).await {
                Ok(client) => break client,
                Err(error) if Instant::now() + CONNECT_AGAIN >= deadline => return Err(BusError::Connect(error)),
                Err(error) => tracing::debug!(%error, "nats: no connection yet"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return Err(BusError::Closing),
                () = time::sleep(CONNECT_AGAIN) => {}
            }
        };
        let (major, minor, patch) = stream::OLDEST_SERVER;
        if !client.is_server_compatible(major, minor, patch) {
            let found = client.server_info().version;
            return Err(BusError::TooOld { found, oldest: format!("{major}.{minor}.{patch}") });
        }
        let missing = login::missing(&client, &Access::of_api(&[], &[])).await.unwrap_or_default();
        if !missing.is_empty() {
            return Err(BusError::NotGranted(missing.join(", ")));
        }
        // The first connection is told of like any other; from here on, each is a new one.
        let _ = time::timeout(EVENT_WAIT, connects.wait_for(|count| *count > 0)).await;
        let context = ContextBuilder::new().timeout(ANSWER_WAIT).build(client.clone());
        Ok(Self { client, context, connects, closed })
    }

    /// Changes with every connection that is made from now on.
    pub(super) fn connects(&self) -> watch::Receiver<u64> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        connects
    }

    /// Whether there is a connection at this moment.
    pub(super) fn is_connected(&self) -> bool {
        // The client goes on calling a connection it has closed connected.
        !self.closed.is_cancelled() && self.client.connection_state() == State::Connected
    }

    /// Refuses at once what would only wait.
    pub(super) fn check_connected(&self) -> Result<(), BusError> {
        if self.is_connected() { Ok(()) } else { Err(BusError::Disconnected) }
    }

    /// Sends what is not sent yet and closes the connection.
    pub(super) async fn close(&self) {
        let closing = async {
            if let Err(error) = self.client.flush().await {
                tracing::warn!(%error, "nats: not everything was sent at the end");
            }
            if self.client.drain().await.is_ok() {
                self.closed.cancelled().await;
            }
        };
        if time::timeout(CLOSE_WAIT, closing).await.is_err() {
            tracing::warn!("nats: the connection did not close in time");
        }
    }
}

fn options(
    settings: &BusSettings,
    instance: &Instance,
    made: watch::Sender<u64>,
    closed: CancellationToken,
) -> ConnectOptions {
    ConnectOptions::new()
        .name(format!("vkube-api/{instance}"))
        // One token more than the inboxes of answers, so that neither subscription hears the other's messages.
        .custom_inbox_prefix(format!("{}.r", subject::inbox_prefix(instance)))
        .connection_timeout(settings.connect_timeout.min(ANSWER_WAIT))
        .request_timeout(Some(ANSWER_WAIT))
        .ping_interval(Duration::from_secs(10))
        .event_callback(move |event| {
            heard(&event, &made, &closed);
            std::future::ready(())
        })
}

/// Notes what the client says about its connection.
fn heard(event: &Event, made: &watch::Sender<u64>, closed: &CancellationToken) {
    match event {
        Event::Connected => {
            tracing::info!("nats: connected");
            made.send_modify(|count| *count += 1);
        }
        Event::Closed => closed.cancel(),
        Event::Draining => {}
        Event::Disconnected | Event::LameDuckMode | Event::SlowConsumer(_) => tracing::warn!("nats: {event}"),
        // Also how a missing permission shows: the call itself only times out.
        Event::ServerError(_) | Event::ClientError(_) => tracing::error!("nats: {event}"),
    }
}
