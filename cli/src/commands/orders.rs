//! `vkube orders`: what an operator does with orders (`wire.md` §7); and `vkube info`, which shows one to its owner.

use std::io::{self, Write};

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::change::{self, Changing};
use super::jobs::{self, Paging};
use crate::args::id;
use crate::client::Answer;
use crate::credentials::Caller;
use crate::error::Error;
use crate::table::{Table, cell, fields, list};
use crate::text::time;

mod create;

pub(crate) use create::Create;

/// `vkube orders`.
#[derive(Debug, Subcommand)]
pub(crate) enum Orders {
    /// Make an order; its secret is shown this once
    Create(Box<Create>),
    /// List orders, newest first
    List {
        /// Only of this region
        #[arg(long)]
        region: Option<String>,
        /// Only in this state, such as `ServiceRunning`
        #[arg(long)]
        status: Option<String>,
        /// Only of this customer
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an order with its jobs and ports
    Show {
        /// The order's id
        #[arg(value_parser = id)]
        id: String,
    },
    /// Add hours to an order's paid time
    Extend {
        /// The order's id
        #[arg(value_parser = id)]
        id: String,
        /// How many
        #[arg(long, value_name = "N")]
        hours: u32,
    },
    /// End an order: what runs is deleted, its ports become free
    Abort {
        /// The order's id
        #[arg(value_parser = id)]
        id: String,
        /// Why, for the order's history
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        changing: Changing,
    },
    /// Give an order a new secret, shown this once
    Secret {
        /// The order's id
        #[arg(value_parser = id)]
        id: String,
        /// How long the old one works on; 0 unless given
        #[arg(long, value_name = "SECONDS")]
        overlap: Option<u64>,
    },
}

impl Orders {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List { region, status, email, paging } => {
                let filters = [("region", region), ("status", status), ("email", email)];
                list_orders(filters, paging, context).await
            }
            Self::Show { id } => {
                let call = context.client.get(Caller::Operator, &["admin", "orders", &id])?;
                let answer = context.client.send(&call).await?;
                context.show(&answer, print_details)
            }
            Self::Extend { id, hours } => {
                let answer = post(&id, "extend", &json!({ "hours": hours }), context).await?;
                context.show(&answer, |answer, out| print(answer.get("order").unwrap_or(answer), out))
            }
            Self::Abort { id, reason, changing } => abort(&id, &reason, &changing, context).await,
            Self::Secret { id, overlap } => replace_secret(&id, overlap, context).await,
        }
    }
}

/// Shows the order that the secret opens.
pub(crate) async fn info(context: &mut Context<'_>) -> Result<(), Error> {
    let call = context.client.get(Caller::Owner, &["k8s", "userService"])?;
    let answer = context.client.send(&call).await?;
    context.show(&answer, print)
}

/// A change of an order, made once however often it has to be sent.
async fn post(id: &str, verb: &str, body: &Value, context: &mut Context<'_>) -> Result<Answer, Error> {
    let call = context.client.post(Caller::Operator, &["admin", "orders", id, verb], body)?;
    change::send_once(call, context).await
}

async fn list_orders(
    filters: [(&str, Option<String>); 3],
    mut paging: Paging,
    context: &mut Context<'_>,
) -> Result<(), Error> {
    let mut table = Table::new(["ORDER", "STATUS", "RESOURCES", "REGION", "HOURS", "CREATED", "END AT"]);
    loop {
        let mut call = context.client.get(Caller::Operator, &["admin", "orders"])?;
        for (name, value) in &filters {
            call = call.query(name, value.as_deref());
        }
        call = call.query("limit", paging.limit).query("after", paging.after.as_deref());
        let page = context.client.send(&call).await?;
        context.show(&page, |page, out| {
            table.rows(list(page, "/orders").iter().map(row));
            table.print(out)
        })?;
        if !paging.turn(&page, context)? {
            return Ok(());
        }
    }
}

