//! `vkube`: reads the command line, runs one command, and ends with the exit code that tells how it went.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use cli::args::Cli;
use cli::error::Error;

fn main() -> ExitCode {
    match run() {
        Ok(Ok(())) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Ok(Err(Error::Output(error))) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tell(&error.explain());
            ExitCode::from(error.exit_code())
        }
        Err(error) => {
            tell(&format!("vkube: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the command. The outer error is a fault of this program or machine, the inner one the command's own end.
fn run() -> anyhow::Result<Result<(), Error>> {
    rustls::crypto::ring::default_provider().install_default().ok().context("another TLS provider is installed")?;
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let ended = runtime.block_on(cli::run(cli, &mut std::io::stdout(), &mut std::io::stderr()));
    // A name that is still being looked up holds up nobody.
    runtime.shutdown_background();
    Ok(ended)
}

/// Writes to the standard error. If that is gone too, there is nobody left to tell.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
