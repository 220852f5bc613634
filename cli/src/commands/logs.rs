//! `vkube logs`: a container's log, at once or as it is written.

use std::time::SystemTime;

use clap::Args;

use super::{Context, follow};
use crate::credentials::Caller;
use crate::error::Error;

/// `vkube logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on printing lines as they are written, through broken connections
    #[arg(short, long)]
    follow: bool,

    /// Which container; required if there are several
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,

    /// Only the last lines
    #[arg(long, value_name = "N")]
    tail: Option<u32>,

    /// Only what is younger than this
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    since: Option<u32>,

    /// The log of the container before its last restart
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,

    /// Begin each line with its time
    #[arg(long, conflicts_with = "follow")]
    timestamps: bool,
}

impl Logs {
    /// Log bytes are passed on as they are, to terminals too, as `kubectl logs` does: a log may be coloured.
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        if self.follow {
            // The time is fixed now: after a broken connection it means the same lines.
            let start = self.since.map(|since| unix_seconds().saturating_sub(u64::from(since)));
            let call = context.client.get(Caller::Owner, &["k8s", "pod", "logs"])?;
            let call = call.query("container", self.container).query("tailLines", self.tail);
            return follow::run(call.query("startTimestamp", start), context).await;
        }
        let call = context.client.get(Caller::Owner, &["k8s", "pod", "log"])?;
        let call =
            call.query("container", self.container).query("tailLines", self.tail).query("sinceSeconds", self.since);
        let call = call.query("previous", self.previous.then_some(true));
        let call = call.query("timestamps", self.timestamps.then_some(true));
        let answer = context.client.send(&call).await?;
        let Some(log) = answer.value.as_str() else { return Err(call.strange("a log is one string")) };
        context.show(&answer, |_, out| out.write_all(log.as_bytes()))
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