async fn abort(id: &str, reason: &str, changing: &Changing, context: &mut Context<'_>) -> Result<(), Error> {
    let body = json!({ "reason": reason });
    let call = context.client.post(Caller::Operator, &["admin", "orders", id, "abort"], &body)?;
    let answer = changing.send(call, context).await?;
    let job = answer.value.get("job").filter(|job| !job.is_null()).cloned();
    context.show(&answer, |_, out| match &job {
        Some(job) => jobs::print(job, out),
        None => writeln!(out, "aborted; nothing was deployed"),
    })?;
    job.as_ref().map_or(Ok(()), |job| jobs::ended(job, Caller::Operator))
}

async fn replace_secret(id: &str, overlap: Option<u64>, context: &mut Context<'_>) -> Result<(), Error> {
    let body = overlap.map_or_else(|| json!({}), |overlap| json!({ "overlapSeconds": overlap }));
    let answer = post(id, "secret", &body, context).await?;
    let secret = cell(&answer.value, "/secret");
    // The answer to a repeated key names the order alone.
    if secret.is_empty() {
        let lost = "the secret was replaced, but the answer with the new one was lost; run it again";
        return Err(Error::Unknown(lost.to_owned()));
    }
    context.show(&answer, |_, out| fields(out, [("Secret", secret)]))
}

fn row(order: &Value) -> [String; 7] {
    let cell = |pointer: &str| cell(order, pointer);
    let time = |pointer: &str| order.pointer(pointer).map(time).unwrap_or_default();
    [
        cell("/id"),
        status(order),
        cell("/serviceOptions/resourceUnit"),
        cell("/serviceOptions/region"),
        cell("/duration"),
        time("/createdAt"),
        time("/endAt"),
    ]
}

/// Where it stands in its life, or at least whether it was aborted.
fn status(order: &Value) -> String {
    let life = cell(order, "/serviceStatus");
    if life.is_empty() { cell(order, "/status") } else { life }
}

/// Prints an order for people.
pub(crate) fn print(order: &Value, out: &mut dyn Write) -> io::Result<()> {
    fields(out, pairs(order))
}

/// What people want to know of an order.
fn pairs(order: &Value) -> Vec<(&'static str, String)> {
    let cell = |pointer: &str| cell(order, pointer);
    let time = |pointer: &str| order.pointer(pointer).map(time).unwrap_or_default();
    vec![
        ("Order", cell("/id")),
        ("Status", status(order)),
        ("Resources", cell("/serviceOptions/resourceUnit")),
        ("Ports", cell("/serviceOptions/portSpecification")),
        ("Storage", cell("/serviceOptions/persistStorage")),
        ("Region", cell("/serviceOptions/region")),
        ("Hours", cell("/duration")),
        ("Created", time("/createdAt")),
        ("Activated", time("/serviceActivateTS")),
        ("Warning at", time("/warnAt")),
        ("End at", time("/endAt")),
        ("Deletion at", time("/deleteAt")),
        ("Amount", cell("/amount")),
        ("Email", cell("/email")),
        ("Service", cell("/service")),
        ("Provider", cell("/provider")),
        ("Description", cell("/description")),
        ("Label", cell("/customizedLabel")),
    ]
}

fn print_details(details: &Value, out: &mut dyn Write) -> io::Result<()> {
    let mut known = pairs(details.get("order").unwrap_or(details));
    known.push(("Made by", cell(details, "/madeBy")));
    fields(out, known)?;
    let ports = list(details, "/ports");
    if !ports.is_empty() {
        writeln!(out)?;
        let mut table = Table::new(["HOST PORT", "PROTOCOL", "STATE"]);
        for port in ports {
            table.row(["/hostPort", "/protocol", "/state"].map(|pointer| cell(port, pointer)));
        }
        table.print(out)?;
    }
    let jobs = list(details, "/jobs");
    if !jobs.is_empty() {
        writeln!(out)?;
        let mut table = jobs::table();
        table.rows(jobs.iter().map(jobs::row));
        table.print(out)?;
    }
    Ok(())
}
