//! `vkube deploy`: the order's containers as a new revision.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::Value;

use super::Context;
use super::change::{self, Changing};
use crate::credentials::{Caller, name, read_file};
use crate::error::Error;
use crate::table::{Table, cell, fields, list};

/// The largest body that is sent, in bytes; the API's own limit may be lower.
const MAX_BODY: u64 = 4 * 1024 * 1024;

/// `vkube deploy`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The body of POST /k8s/deploy, in JSON; - reads the standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// When the deploy is done: once the pod was made, or once every container is ready
    #[arg(long, value_enum, default_value_t = Until::Created)]
    until: Until,

    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Until {
    Created,
    Available,
}

impl Deploy {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        let body = read_file(&self.file, MAX_BODY)?;
        serde_json::from_slice::<serde::de::IgnoredAny>(&body)
            .map_err(|error| Error::Usage(format!("{} holds no JSON: {error}", name(&self.file))))?;
        let call = context.client.call(Method::POST, Caller::Owner, &["k8s", "deploy"])?.body(body);
        let call = call.query("until", (self.until == Until::Available).then_some("available"));
        let answer = self.changing.send(call, context).await?;
        change::show(&answer, context, print)
    }
}

fn print(deployed: &Value, out: &mut dyn Write) -> io::Result<()> {
    fields(
        out,
        [
            ("Order", cell(deployed, "/orderId")),
            ("Status", cell(deployed, "/status")),
            ("Revision", cell(deployed, "/revision")),
            ("Job", cell(deployed, "/id")),
        ],
    )?;
    let ports = list(deployed, "/ports");
    if ports.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new(["CONTAINER", "PORT", "HOST PORT", "PROTOCOL"]);
    for port in ports {
        table.row(["/container", "/containerPort", "/hostPort", "/protocol"].map(|pointer| cell(port, pointer)));
    }
    table.print(out)
}
