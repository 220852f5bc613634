//! `vkube regions`: the regions that are there, and for the operator what each of them has.

use std::io::{self, Write};

use clap::Args;
use serde_json::Value;

use super::Context;
use crate::credentials::Caller;
use crate::error::Error;
use crate::table::{Table, cell, list};
use crate::text::escaped;

/// `vkube regions`.
#[derive(Debug, Args)]
pub(crate) struct Regions {
    /// All that the operator may know of each: workers, nodes, ports, queue
    #[arg(long)]
    operator: bool,
}

impl Regions {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        let (caller, path) = if self.operator { (Caller::Operator, "admin") } else { (Caller::Anyone, "k8s") };
        let call = context.client.get(caller, &[path, "regions"])?;
        let answer = context.client.send(&call).await?;
        context.show(&answer, if self.operator { details } else { names })
    }
}

/// One region a line.
fn names(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let names = answer.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.into_iter().try_for_each(|name| writeln!(out, "{}", escaped(name)))
}

/// A region a row; its workers in a table of their own.
fn details(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let regions = list(answer, "/regions");
    let mut table =
        Table::new(["REGION", "LIVE", "CLUSTER", "NODES", "CPU", "MEMORY", "PORTS", "QUEUE", "OLDEST", "HELD"]);
    table.rows(regions.iter().map(|region| {
        let oldest = region.pointer("/oldestJobSeconds").and_then(Value::as_u64);
        [
            cell(region, "/region"),
            cell(region, "/live"),
            cell(region, "/clusterVersion"),
            list(region, "/nodes").len().to_string(),
            used(region, "cpuMillis", |millis| format!("{:.1}", millis / 1000.0)),
            used(region, "memoryBytes", |bytes| format!("{:.1} Gi", bytes / f64::from(1 << 30))),
            cell(region, "/portsUsed"),
            cell(region, "/queueLength"),
            oldest.map(|seconds| format!("{seconds} s")).unwrap_or_default(),
            cell(region, "/deletesHeld"),
        ]
    }));
    table.print(out)?;
    let mut workers = Table::new(["WORKER", "REGION", "VERSION", "READY", "IN HAND", "LAST SEEN"]);
    for region in regions {
        workers.rows(list(region, "/workers").iter().map(|worker| {
            [
                cell(worker, "/instance"),
                cell(region, "/region"),
                cell(worker, "/version"),
                cell(worker, "/ready"),
                cell(worker, "/inFlight"),
                cell(worker, "/lastSeen"),
            ]
        }));
    }
    writeln!(out)?;
    workers.print(out)
}

/// What is requested of what there is.
fn used(region: &Value, member: &str, print: impl Fn(f64) -> String) -> String {
    let amount = |of: &str| region.pointer(&format!("/{of}/{member}")).and_then(Value::as_f64);
    match (amount("requests"), amount("capacity")) {
        (Some(requests), Some(capacity)) => format!("{} of {}", print(requests), print(capacity)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn regions_are_one_a_line_and_for_operators_a_row_with_their_workers() {
        let mut out = Vec::new();
        names(&json!(["ausrine", "giltine"]), &mut out).unwrap();
        let resources = |cpu, memory| json!({ "cpuMillis": cpu, "memoryBytes": memory });
        let region = json!({ "region": "ausrine", "live": true, "clusterVersion": "v1.36.3", "nodes": [{}],
            "capacity": resources(2000, 4_i64 << 30), "requests": resources(500, 1_i64 << 30), "portsUsed": 3,
            "queueLength": 2, "oldestJobSeconds": 7, "deletesHeld": 0, "workers": [{ "instance": "worker-1",
            "version": "0.1\n.0", "ready": true, "inFlight": 1, "lastSeen": "2026-01-02T03:04:05Z" }] });
        details(&json!({ "regions": [region] }), &mut out).unwrap();
        let expected = "\
ausrine
giltine
REGION   LIVE  CLUSTER  NODES  CPU         MEMORY            PORTS  QUEUE  OLDEST  HELD
ausrine  true  v1.36.3  1      0.5 of 2.0  1.0 Gi of 4.0 Gi  3      2      7 s     0

WORKER    REGION   VERSION  READY  IN HAND  LAST SEEN
worker-1  ausrine  0.1\\n.0  true   1        2026-01-02T03:04:05Z
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
