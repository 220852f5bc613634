//! `GET /k8s/pod/log`: of one and of several containers, with every query parameter.

use std::time::Duration;

use anyhow::Result;
use common::failure::Reason;
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{container, counter, pod, with};
use e2e::test::{Test, test};
use e2e::until::until;
use serde_json::json;

/// The lines that [`counter`] writes.
fn lines(numbers: std::ops::RangeInclusive<u32>) -> String {
    let lines: Vec<String> = numbers.map(|number| format!("line {number}\n")).collect();
    lines.concat()
}

/// An order whose counter has written ten lines.
async fn counted(t: &Test) -> Result<Order> {
    let order = t.order(&OrderOptions::units(1)).await?;
    order.running(&pod("ausrine", &[counter("counter", 10)])).await?;
    until("ten lines are there", Duration::from_secs(10), async || {
        Ok((order.log_text("").await? == lines(1..=10)).then_some(()))
    })
    .await?;
    Ok(order)
}

#[test]
fn a_log_is_one_string_and_parameters_choose_its_part() -> Result<()> {
    test(async |t| {
        let order = counted(t).await?;
        for (query, expected) in [
            ("", lines(1..=10)),
            ("?container=counter", lines(1..=10)),
            ("?tailLines=3", lines(8..=10)),
            ("?tailLines=0", String::new()),
            ("?tailLines=100", lines(1..=10)),
            ("?sinceSeconds=3600", lines(1..=10)),
            ("?timestamps=false&previous=False", lines(1..=10)),
            ("?tailLines=2&timestamps=False&container=counter&unknown=x", lines(9..=10)),
        ] {
            assert_eq!(order.log_text(query).await?, expected, "{query}");
        }
        for query in ["?timestamps=true", "?timestamps=True&tailLines=10"] {
            let log = order.log_text(query).await?;
            assert_eq!(log.lines().count(), 10, "{log}");
            for (number, line) in log.lines().enumerate() {
                let (time, rest) = line.split_once(' ').unwrap();
                assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{line}");
                assert_eq!(rest, format!("line {}", number + 1));
            }
        }
        Ok(())
    })
}

#[test]
fn only_what_is_young_enough_is_shown() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        // A line each second, for ever.
        order.running(&pod("ausrine", &[container("slow", "counter:1")])).await?;
        until("the sixth line is there", Duration::from_secs(30), async || {
            Ok(order.log_text("").await?.contains("line 6\n").then_some(()))
        })
        .await?;
        let young = order.log_text("?sinceSeconds=3").await?;
        assert!(!young.is_empty() && !young.contains("line 1\n"), "{young}");
        Ok(())
    })
}

#[test]
fn of_several_containers_one_must_be_named() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        order.running(&pod("ausrine", &[counter("one", 2), counter("two", 3)])).await?;
        let error = order.log("").await?.refused(400, Reason::ContainerUnknown)?;
        let message = text(&error, "/message")?;
        assert!(message.contains("one") && message.contains("two"), "{message}");
        let error = order.log("?container=three").await?.refused(400, Reason::ContainerUnknown)?;
        let message = text(&error, "/message")?;
        assert!(message.contains("one") && message.contains("two"), "{message}");
        for (name, count) in [("one", 2), ("two", 3)] {
            until("its lines are there", Duration::from_secs(10), async || {
                let log = order.log_text(&format!("?container={name}")).await?;
                Ok((log == lines(1..=count)).then_some(()))
            })
            .await?;
        }
        Ok(())
    })
}

