//! The product: one file a use case. It knows neither HTTP nor NATS subjects; front ends call it, and it calls the record
//! ([`crate::store`]), the broker ([`crate::bus`]) and the registries ([`crate::registry`]).

pub mod abort;
pub mod admission;
pub mod cancel;
pub mod change;
pub mod deploy;
pub mod drift;
pub mod edit;
pub mod error;
pub mod expose;
pub mod image;
pub mod info;
pub mod job;
pub mod json;
pub mod life;
pub mod log_stream;
pub mod metadata;
pub mod operator;
pub mod order;
pub mod order_request;
pub mod pod_request;
pub mod ports;
pub mod read;
pub mod record;
pub mod regions;
pub mod relay;
mod reservation;
pub mod secret;
pub mod sweep;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use common::name::JobId;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::registry::Registry;
use crate::store::Store;
use admission::{AdmissionSettings, Admissions};
use drift::DriftPolicy;
use life::LifeSettings;
use log_stream::LogStreams;
use secret::Secrets;

/// How long things may take.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// How long a change waits for its region unless the client says otherwise (`wire.md` §6).
    pub change_deadline: Duration,
    /// How long a read waits for its region.
    pub read_deadline: Duration,
    /// When the steps of an order's life are due.
    pub life: LifeSettings,
    /// What is done about orders that were changed by hand.
    pub drift: DriftPolicy,
    /// How many may follow logs.
    pub followers: AdmissionSettings,
}

/// The longest that a client may ask a change to wait (`wire.md` §6).
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The most questions for environments at a time: each may be as large as a message.
const MAX_RESEALS: usize = 4;

/// The most clients that watch jobs at a time.
const WATCHERS: AdmissionSettings = AdmissionSettings { most: 512, most_per_order: 16 };

/// The most published jobs that wait for their mark; those beyond are left to the relay.
const MAX_MARKS: usize = 1024;

/// What the core stands on.
pub struct Parts {
    /// The record.
    pub store: Store,
    /// The broker.
    pub bus: Bus,
    /// The registries.
    pub registry: Registry,
    /// What secrets are kept under, and the operators.
    pub secrets: Secrets,
    /// Deadlines.
    pub settings: AppSettings,
}

/// The application core. Cheap to clone.
#[derive(Clone)]
pub struct App {
    store: Store,
    bus: Bus,
    registry: Registry,
    secrets: Arc<Secrets>,
    settings: Arc<AppSettings>,
    /// Jobs that the broker has, and where in their queue, to be marked so.
    published: mpsc::Sender<(JobId, u64)>,
    /// Places of questions for environments, which fill the queue of a region's reads quicker than others.
    reseals: Arc<Semaphore>,
    /// Places of clients that watch jobs.
    watchers: Admissions,
    log_streams: Arc<LogStreams>,
    /// What goes on when its request is gone.
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl App {
    /// A core over these parts, and its background work among `tasks` until `stop`. From `shutdown` on nobody waits for
    /// jobs any more.
    pub fn start(parts: Parts, shutdown: CancellationToken, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let Parts { store, bus, registry, secrets, settings } = parts;
        let (published, marks) = mpsc::channel(MAX_MARKS);
        let (secrets, settings) = (Arc::new(secrets), Arc::new(settings));
        let watchers = Admissions::new(WATCHERS);
        let reseals = Arc::new(Semaphore::new(MAX_RESEALS));
        let log_streams = LogStreams::new(settings.followers, bus.clone(), tasks.clone(), stop.clone());
        let log_streams = Arc::new(log_streams);
        let ongoing = tasks.clone();
        let app = Self {
            store,
            bus,
            registry,
            secrets,
            settings,
            published,
            reseals,
            watchers,
            log_streams,
            tasks: ongoing,
            shutdown,
        };
        tasks.spawn(app.clone().record_results(stop.clone()));
        tasks.spawn(app.clone().record_starts(stop.clone()));
        tasks.spawn(record::mark_published(app.store.clone(), marks, stop.clone()));
        tasks.spawn(app.clone().relay(stop.clone()));
        tasks.spawn(app.clone().sweep(stop.clone()));
        tasks.spawn(app.clone().live(stop.clone()));
        tasks.spawn(app.clone().mend(stop.clone()));
        app
    }

    /// How long a change waits for its region unless the client says otherwise.
    pub fn change_deadline(&self) -> Duration {
        self.settings.change_deadline
    }

    /// What is not ready, each in a few words; empty = ready.
    pub async fn not_ready(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.bus.health().not_ready.into_iter().map(str::to_owned).collect();
        if self.shutdown.is_cancelled() {
            missing.push("the process is shutting down".to_owned());
        }
        if self.store.ping().await.is_err() {
            missing.push("PostgreSQL does not answer".to_owned());
        }
        missing
    }
}
