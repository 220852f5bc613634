//! The worker's life: everything is started here, and ends here. After SIGTERM no more work is taken, what is in hand
//! is finished within the grace period or given back, and the process is gone a few seconds later (see the setting).

use std::sync::Arc;
use std::time::Duration;

use common::name::Instance;
use common::stream;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::fence::Fences;
use crate::cluster::{Cluster, ConnectError, Facts, Mirrors};
use crate::consume::{Broker, BrokerError, Follows, InFlight, Jobs, Queue, Reads};
use crate::context::Context;
use crate::drift::Looker;
use crate::health::{Check, Health};
use crate::observed_ports::Observer;
use crate::presence::Herald;
use crate::settings::{PortSettings, Settings, WorkSettings};

/// How long it may take to tell that no more work is taken.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long giving jobs back may take after the grace period.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The broker cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] ConnectError),
    /// Its health cannot be told.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where it was meant to listen.
        address: std::net::SocketAddr,
        /// Why it cannot.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be heard.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// What all parts of a worker share.
struct Parts {
    context: Arc<Context>,
    broker: Broker,
    worker: Instance,
    jobs: Arc<Queue>,
    reads: Arc<Queue>,
    in_flight: InFlight,
}

/// Runs a worker until it is told to end by SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot begin: no way to the cluster or the broker, an address in use, a server that is too old.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let worker = Instance::unique("worker");
    tracing::info!(region = %settings.region, %worker, version = env!("CARGO_PKG_VERSION"), "worker begins");
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let address = settings.health_listen;
    let listener = TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    let cluster = Cluster::connect(&settings.cluster).await?;
    let broker = Broker::connect(&settings.nats, &settings.region, &worker).await?;
    let (namespace, region) = (settings.cluster.namespace.clone(), settings.region.clone());
    let fences = Fences { namespace, worker: worker.clone(), region };
    let context = Arc::new(Context {
        region: settings.region.clone(),
        keys: Arc::new(settings.keys),
        pods: settings.pods,
        rollout_timeout: settings.work.rollout_timeout,
        cluster,
        mirrors: Mirrors::default(),
        facts: watch::Sender::new(Facts::default()),
        fences,
    });
    let parts = Parts {
        context,
        worker,
        jobs: Arc::new(Queue::new(broker.clone(), stream::jobs_name(&settings.region))),
        reads: Arc::new(Queue::new(broker.clone(), stream::reads_name(&settings.region))),
        broker,
        in_flight: InFlight::default(),
    };

    // `stop`: take no more work. `abort`: give back what is in hand. `leave`: the rest may go.
    let (stop, abort, leave) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let (mut background, mut telling, mut work) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    background.spawn({
        let (health, leave) = (Arc::new(health(&parts, &stop)), leave.clone());
        async move { health.serve(listener, &leave).await }
    });
    let ready = tokio::select! {
        ready = parts.broker.ready(&stop) => ready?,
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    if ready.is_none() {
        return Ok(());
    }
    watch_cluster(&parts, &mut background, &leave);
    tell(&parts, &settings.ports, &mut telling, &stop);
    take_work(&parts, &mut work, settings.work, &stop, &abort);

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(in_flight = parts.in_flight.count(), "worker ends: no more work is taken");
    stop.cancel();
    let _ = timeout(LAST_WORDS, drained(&mut telling)).await;
    tokio::select! {
        () = drained(&mut work) => {}
        () = sleep(settings.work.shutdown_grace) => tracing::warn!("the grace period is over; work is given back"),
        _ = terminate.recv() => tracing::warn!("told to end at once; work is given back"),
        _ = interrupt.recv() => tracing::warn!("told to end at once; work is given back"),
    }
    abort.cancel();
    let _ = timeout(GIVE_BACK, drained(&mut work)).await;
    leave.cancel();
    parts.broker.close().await;
    background.shutdown().await;
    tracing::info!("worker has ended");
    Ok(())
}

