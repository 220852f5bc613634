//! What is bounded: time, and how much is in work at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::order::OrderOptions;
use e2e::pod::{idle, pod};
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[test]
fn a_question_that_nobody_answers_is_given_up_in_time() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("silent").await?;
        let api = system.new_api(&[("VKUBE_READ_DEADLINE_MS", "1000")]).await?;
        system.apis.push(api);
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deployed(&pod("silent", &[idle("idle")])).await?;
        system.workers[0].process.pause().await?;
        for call in ["status", "log"] {
            let begun = Instant::now();
            let answer = order.request(Method::GET, &format!("/k8s/pod/{call}")).send().await?;
            answer.refused(504, Reason::DeadlineExceeded)?;
            // Not the 10 s that it is by default.
            assert!(begun.elapsed() < Duration::from_secs(8), "{call} took {:?}", begun.elapsed());
        }
        system.workers[0].process.resume()?;
        until("it answers again", Duration::from_secs(20), async || {
            Ok((order.status().await?.status == 200).then_some(()))
        })
        .await
    })
}

#[test]
fn more_than_can_be_in_work_at_once_is_turned_away() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("full").await?;
        for settings in [&[][..], &[("VKUBE_HTTP_MAX_IN_FLIGHT", "2")]] {
            let api = system.new_api(settings).await?;
            system.apis.push(api);
        }
        let worker = system.new_worker(&[])?;
        system.workers.push(worker);
        system.ready().await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let small = &system.apis[1].client;
        system.workers[0].process.pause().await?;
        let body = pod("full", &[idle("idle")]);
        let waiting: Vec<_> =
            (0..2).map(|_| tokio::spawn(order.by(small).deploy(&body).header("prefer", "wait=30").send())).collect();
        until("both are in work", Duration::from_secs(25), async || {
            let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
            Ok(jobs.pointer("/jobs/1").map(|_| ()))
        })
        .await?;
        let turned_away = small.get("/k8s/regions").send().await?;
        assert!(turned_away.header("retry-after").is_some());
        turned_away.refused(503, Reason::Overloaded)?;
        system.workers[0].process.resume()?;
        for waiting in waiting {
            let answer = waiting.await??;
            // The newer of the two may have replaced the older.
            assert!(matches!(answer.status, 200 | 409), "{}", answer.body);
        }
        small.get("/k8s/regions").send().await?.ok()?;
        Ok(())
    })
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() -> Result<()> {
    test(async |t| {
        let address = t.shared().await?.apis[0].url.trim_start_matches("http://").to_owned();
        let mut connection = TcpStream::connect(&address).await?;
        let head = format!(
            "POST /api/v1/k8s/checkports HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        );
        connection.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        let limit = Duration::from_mins(1);
        tokio::time::timeout(limit, connection.read_to_string(&mut answer)).await.context("no answer")??;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        assert!(head.starts_with("HTTP/1.1 408 "), "{answer}");
        let body: Value = serde_json::from_str(body)?;
        assert_eq!((&body["error"]["code"], &body["error"]["reason"]), (&408.into(), &"REQUEST_TIMEOUT".into()));
        Ok(())
    })
}
