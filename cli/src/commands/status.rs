//! `vkube status`: the pod as its region sees it, once or whenever it changes.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::Context;
use crate::credentials::Caller;
use crate::error::Error;
use crate::retry;
use crate::table::{Table, cell, fields, list};
use crate::text::time;

/// How often a status that is watched is asked for.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// `vkube status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

impl Status {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        let call = context.client.get(Caller::Owner, &["k8s", "pod", "status"])?;
        let (mut seen, mut failures) = (None, 0);
        loop {
            let pause = match context.client.send(&call).await {
                Ok(answer) => {
                    failures = 0;
                    let mut now = answer.value.clone();
                    // Each answer is a new observation, of the same pod perhaps.
                    now.as_object_mut().and_then(|members| members.remove("observedAt"));
                    if seen.as_ref() != Some(&now) {
                        if seen.is_some() && !context.json {
                            writeln!(context.out).map_err(Error::Output)?;
                        }
                        context.show(&answer, print)?;
                        seen = Some(now);
                    }
                    ASK_EVERY
                }
                Err(error) => {
                    let pause = retry::pause_of_watch(failures, &error).filter(|_| self.watch && seen.is_some());
                    let Some(pause) = pause else { return Err(error) };
                    context.note(&format!("{error}; asking again"));
                    failures += 1;
                    pause
                }
            };
            if !self.watch {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
        }
    }
}

fn print(status: &Value, out: &mut dyn Write) -> io::Result<()> {
    let phase = cell(status, "/podStatus/phase");
    let phase = if phase.is_empty() { "no pod: stopped, or not made yet".to_owned() } else { phase };
    let stale = status.get("stale") == Some(&Value::Bool(true));
    let domains: Vec<&str> = list(status, "/domains").iter().filter_map(|bound| bound["domain"].as_str()).collect();
    fields(
        out,
        [
            ("Pod", cell(status, "/name")),
            ("Phase", phase),
            ("Why", cell(status, "/podStatus/message")),
            ("Host", cell(status, "/podStatus/hostIP")),
            ("Started", status.pointer("/podStatus/startTime").map(time).unwrap_or_default()),
            ("Domains", domains.join(", ")),
            ("Observed", status.pointer("/observedAt").map(time).unwrap_or_default()),
            (
                "Stale",
                if stale { "a newer revision was accepted, or the region has lost sight of its cluster" } else { "" }
                    .to_owned(),
            ),
        ],
    )?;
    writeln!(out)?;
    let mut table = Table::new(["CONTAINER", "IMAGE", "STATE", "READY", "RESTARTS", "MEMORY", "PORTS"]);
    for container in list(status, "/podSpec/containers") {
        table.row(row(container, status));
    }
    table.print(out)
}

/// A container of the spec, with what the pod's status says of it.
fn row(container: &Value, status: &Value) -> [String; 7] {
    let name = cell(container, "/name");
    let all = list(status, "/podStatus/containerStatuses");
    let now = all.iter().find(|one| cell(one, "/name") == name).unwrap_or(&Value::Null);
    let ports: Vec<String> = list(container, "/ports").iter().map(port).collect();
    [
        name,
        cell(container, "/image"),
        state(now),
        cell(now, "/ready"),
        cell(now, "/restartCount"),
        cell(container, "/resources/limits/memory"),
        ports.join(", "),
    ]
}

/// The one key of a container's state, and why it is in it.
fn state(container: &Value) -> String {
    let state = container.get("state").and_then(Value::as_object).and_then(|state| state.iter().next());
    let Some((word, details)) = state else { return String::new() };
    let reason = cell(details, "/reason");
    if reason.is_empty() { word.clone() } else { format!("{word} ({reason})") }
}

/// `2999->80/TCP`: the host's port and the container's.
fn port(port: &Value) -> String {
    let (host, inside) = (cell(port, "/hostPort"), cell(port, "/containerPort"));
    let protocol = cell(port, "/protocol");
    if host.is_empty() { format!("{inside}/{protocol}") } else { format!("{host}->{inside}/{protocol}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(status: &Value) -> String {
        let mut out = Vec::new();
        print(status, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pod_is_shown_with_its_containers() {
        let status = json!({
            "name": "x-1",
            "podStatus": {
                "phase": "Running", "hostIP": "158.69.246.226", "startTime": "2021-05-13T08:37:46Z",
                "containerStatuses": [
                    { "name": "web", "state": { "running": {} }, "ready": true, "restartCount": 0 },
                    { "name": "db", "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "ready": false, "restartCount": 7 },
                ],
            },
            "podSpec": { "containers": [
                { "name": "web", "image": "nginx", "resources": { "limits": { "memory": "1Gi" } },
                  "ports": [{ "hostPort": 2999, "containerPort": 80, "protocol": "TCP" }, { "containerPort": 53, "protocol": "UDP" }] },
                { "name": "db", "image": "mysql" },
            ] },
            "domains": null, "observedAt": "2021-05-13T08:40:00.5Z", "stale": true,
        });
        let expected = "\
Pod       x-1
Phase     Running
Host      158.69.246.226
Started   2021-05-13T08:37:46Z
Observed  2021-05-13T08:40:00Z
Stale     a newer revision was accepted, or the region has lost sight of its cluster

CONTAINER  IMAGE  STATE                       READY  RESTARTS  MEMORY  PORTS
web        nginx  running                     true   0         1Gi     2999->80/TCP, 53/UDP
db         mysql  waiting (CrashLoopBackOff)  false  7         -       -
";
        assert_eq!(printed(&status), expected);
    }

    #[test]
    fn a_stopped_pod_is_shown_by_its_template() {
        let status =
            json!({ "name": "x", "podStatus": {}, "podSpec": { "containers": [{ "name": "web", "image": "nginx" }] } });
        let text = printed(&status);
        assert!(text.contains("Phase  no pod: stopped, or not made yet\n"), "{text}");
        assert!(text.ends_with("web        nginx  -      -      -         -       -\n"), "{text}");
    }
}
