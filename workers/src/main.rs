//! The worker's command line: `vkube-worker` runs it, `settings` prints the table of settings, `keys` the ids of the
//! region's keys, `healthcheck` asks a running worker whether it is ready.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Command;
use common::{settings as table, telemetry};
use workers::settings::Settings;

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "vkube-worker: {}", telemetry::Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    common::memory::keep_private().context("this process cannot keep its memory to itself")?;
    common::fail_point::arm();
    let all = Settings::all();
    let matches = table::command("vkube-worker", "Runs the pods of one vkube region.", &all)
        .subcommand(Command::new("settings").about("Prints every setting as a row of a Markdown table"))
        .subcommand(Command::new("keys").about("Prints the ids of the region's keys"))
        .subcommand(Command::new("healthcheck").about("Asks the worker at VKUBE_HEALTH_LISTEN whether it is ready"))
        .get_matches();
    if matches.subcommand_matches("settings").is_some() {
        std::io::stdout().write_all(table::table(&all).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let leaf = matches.subcommand().map_or(&matches, |(_, matches)| matches);
    let given = table::given(leaf, &all);
    if matches.subcommand_matches("keys").is_some() {
        std::io::stdout().write_all(Settings::key_table(&given)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if matches.subcommand_matches("healthcheck").is_some() {
        let listen = Settings::health_listen(&given)?;
        runtime.block_on(workers::health::ask(listen)).context("the worker is not ready")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (settings, logs) = Settings::read(&given)?;
    telemetry::start(logs)?;
    runtime.block_on(Box::pin(workers::run(settings)))?;
    Ok(ExitCode::SUCCESS)
}
