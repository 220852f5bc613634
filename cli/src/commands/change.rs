//! What all changes of a pod have in common (`wire.md` §6): one idempotency key however often the call is sent, and waiting
//! for the job's end for as long as was asked. And those that are nothing else: `vkube restart`, `stop` and `start`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Context;
use super::jobs;
use crate::client::{Answer, Call};
use crate::credentials::Caller;
use crate::error::Error;
use crate::retry;

/// How long the API waits unless it is asked for another time.
const USUAL_WAIT: Duration = Duration::from_secs(20);
/// The longest that the API waits in one call.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The pause before the next call, should the API not wait at all.
const ASK_AGAIN: Duration = Duration::from_secs(1);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long to wait for the end of a change, and under which key it may be sent again.
#[derive(Debug, Clone, Args)]
pub(crate) struct Changing {
    /// How long to wait for the job's end, in seconds; 20 unless given
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    wait: Option<u64>,

    /// Do not wait for the job's end (exit code 4)
    #[arg(id = "no_wait", long = "async")]
    no_wait: bool,

    /// The same key with the same change is the same job, for 24 hours; a new one unless given
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Changing {
    /// Runs a change that needs no more than its name.
    pub(crate) async fn run(self, verb: &str, context: &mut Context<'_>) -> Result<(), Error> {
        let call = context.client.post(Caller::Owner, &["k8s", "pod", verb], &json!({}))?;
        let answer = self.send(call, context).await?;
        show(&answer, context, |_, out| writeln!(out, "{verb}: done"))
    }

    /// Sends a change until its job has ended, or the time that was asked for is over: then the answer is the job (202).
    pub(crate) async fn send(&self, call: Call, context: &mut Context<'_>) -> Result<Answer, Error> {
        let key = self.idempotency_key.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let call = keyed(prefer(call, self.no_wait), &key)?;
        let begun = Instant::now();
        let left = || self.wait.map(|wait| Duration::from_secs(wait).saturating_sub(begun.elapsed()));
        loop {
            let answer = repeated(context, || waiting(call.clone(), left())).await;
            if answer.as_ref().is_err_and(|error| error.exit_code() == 3) {
                context.note(&format!("--idempotency-key {key} repeats the change safely: it may have been accepted"));
            }
            let answer = answer?;
            // The same key again is the same job: the next call goes on waiting for it.
            if !runs_on(&answer) || left().is_none_or(|left| left.is_zero()) {
                return Ok(answer);
            }
            sleep(ASK_AGAIN).await;
        }
    }
}

/// Sends a change that is done when it is answered, under a new key, however often that takes.
pub(crate) async fn send_once(call: Call, context: &mut Context<'_>) -> Result<Answer, Error> {
    let call = keyed(call, &uuid::Uuid::new_v4().to_string())?;
    repeated(context, || call.clone()).await
}

fn keyed(call: Call, key: &str) -> Result<Call, Error> {
    let value = HeaderValue::from_str(key)
        .map_err(|_| Error::Usage("--idempotency-key must have visible ASCII characters only".to_owned()))?;
    Ok(call.header(IDEMPOTENCY_KEY, value))
}

/// Shows what came of a change: its end, or the job that has not ended.
pub(crate) fn show(
    answer: &Answer,
    context: &mut Context<'_>,
    print: impl FnOnce(&Value, &mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    if !is_accepted(answer) {
        return context.show(answer, print);
    }
    context.show(answer, jobs::print)?;
    jobs::ended(&answer.value, Caller::Owner)
}

/// Whether the answer is a job.
fn is_accepted(answer: &Answer) -> bool {
    answer.status == StatusCode::ACCEPTED
}

/// Whether the job may still come to its end: that of an order that is aborted may have come to nothing already.
fn runs_on(answer: &Answer) -> bool {
    is_accepted(answer) && jobs::runs_on(answer.value.get("job").unwrap_or(&answer.value))
}

/// A change that the API waits for, or answers at once.
fn prefer(call: Call, no_wait: bool) -> Call {
    if no_wait { call.header(PREFER, HeaderValue::from_static("respond-async")) } else { call.wait(USUAL_WAIT) }
}

/// A call that waits for what is left of the time asked for.
fn waiting(call: Call, left: Option<Duration>) -> Call {
    let Some(left) = left.map(|left| left.min(LONGEST_WAIT)) else { return call };
    // In whole seconds, and not one too few.
    match HeaderValue::try_from(format!("wait={}", left.as_millis().div_ceil(1000))) {
        Ok(value) => call.header(PREFER, value).wait(left),
        Err(_) => call,
    }
}

/// Sends a call that is safe to repeat, again after what may pass.
async fn repeated(context: &mut Context<'_>, call: impl Fn() -> Call) -> Result<Answer, Error> {
    let mut tries = 0;
    loop {
        let error = match context.client.send(&call()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(pause) = retry::pause(tries, &error) else { return Err(error) };
        context.note(&format!("{error}; trying again in {} s", pause.as_secs_f64()));
        sleep(pause).await;
        tries += 1;
    }
}
