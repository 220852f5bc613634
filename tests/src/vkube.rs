//! The command `vkube`, run as a person or a script runs it.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::stack::Stack;

/// The most that any command may take here.
const ENDS_WITHIN: Duration = Duration::from_secs(100);

/// The command with what its environment says: where the API is, and what opens it.
#[derive(Debug, Clone)]
pub struct Vkube {
    environment: Vec<(&'static str, String)>,
}

/// What came of a command.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed as data.
    pub out: String,
    /// What else it said.
    pub notes: String,
}

impl Vkube {
    /// The command for the API at this URL.
    pub fn new(url: &str) -> Self {
        Self { environment: vec![("VKUBE_URL", url.to_owned())] }
    }

    /// With the secret of an order.
    #[must_use]
    pub fn secret(self, secret: &str) -> Self {
        self.variable("VKUBE_SECRET", secret)
    }

    /// With an operator's token.
    #[must_use]
    pub fn operator(self, token: &str) -> Self {
        self.variable("VKUBE_OPERATOR_TOKEN", token)
    }

    fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// The process that a line of words would start; killed when it is dropped.
    pub fn command(&self, line: &str) -> Result<Command> {
        // Tests that run in the background of a shell have SIGINT ignored, and so would what they start.
        let mut command = Command::new("/usr/bin/env");
        command
            .arg("--default-signal=INT")
            .arg(&Stack::get()?.cli_binary)
            .args(line.split_whitespace())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// Runs a line of words to its end.
    pub async fn run(&self, line: &str) -> Result<Ended> {
        self.run_with(line, "").await
    }

    /// Runs a line of words that reads this from its standard input.
    pub async fn run_with(&self, line: &str, input: &str) -> Result<Ended> {
        let mut child = self.command(line)?.stdin(Stdio::piped()).spawn().context("vkube does not start")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = tokio::time::timeout(ENDS_WITHIN, child.wait_with_output()).await;
        let output = output.with_context(|| format!("vkube {line} does not end"))??;
        let [out, notes] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Ended { status: output.status, out, notes })
    }

    /// Runs a line of words that must do what it says, and returns what it printed.
    pub async fn done(&self, line: &str) -> Result<String> {
        Ok(self.run(line).await?.is(0)?.out)
    }

    /// The same with `--json`, and what it printed read.
    pub async fn json(&self, line: &str) -> Result<Value> {
        let out = self.done(&format!("{line} --json")).await?;
        serde_json::from_str(&out).with_context(|| format!("vkube {line} --json printed {out}"))
    }
}

impl Ended {
    /// Itself, if it ended with this exit code.
    pub fn is(self, code: i32) -> Result<Self> {
        ensure!(self.status.code() == Some(code), "{} instead of {code}: {}{}", self.status, self.out, self.notes);
        Ok(self)
    }
}
