//! The command `vkube`: what customers and operators do with an order, over the REST API and nothing else. Modules are
//! listed in the order in which a command passes through them.

use std::io::Write;

pub mod args;
mod credentials;

mod commands;

mod client;
mod retry;
mod sse;

pub mod error;
mod table;
mod text;

use args::{Cli, Command};
use client::Client;
use commands::Context;
use error::Error;

/// Runs one command: its data go to `out`, whatever else it has to say to `notes`.
///
/// # Errors
/// Whatever kept the command from doing what was asked; [`Error::exit_code`] tells it to programs.
pub async fn run(cli: Cli, out: &mut dyn Write, notes: &mut dyn Write) -> Result<(), Error> {
    let json = cli.json;
    let ended = run_command(cli, out, notes).await;
    let failure = ended.as_ref().err().filter(|_| json).and_then(Error::body);
    if let Some(failure) = failure {
        writeln!(out, "{failure}").and_then(|()| out.flush()).map_err(Error::Output)?;
    }
    ended
}

async fn run_command(cli: Cli, out: &mut dyn Write, notes: &mut dyn Write) -> Result<(), Error> {
    if let Command::Completions(completions) = cli.command {
        return completions.run(out);
    }
    let client = Client::new(&cli.connection)?;
    if let Some(warning) = client.warning(cli.command.has_password()) {
        text::note(notes, warning);
    }
    let mut context = Context { client, json: cli.json, out, notes };
    commands::run(cli.command, &mut context).await?;
    context.out.flush().map_err(Error::Output)
}

#[cfg(test)]
mod tests;
