//! What all changes of a pod have in common (`wire.md` §6): one idempotency key however often the call is sent, and waiting
//! for the job's end for as long as was asked.

use std::time::Duration;

use clap::Args;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::Context;
use super::jobs;
use crate::client::{Answer, Call};
use crate::error::Error;
use crate::retry;

/// The longest that the API waits in one call.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long to wait for the end of a change.
#[derive(Debug, Clone, Args)]
pub(crate) struct Waiting {
    /// How long to wait for the job's end, in seconds; 20 unless given
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    wait: Option<u64>,

    /// Do not wait for the job's end (exit code 4)
    #[arg(id = "no_wait", long = "async")]
    no_wait: bool,
}

/// How long to wait, and under which key the change may be sent again.
#[derive(Debug, Clone, Args)]
pub(crate) struct Changing {
    #[command(flatten)]
    waiting: Waiting,

    /// The same key with the same change is the same job, for 24 hours; a new one unless given
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Waiting {
    /// The call with the wait that is left of what was asked.
    pub(crate) fn prefer(&self, call: Call, left: Option<Duration>) -> Call {
        if self.no_wait {
            return call.header(PREFER, HeaderValue::from_static("respond-async"));
        }
        let Some(left) = left.or(self.wait()) else { return call };
        // In whole seconds, and not one too few.
        let seconds = left.min(LONGEST_WAIT).as_millis().div_ceil(1000);
        match HeaderValue::try_from(format!("wait={seconds}")) {
            Ok(value) => call.header(PREFER, value).wait(left.min(LONGEST_WAIT)),
            Err(_) => call,
        }
    }

    fn wait(&self) -> Option<Duration> {
        self.wait.map(Duration::from_secs)
    }
}

impl Changing {
    /// Sends a change until its job has ended, or the time that was asked for is over: then the answer is the job (202).
    pub(crate) async fn send(&self, call: Call, context: &mut Context<'_>) -> Result<Answer, Error> {
        let key = self.idempotency_key.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let value = HeaderValue::from_str(&key)
            .map_err(|_| Error::Usage("--idempotency-key must have visible ASCII characters only".to_owned()))?;
        let call = call.header(IDEMPOTENCY_KEY, value);
        let begun = Instant::now();
        let left = || self.waiting.wait().map(|wait| wait.saturating_sub(begun.elapsed()));
        loop {
            let answer = repeated(context, || self.waiting.prefer(call.clone(), left())).await;
            if let Err(error @ (Error::Unreachable { .. } | Error::TimedOut { .. })) = &answer {
                let what = "the change may have been accepted";
                context.note(&format!("{what}: --idempotency-key {key} repeats it safely ({error})"));
            }
            let answer = answer?;
            // The same key again is the same job: the next call goes on waiting for it.
            if !jobs::is_accepted(&answer) || left().is_none_or(|left| left.is_zero()) {
                return Ok(answer);
            }
        }
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
        tokio::time::sleep(pause).await;
        tries += 1;
    }
}
