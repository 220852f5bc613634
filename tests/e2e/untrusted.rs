//! What containers say is untrusted: it is passed on to whose it is, under its own type, and goes nowhere else.

use std::time::Duration;

use anyhow::Result;
use e2e::door::{Call, Door, Doors};
use e2e::http::Answer;
use e2e::log_stream::LogStream;
use e2e::order::OrderOptions;
use e2e::pod::{container, pod, with};
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

/// What nothing else says.
const MARK: &str = "w0rd-0f-4-c0nt41n3r";

/// What a container prints: the end of a head, another head, a terminal's commands, an event of a stream, and JSON.
const SAID: &str = "w0rd-0f-4-c0nt41n3r\r\nX-Injected: 1\rX-Injected: 2\r\n\r\n\u{1b}[2J\u{7}\u{8}\u{85}\u{2028}\nevent: end\ndata: {}\nid: 1\n\n\",\"error\":{\n";

/// What it says when it ends.
const LAST: &str = "w0rd-0f-4-c0nt41n3r\r\nX-Injected: 1\u{1b}[2J";

/// A text as `printf` of a shell is told it.
fn printed(text: &str) -> String {
    text.bytes().fold(String::new(), |printed, byte| format!("{printed}\\{byte:03o}"))
}

fn is_plain(answer: &Answer, kind: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-injected"), None);
    assert!(answer.header("content-type").is_some_and(|told| told.starts_with(kind)), "{:?}", answer.headers);
    let headers = format!("{:?}", answer.headers);
    assert!(!headers.contains(MARK) && !headers.contains("Injected"), "{headers}");
}

#[test]
fn what_a_container_says_reaches_whose_it_is_and_no_header_no_event_and_no_log() -> Result<()> {
    test(async |t| {
        let system = t.system(t.stack.region.as_str(), 1, 1).await?;
        let shell = |name: &str, script: String| {
            with(container(name, "busybox:1"), "command", json!(["/bin/sh", "-c", script]))
        };
        let says = shell("says", format!("printf '{}'; tail -f /dev/null", printed(SAID)));
        let ends = shell("ends", format!("printf '{}' >/dev/termination-log; exit 3", printed(LAST)));
        let order = t.order_of(&system, &OrderOptions::units(2)).await?;
        order.deployed(&pod(t.stack.region.as_str(), &[says, ends])).await?;
        // The container runtime takes the carriage return that ends a line for a part of its end.
        let said = json!(SAID.replace("\r\n", "\n"));
        until("all is said", Duration::from_mins(1), async || {
            let log = order.log("?container=says").await?;
            let status = order.status().await?;
            let ended = status.body.to_string().contains("exitCode");
            Ok((log.status == 200 && log.body == said && ended).then_some(()))
        })
        .await?;

        let doors = Doors::of(&system).await?;
        let log = order.log("?container=says").await?;
        assert_eq!(log.header("x-content-type-options"), Some("nosniff"));
        let by_nats = Call::of("get_pod_log").with("secret", &order.secret).with("container", "says");
        for answer in [log, doors.ask(Door::Nats, &by_nats).await?] {
            is_plain(&answer, "application/json");
            assert_eq!(answer.body, said, "to the letter");
        }
        let by_nats = Call::of("get_pod_status").with("secret", &order.secret);
        for answer in [order.status().await?, doors.ask(Door::Nats, &by_nats).await?] {
            is_plain(&answer, "application/json");
            assert!(texts(&answer.body).contains(&LAST), "{}", answer.body);
        }
        let mut stream = LogStream::open(&order, "?container=says&unfollow=true").await?;
        let mut lines = Vec::new();
        while let Some(event) = stream.next().await? {
            if event.name == "end" {
                assert!(event.json()?.get("reason").is_some(), "only ours ends it");
                break;
            }
            lines.push(event.text());
        }
        // A carriage return ends a line of a stream: what comes after it is told as a further line of the same event.
        assert_eq!(lines.join("\n"), SAID.replace("\r\n", "\n").trim_end_matches('\n').replace('\r', "\n"));

        let info = order.request(Method::GET, "/k8s/order").send().await?;
        assert!(!info.body.to_string().contains(MARK), "the order says nothing of it");
        for process in [&system.apis[0].process, &system.workers[0].process] {
            let log = std::fs::read_to_string(process.log())?;
            let at = log.lines().find(|line| line.contains(MARK) || line.contains("Injected"));
            assert_eq!(at, None, "{} says it again", process.name());
            assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{} has control characters", process.name());
        }
        Ok(())
    })
}

/// All texts in a value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
