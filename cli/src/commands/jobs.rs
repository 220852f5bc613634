//! `vkube jobs`: every accepted change of an order, and how far it is.

use std::io::{self, Write};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use tokio::time::Instant;

use super::Context;
use crate::args::id;
use crate::client::Answer;
use crate::credentials::Caller;
use crate::error::Error;
use crate::retry;
use crate::table::{Table, cell, fields, list};
use crate::text::time;

/// How often a job that is watched is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// `vkube jobs`.
#[derive(Debug, Args)]
pub(crate) struct Jobs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the order's jobs, newest first (what `vkube jobs` alone does)
    List(Paging),
    /// Show one job
    Show {
        /// The job's id
        #[arg(value_parser = id)]
        id: String,
    },
    /// Wait until a job has ended; its end is the exit code
    Watch {
        /// The job's id
        #[arg(value_parser = id)]
        id: String,
        /// How long to wait, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        wait: u64,
    },
    /// Cancel a job that no worker has begun
    Cancel {
        /// The job's id
        #[arg(value_parser = id)]
        id: String,
    },
}

/// Which part of a list.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Paging {
    /// Most entries of a page
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Begin after this cursor of an earlier page
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    /// Every page, one after the other
    #[arg(long)]
    pub(crate) all: bool,
}

impl Jobs {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        match self.action.unwrap_or_else(|| Action::List(Paging::default())) {
            Action::List(paging) => list_jobs(paging, context).await,
            Action::Show { id } => {
                let answer = get(&id, context).await?;
                context.show(&answer, print)
            }
            Action::Watch { id, wait } => watch(&id, Duration::from_secs(wait), context).await,
            Action::Cancel { id } => {
                let call = context.client.delete(Caller::Owner, &["jobs", &id])?;
                let answer = context.client.send(&call).await?;
                context.show(&answer, print)
            }
        }
    }
}

async fn get(id: &str, context: &Context<'_>) -> Result<Answer, Error> {
    let call = context.client.get(Caller::Owner, &["jobs", id])?;
    context.client.send(&call).await
}

async fn list_jobs(mut paging: Paging, context: &mut Context<'_>) -> Result<(), Error> {
    let mut table = table();
    loop {
        let call = context.client.get(Caller::Owner, &["jobs"])?;
        let call = call.query("limit", paging.limit).query("after", paging.after.as_deref());
        let page = context.client.send(&call).await?;
        context.show(&page, |page, out| {
            table.rows(list(page, "/jobs").iter().map(row));
            table.print(out)
        })?;
        if !paging.turn(&page, context)? {
            return Ok(());
        }
    }
}

impl Paging {
    /// Turns to the page after this one, if it is wanted and there is one.
    pub(crate) fn turn(&mut self, page: &Answer, context: &mut Context<'_>) -> Result<bool, Error> {
        let Some(next) = page.value.get("next").and_then(Value::as_str) else { return Ok(false) };
        if !self.all {
            context.note(&format!("there are more: --all, or --after {next}"));
            return Ok(false);
        }
        if self.after.as_deref() == Some(next) {
            return Err(Error::Unknown("the list does not end: its next page is the same one".to_owned()));
        }
        self.after = Some(next.to_owned());
        Ok(true)
    }
}

/// Asks for the job until it has ended, through outages too, and shows it at the end of the wait whatever it is then.
async fn watch(id: &str, wait: Duration, context: &mut Context<'_>) -> Result<(), Error> {
    let begun = Instant::now();
    let left = || wait.saturating_sub(begun.elapsed());
    let (mut seen, mut failures) = (String::new(), 0);
    loop {
        let pause = match get(id, context).await {
            Ok(answer) => {
                failures = 0;
                let state = cell(&answer.value, "/state");
                if !runs_on(&answer.value) || left().is_zero() {
                    context.show(&answer, print)?;
                    return ended(&answer.value, Caller::Owner);
                }
                if state != seen {
                    context.note(&format!("job {id}: {state}"));
                    seen = state;
                }
                ASK_EVERY
            }
            Err(error) => {
                let pause = retry::pause_of_watch(failures, &error).filter(|_| !left().is_zero());
                let Some(pause) = pause else { return Err(error) };
                context.note(&format!("{error}; asking again"));
                failures += 1;
                pause
            }
        };
        tokio::time::sleep(pause.min(left())).await;
    }
}

/// Whether a job has not ended.
pub(crate) fn runs_on(job: &Value) -> bool {
    matches!(cell(job, "/state").as_str(), "Queued" | "Running")
}

/// What a job's state means for the command that made it. Jobs are watched by whoever has the order's secret; an operator
/// sees them with the order.
pub(crate) fn ended(job: &Value, caller: Caller) -> Result<(), Error> {
    let (id, state) = (cell(job, "/id"), cell(job, "/state"));
    match state.as_str() {
        "Succeeded" => Ok(()),
        _ if runs_on(job) => {
            let next = match caller {
                Caller::Operator => format!("vkube orders show {}", cell(job, "/orderId")),
                Caller::Owner | Caller::Anyone => format!("vkube jobs watch {id}"),
            };
            Err(Error::Accepted { id, next })
        }
        _ => Err(Error::Ended { id, state }),
    }
}

/// Prints one job for people.
pub(crate) fn print(job: &Value, out: &mut dyn Write) -> io::Result<()> {
    let time = |pointer: &str| job.pointer(pointer).map(time).unwrap_or_default();
    fields(
        out,
        [
            ("Job", cell(job, "/id")),
            ("Order", cell(job, "/orderId")),
            ("Verb", cell(job, "/verb")),
            ("Revision", cell(job, "/revision")),
            ("State", cell(job, "/state")),
            ("Attempts", cell(job, "/attempts")),
            ("Created", time("/createdAt")),
            ("Started", time("/startedAt")),
            ("Finished", time("/finishedAt")),
            ("Reason", cell(job, "/outcome/reason")),
            ("Message", cell(job, "/outcome/message")),
        ],
    )
}

/// A table of jobs.
pub(crate) fn table() -> Table<7> {
    Table::new(["JOB", "VERB", "REVISION", "STATE", "CREATED", "FINISHED", "REASON"])
}

/// A job as a row of it.
pub(crate) fn row(job: &Value) -> [String; 7] {
    let time = |pointer: &str| job.pointer(pointer).map(time).unwrap_or_default();
    let cell = |pointer: &str| cell(job, pointer);
    [
        cell("/id"),
        cell("/verb"),
        cell("/revision"),
        cell("/state"),
        time("/createdAt"),
        time("/finishedAt"),
        cell("/outcome/reason"),
    ]
}