async fn drained(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the worker ended badly");
        }
    }
}

fn watch_cluster(parts: &Parts, tasks: &mut JoinSet<()>, leave: &CancellationToken) {
    let (context, token) = (Arc::clone(&parts.context), leave.clone());
    tasks.spawn(async move { context.mirrors.follow(&context.cluster, &context.fences.namespace, &token).await });
    let (context, token) = (Arc::clone(&parts.context), leave.clone());
    tasks.spawn(async move { context.cluster.follow_facts(&context.facts, &token).await });
}

fn tell(parts: &Parts, settings: &PortSettings, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    let (found, drifted) = watch::channel(Vec::new());
    let looker = Looker { context: Arc::clone(&parts.context), found };
    let herald = Herald {
        context: Arc::clone(&parts.context),
        broker: parts.broker.clone(),
        worker: parts.worker.clone(),
        facts: parts.context.facts.subscribe(),
        random_ports: settings.random,
        in_flight: parts.in_flight.clone(),
        drifted,
    };
    let token = stop.clone();
    tasks.spawn(async move { looker.run(&token).await });
    let token = stop.clone();
    tasks.spawn(async move { herald.run(&token).await });
    let observer = Observer {
        context: Arc::clone(&parts.context),
        broker: parts.broker.clone(),
        facts: parts.context.facts.subscribe(),
        settings: settings.clone(),
    };
    let token = stop.clone();
    tasks.spawn(async move { observer.run(&token).await });
}

fn take_work(
    parts: &Parts,
    tasks: &mut JoinSet<()>,
    settings: WorkSettings,
    stop: &CancellationToken,
    abort: &CancellationToken,
) {
    let jobs = Arc::new(Jobs {
        context: Arc::clone(&parts.context),
        broker: parts.broker.clone(),
        worker: parts.worker.clone(),
        in_flight: parts.in_flight.clone(),
        abort: abort.clone(),
    });
    let (queue, token) = (Arc::clone(&parts.jobs), stop.clone());
    tasks.spawn(async move { queue.run(&jobs, settings.jobs, &token).await });
    let (broker, most) = (parts.broker.clone(), settings.follows);
    let follows = Arc::new(Follows::new(broker, &parts.context, &parts.worker, most, stop.clone()));
    let reads = Arc::new(Reads {
        context: Arc::clone(&parts.context),
        broker: parts.broker.clone(),
        in_flight: parts.in_flight.clone(),
        follows: Arc::clone(&follows),
    });
    tasks.spawn(async move { follows.run().await });
    let (queue, token) = (Arc::clone(&parts.reads), stop.clone());
    tasks.spawn(async move { queue.run(&reads, settings.reads, &token).await });
}

fn health(parts: &Parts, stop: &CancellationToken) -> Health {
    fn check(name: &'static str, problem: impl Fn() -> Option<String> + Send + Sync + 'static) -> Check {
        (name, Box::new(problem))
    }
    let unless = |fine: bool, problem: &str| (!fine).then(|| problem.to_owned());
    let queue = |name: &'static str, queue: &Arc<Queue>| {
        let queue = Arc::clone(queue);
        check(name, move || (!queue.is_there()).then(|| format!("stream {} has no consumer yet", queue.stream())))
    };
    let (broker, facts, stop) = (parts.broker.clone(), parts.context.facts.subscribe(), stop.clone());
    let (pods, deployments) = (Arc::clone(&parts.context), Arc::clone(&parts.context));
    Health::new(vec![
        check("nats", move || unless(broker.is_connected(), "not connected")),
        queue("jobs", &parts.jobs),
        queue("reads", &parts.reads),
        check("cluster", move || unless(facts.borrow().is_current(), "does not answer")),
        check("pods", move || unless(pods.mirrors.pods.is_live(), "watch is not established")),
        check("deployments", move || unless(deployments.mirrors.deployments.is_live(), "watch is not established")),
        check("work", move || unless(!stop.is_cancelled(), "shutting down")),
    ])
}