#[test]
fn the_log_before_the_last_restart_is_kept() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        // Says which time it is by a file of the pod, as a container starts anew with an empty disk.
        let script = "/bin/sh\n-c\necho \"start $(date +%s%N)\"; sleep 2; exit 1";
        let restarting = with(container("restarting", "busybox:1"), "command", json!(script));
        order.deployed(&pod("ausrine", &[restarting])).await?;
        let count = async || -> Result<u64> {
            let status = order.status().await?.ok()?;
            Ok(status
                .pointer("/podStatus/containerStatuses/0/restartCount")
                .and_then(serde_json::Value::as_u64)
                .unwrap_or(0))
        };
        until("it runs", Duration::from_secs(30), async || {
            let log = order.log("").await?;
            Ok((log.status == 200 && log.body.as_str().is_some_and(|log| log.starts_with("start"))).then_some(()))
        })
        .await?;
        if count().await? == 0 {
            let error = order.log("?previous=true").await?;
            // Unless it restarted this very moment.
            assert!(error.status >= 400 || count().await? > 0, "there is nothing before: {}", error.body);
        }
        until("it has restarted", Duration::from_mins(1), async || Ok((count().await? > 0).then_some(()))).await?;
        until("both logs are there", Duration::from_secs(30), async || {
            let (now, before) = (order.log("").await?, order.log("?previous=True").await?);
            let both = now.status == 200 && before.status == 200;
            Ok((both && now.body != before.body && before.body.as_str().is_some_and(|log| log.starts_with("start")))
                .then_some(()))
        })
        .await
    })
}

#[test]
fn bytes_that_are_no_text_and_escape_sequences_are_carried_safely() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let script = r#"/bin/sh
-c
printf 'quote " backslash \\ escape \033[31m žąsis \377\n'; tail -f /dev/null"#;
        let container = with(container("odd", "busybox:1"), "command", json!(script));
        order.running(&pod("ausrine", &[container])).await?;
        let log = until("something is logged", Duration::from_secs(10), async || {
            Ok(Some(order.log_text("").await?).filter(|log| !log.is_empty()))
        })
        .await?;
        assert_eq!(log, "quote \" backslash \\ escape \u{1b}[31m žąsis \u{fffd}\n");
        Ok(())
    })
}

#[test]
fn a_long_log_is_cut_to_its_last_mebibyte() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        // 40,000 lines of 64 bytes: 2.5 MiB.
        let script = "/bin/sh\n-c\nyes \"$(printf '%063d' 0)\" | head -n 40000; echo the end; tail -f /dev/null";
        let container = with(container("long", "busybox:1"), "command", json!(script));
        order.running(&pod("ausrine", &[container])).await?;
        let log = until("the end is logged", Duration::from_secs(30), async || {
            Ok(Some(order.log_text("").await?).filter(|log| log.ends_with("the end\n")))
        })
        .await?;
        assert!(log.len() <= 1 << 20 && log.len() > 900 << 10, "{} bytes", log.len());
        assert!(log.starts_with(&format!("{:063}\n", 0)), "it is cut between lines: {:?}", log.get(..80));
        Ok(())
    })
}

#[test]
fn there_is_no_log_before_there_is_a_pod() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.log("").await?.refused(404, Reason::NotDeployed)?;
        order.deployed(&pod("ausrine", &[container("web", "no-such-image:1")])).await?;
        let error = order.log("").await?;
        assert!(matches!(error.status, 404 | 409), "the container has not begun: {} {}", error.status, error.body);
        assert_eq!(error.body["error"]["reason"], "LOG_UNAVAILABLE");
        Ok(())
    })
}

#[test]
fn a_pod_that_no_node_has_room_for_has_no_log() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1000)).await?;
        let large = with(container("large", "pause:1"), "resource", json!({ "memory": "900Gi" }));
        order.deployed(&pod("ausrine", &[large])).await?;
        until("its status says that it finds no room", Duration::from_secs(20), async || {
            let status = order.status().await?.ok()?;
            let why = status.pointer("/podStatus/conditions/0/reason").cloned();
            Ok((why == Some("Unschedulable".into())).then_some(()))
        })
        .await?;
        let error = order.log("").await?.refused(409, Reason::LogUnavailable)?;
        assert_eq!(error["message"], "container large has no log yet; try again in a moment");
        Ok(())
    })
}
