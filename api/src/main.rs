//! `vkube-api`: reads settings, puts the parts together, serves until SIGTERM.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::app::secret::Secrets;
use api::app::{App, Parts};
use api::bus::Bus;
use api::registry::Registry;
use api::service::ServiceLimits;
use api::settings::{self, Settings};
use api::store::Store;
use api::{keys, nats_users, probe, rest, service};
use clap::Command;
use common::name::Instance;
use common::telemetry::Chain;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the ends of everything but requests may take.
const FLUSH: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run()).await {
        Ok(code) => code,
        Err(error) => {
            // Before logging has started nobody else would tell.
            eprintln!("vkube-api: {}", Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider().install_default().ok().context("another TLS provider is installed")?;
    common::memory::keep_private().context("this process cannot keep its memory to itself")?;
    common::fail_point::arm();
    let matches =
        common::settings::command("vkube-api", "The front end of vkube: REST, PostgreSQL, ports.", &settings::ALL)
            .subcommand(Command::new("openapi").about("Prints the OpenAPI document"))
            .subcommand(Command::new("calls").about("Prints every call by NATS as rows of a Markdown table"))
            .subcommand(Command::new("settings").about("Prints every setting as rows of a Markdown table"))
            .subcommand(Command::new("healthcheck").about("Asks the api that runs here whether it is ready"))
            .subcommand(Command::new("migrate").about("Brings the schema of PostgreSQL up to date"))
            .subcommand(Command::new("secret-keys").about("Prints which keys the secrets of orders are kept under"))
            .subcommand(
                Command::new("region-keys").about("Prints which keys of regions the values of orders are sealed to"),
            )
            .subcommand(nats_users::key_command())
            .subcommand(nats_users::users_command())
            .get_matches();
    let given = common::settings::given(&matches, &settings::ALL);
    let (name, subcommand) = matches.subcommand().unzip();
    let subcommand = subcommand.unwrap_or(&matches);
    match name {
        Some("nkey") => return print(&nats_users::make_key(subcommand)?),
        Some("nats-users") => return print(&nats_users::users(subcommand)?),
        Some("openapi") => return print(&rest::document()),
        Some("calls") => return print(&service::table(&rest::document())?),
        Some("settings") => return print(&common::settings::table(&settings::ALL)),
        Some("migrate") => {
            let store = Store::new(&settings::postgres(&given)?).context("PostgreSQL settings")?;
            return store.migrate().await.context("PostgreSQL").map(|()| ExitCode::SUCCESS);
        }
        Some("secret-keys") => {
            let (postgres, secret_keys) = settings::keys(&given)?;
            let store = Store::new(&postgres).context("PostgreSQL settings")?;
            return print(&keys::of_secrets(&store, &secret_keys).await?);
        }
        Some("region-keys") => {
            let store = Store::new(&settings::postgres(&given)?).context("PostgreSQL settings")?;
            return print(&keys::of_regions(&store).await?);
        }
        Some("healthcheck") => {
            return probe::ready(&settings::listening(&given)?).await.map(|()| ExitCode::SUCCESS);
        }
        _ => {}
    }
    serve(Settings::read(&given)?).await?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to the standard output; a reader that is gone is no failure.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    common::telemetry::start(settings.telemetry).context("logging")?;
    let instance = Instance::unique("api");
    tracing::info!(%instance, version = env!("CARGO_PKG_VERSION"), "vkube-api starts");
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let tasks = TaskTracker::new();
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = shutdown.cancelled() => {}
            }
            tracing::info!("vkube-api shuts down");
            shutdown.cancel();
        }
    });

    let store = Store::new(&settings.postgres).context("PostgreSQL settings")?;
    store.migrate().await.context("PostgreSQL")?;
    let bus = Bus::connect(&settings.bus, instance, &tasks, shutdown.clone()).await.context("NATS")?;
    let registry = Registry::new(settings.registry).context("registry settings")?;
    let secrets = Secrets::new(&settings.secret_keys, &settings.operators);
    let parts = Parts { store: store.clone(), bus: bus.clone(), registry, secrets, settings: settings.app };
    let (background, stop) = (TaskTracker::new(), CancellationToken::new());
    let app = App::start(parts, shutdown.clone(), &background, &stop);

    // Two doors to the same routes.
    let (proxies, max_in_flight) = (settings.edge.proxies.clone(), settings.edge.max_in_flight);
    let grace = settings.server.grace;
    let routes = Arc::new(rest::routes(app, settings.edge));
    let limits = ServiceLimits::in_flight(max_in_flight);
    let document = rest::document();
    let door = service::open(bus.client(), &document, routes.clone(), limits, shutdown.clone());
    let door = door.await.context("NATS service")?;
    let serve = async {
        let served = rest::serve(settings.server, proxies, routes, shutdown.clone()).await;
        shutdown.cancel();
        served
    };
    let (served, ()) = tokio::join!(serve, door.run(grace));
    stop.cancel();
    background.close();
    tasks.close();
    let flush = async {
        background.wait().await;
        bus.drain().await;
        tasks.wait().await;
    };
    if tokio::time::timeout(FLUSH, flush).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    store.close();
    served.context("HTTP")
}
