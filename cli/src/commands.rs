//! One file a command, and what all of them have in their hands.

use std::io::{self, Write};

use serde_json::Value;

use crate::args::Command;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::text;

pub(crate) mod change;
pub(crate) mod completions;
pub(crate) mod deploy;
mod follow;
pub(crate) mod image;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod orders;
pub(crate) mod ports;
pub(crate) mod regions;
pub(crate) mod status;

/// What a command works with.
pub(crate) struct Context<'a> {
    /// Speaks to the API.
    pub(crate) client: Client,
    /// Whether programs read the output.
    pub(crate) json: bool,
    /// Where data go.
    pub(crate) out: &'a mut dyn Write,
    /// Where everything else goes.
    pub(crate) notes: &'a mut dyn Write,
}

impl Context<'_> {
    /// Tells people something that is no data.
    pub(crate) fn note(&mut self, text: &str) {
        text::note(self.notes, text);
    }

    /// Shows an answer: as it came to programs, by `print` to people.
    pub(crate) fn show(
        &mut self,
        answer: &Answer,
        print: impl FnOnce(&Value, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let shown =
            if self.json { writeln!(self.out, "{}", answer.text.trim_end()) } else { print(&answer.value, self.out) };
        shown.map_err(Error::Output)
    }
}

/// Runs a command.
pub(crate) async fn run(command: Command, context: &mut Context<'_>) -> Result<(), Error> {
    match command {
        Command::Orders(orders) => orders.run(context).await,
        Command::Deploy(deploy) => deploy.run(context).await,
        Command::Status(status) => status.run(context).await,
        Command::Info => orders::info(context).await,
        Command::Restart(change) => change.run("restart", context).await,
        Command::Stop(change) => change.run("stop", context).await,
        Command::Start(change) => change.run("start", context).await,
        Command::Logs(logs) => logs.run(context).await,
        Command::Jobs(jobs) => jobs.run(context).await,
        Command::Ports(ports) => ports.run(context).await,
        Command::Regions(regions) => regions.run(context).await,
        Command::Image(image) => image.run(context).await,
        Command::Completions(completions) => completions.run(context.out),
    }
}
