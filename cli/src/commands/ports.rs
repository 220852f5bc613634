//! `vkube ports check`: which host ports of a region are free.

use std::num::NonZeroU16;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use crate::credentials::Caller;
use crate::error::Error;
use crate::table::{Table, cell, list};

/// `vkube ports`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ports {
    /// Tell which host ports of a region are free
    Check {
        /// The region
        #[arg(long, value_name = "REGION")]
        region: String,
        /// TCP or UDP
        #[arg(long, value_enum, default_value_t = Protocol::Tcp, ignore_case = true)]
        protocol: Protocol,
        /// Ports held by this order count as free
        #[arg(long, value_name = "ID")]
        order: Option<String>,
        /// The ports, 1 to 65535
        #[arg(required = true, value_name = "PORT")]
        ports: Vec<NonZeroU16>,
    },
}

/// A port's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl Ports {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        let Self::Check { region, protocol, order, ports } = self;
        let mut body = json!({ "region": region, "ports": ports, "protocol": protocol.as_str() });
        if let (Some(order), Some(members)) = (order, body.as_object_mut()) {
            members.insert("userServiceID".to_owned(), order.into());
        }
        let call = context.client.post(Caller::Anyone, &["k8s", "checkports"], &body)?;
        let answer = context.client.send(&call).await?;
        let status = cell(&answer.value, "/status");
        match status.as_str() {
            "PortsOccupied" | "NotOccupied" => context.show(&answer, |answer, out| {
                let occupied: Vec<u64> = list(answer, "/occupied").iter().filter_map(Value::as_u64).collect();
                let mut table = Table::new(["PORT", "PROTOCOL", "STATE"]);
                for port in &ports {
                    let state = if occupied.contains(&u64::from(port.get())) { "occupied" } else { "free" };
                    table.row([port.to_string(), protocol.as_str().to_owned(), state.to_owned()]);
                }
                table.print(out)
            }),
            "NoResource" => {
                Err(Error::Unknown(format!("no region {region} is there at the moment; see vkube regions")))
            }
            _ => Err(Error::Unknown("it cannot be told at the moment which ports are free; try again".to_owned())),
        }
    }
}
