//! The command line as a whole: what every command takes, and the list of commands. What only one of them takes stands
//! beside its code.

use std::path::PathBuf;

use clap::builder::Styles;
use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;

use crate::commands::{change, completions, deploy, image, jobs, logs, orders, ports, regions, status};

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the API refused (4xx)
    2  wrong usage, or a file that cannot be read
    3  the API cannot be reached, failed (5xx) or did not answer in time
    4  the job was accepted and has not ended (202)
    5  the job has ended, Failed or Superseded
  130  ended by Ctrl-C";

/// Runs containers on vkube: orders, deploys, status, logs, jobs, ports, regions, images
#[derive(Debug, Parser)]
#[command(name = "vkube", version, after_help = EXIT_CODES, styles = Styles::plain())]
pub struct Cli {
    /// How to reach the API.
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Print the API's own JSON, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to reach the API, and what opens it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Connection {
    /// Where the API is
    #[arg(
        long,
        global = true,
        env = "VKUBE_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        hide_env_values = true
    )]
    pub(crate) url: String,

    /// The order's secret; in the environment or a file it is not in the list of processes
    #[arg(long, global = true, env = "VKUBE_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub(crate) secret: Option<SecretString>,

    /// File with the order's secret; goes before --secret
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,

    /// The operator's token, for orders and regions --operator
    #[arg(long, global = true, env = "VKUBE_OPERATOR_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) operator_token: Option<SecretString>,

    /// File with the operator's token; goes before --operator-token
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) operator_token_file: Option<PathBuf>,

    /// Longest wait for one answer, in seconds, on top of what --wait asks for
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make, list, show, extend and abort orders (operator)
    #[command(subcommand)]
    Orders(orders::Orders),
    /// Deploy the order's containers
    Deploy(deploy::Deploy),
    /// Show the pod's status
    Status(status::Status),
    /// Show the order that the secret opens
    Info,
    /// Restart the pod's containers
    Restart(change::Changing),
    /// Stop the pod; its ports, volume and configuration are kept
    Stop(change::Changing),
    /// Start a stopped pod
    Start(change::Changing),
    /// Print or follow a container's log
    Logs(logs::Logs),
    /// List, show, watch and cancel the order's jobs
    Jobs(jobs::Jobs),
    /// Ask about host ports
    #[command(subcommand)]
    Ports(ports::Ports),
    /// List the regions that are there
    Regions(regions::Regions),
    /// Check that an image exists for linux/amd64
    Image(image::Image),
    /// Print a shell's completion script
    Completions(completions::Completions),
}

impl Command {
    /// Whether a registry's password is sent. That of a deploy goes with the order's secret.
    pub(crate) fn has_password(&self) -> bool {
        matches!(self, Self::Image(image) if image.has_password())
    }
}

/// A name that becomes a part of a path: it cannot lead elsewhere.
pub(crate) fn id(text: &str) -> Result<String, String> {
    let visible = (1..=253).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && text.bytes().any(|byte| byte != b'.') {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 253 visible ASCII characters, and not only dots".to_owned())
    }
}
