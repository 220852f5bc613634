//! Credits: the api says, every few seconds and as it takes chunks, that it still listens. One subscription for all follows
//! of a worker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Message, Subject};
use common::log::CREDIT_STOP;
use common::name::{Instance, JobId, RegionCode};
use common::subject::{credit_prefix, inbox_token};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Broker;

/// How long to wait before a subscription that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a follow may still send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credit {
    /// How many chunks the api has taken.
    pub(super) taken: u64,
    /// When it last said so.
    pub(super) heard: Instant,
    /// Whether it wants no more.
    pub(super) stop: bool,
}

/// The credits of a worker's follows.
#[derive(Debug)]
pub(super) struct Credits {
    prefix: String,
    open: Mutex<HashMap<JobId, watch::Sender<Credit>>>,
}

/// The place where one follow's credits come, until it is dropped.
#[derive(Debug)]
pub(super) struct Reply {
    credits: Arc<Credits>,
    token: JobId,
}

impl Credits {
    pub(super) fn new(region: &RegionCode, worker: &Instance) -> Self {
        Self { prefix: credit_prefix(region, worker), open: Mutex::default() }
    }

    /// Opens a place for the credits of one follow.
    pub(super) fn open(self: &Arc<Self>) -> (Reply, watch::Receiver<Credit>) {
        let token = JobId::new();
        let (sender, credit) = watch::channel(Credit { taken: 0, heard: Instant::now(), stop: false });
        self.lock().insert(token, sender);
        (Reply { credits: Arc::clone(self), token }, credit)
    }

    /// Hears credits until told to stop.
    pub(super) async fn hear(&self, broker: &Broker, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match broker.client.subscribe(format!("{}.*", self.prefix)).await {
                Ok(mut messages) => loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        message = messages.next() => match message {
                            Some(message) => self.take(&message),
                            None => break,
                        },
                    }
                },
                Err(error) => tracing::warn!(error = %error, "credits are not heard"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(AGAIN) => {}
            }
        }
    }

    fn take(&self, message: &Message) {
        let Some(token) = inbox_token(&message.subject) else { return };
        if let (Some(sender), Ok(text)) = (self.lock().get(&token), str::from_utf8(&message.payload)) {
            sender.send_modify(|credit| {
                credit.heard = Instant::now();
                credit.stop |= text == CREDIT_STOP;
                credit.taken = credit.taken.max(text.parse().unwrap_or_default());
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, watch::Sender<Credit>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    /// The subject of these credits.
    pub(super) fn subject(&self) -> Subject {
        format!("{}.{}", self.credits.prefix, self.token).into()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.credits.lock().remove(&self.token);
    }
}
