//! Restart, stop and start: what the pod does, and what is kept meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::failure::Reason;
use common::ledger::PortState;
use e2e::cluster::page;
use e2e::ledger::Ledger;
use e2e::order::{Order, OrderOptions, number, text};
use e2e::pod::{envs, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

/// Takes a step and expects it to be done.
async fn step(order: &Order, verb: &str) -> Result<Value> {
    let request = order.request(Method::POST, &format!("/k8s/pod/{verb}")).json(&json!({}));
    let job = request.header("prefer", "wait=60").send().await?.ok()?;
    assert_eq!((&job["verb"], &job["state"]), (&json!(verb), &json!("Succeeded")), "{job}");
    Ok(job)
}

#[test]
fn a_stopped_order_keeps_its_ports_and_volume_and_starts_as_the_same_revision() -> Result<()> {
    test(async |t| {
        let port = host_port();
        let order = t.order(&OrderOptions { storage: true, ..OrderOptions::units(1) }).await?;
        let web = with(web("web", port), "mountPath", json!("/data"));
        let env = [("ROOT", "/data".to_owned()), ("PAGE", "the first".to_owned())];
        order.running(&pod("ausrine", &[with(web, "envs", envs(&env))])).await?;
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to the first!"));

        let stopped = step(&order, "stop").await?;
        assert_eq!(number(&stopped, "/revision")?, 1);
        assert!(t.cluster.pods(&order.namespace()).await?.is_empty(), "the answer comes when the pod is gone");
        let status = order.status().await?.ok()?;
        assert_eq!((&status["podStatus"], &status["stale"]), (&json!({}), &json!(false)));
        assert_eq!(status["podSpec"]["containers"][0]["ports"][0]["hostPort"], port);
        let ledger = Ledger::open(&t.shared().await?.nats, &t.stack.region).await?;
        let held = ledger.port(port).await?;
        assert!(matches!(held, Some(PortState::Bound { .. })), "{held:?}");
        // Once more changes nothing.
        step(&order, "stop").await?;

        let started = step(&order, "start").await?;
        assert_eq!(number(&started, "/revision")?, 1);
        order.ready().await?;
        assert!(page(&t.stack.node_address, port).await?.contains("Welcome to the first!"));
        // A start of what runs makes a pod of the same revision.
        step(&order, "start").await?;
        order.ready().await?;
        Ok(())
    })
}

#[test]
fn a_restart_replaces_the_pod_and_not_the_revision() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let before = order.running(&pod("ausrine", &[idle("idle")])).await?;
        let job = step(&order, "restart").await?;
        assert_eq!(number(&job, "/revision")?, 1);
        let after = order.ready().await?;
        assert_ne!(before["name"], after["name"]);
        assert_eq!(before["podSpec"]["containers"], after["podSpec"]["containers"]);
        Ok(())
    })
}

#[test]
fn a_step_that_cannot_be_taken_says_why_and_changes_nothing() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let take =
            async |verb: &str| order.request(Method::POST, &format!("/k8s/pod/{verb}")).json(&json!({})).send().await;
        for verb in ["restart", "stop", "start"] {
            let error = take(verb).await?.refused(404, Reason::NotDeployed)?;
            assert_eq!(error["message"], "nothing is deployed for this order; deploy it first", "{verb}");
        }
        order.deployed(&pod("ausrine", &[idle("idle")])).await?;
        let wrong = order.request(Method::POST, "/k8s/pod/stop").json(&json!({ "now": true }));
        let error = wrong.send().await?.refused(400, Reason::InvalidRequest)?;
        assert_eq!(error["details"][0]["field"], "now");
        let word = order.request(Method::POST, "/k8s/pod/restart?until=ever").send().await?;
        let error = word.refused(400, Reason::InvalidRequest)?;
        assert_eq!(error["details"][0]["field"], "until");
        step(&order, "stop").await?;
        let error = take("restart").await?.refused(409, Reason::OrderStopped)?;
        assert_eq!(error["message"], "the order is stopped; start it");
        let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
        assert_eq!(jobs["jobs"].as_array().context("a list")?.len(), 2);
        Ok(())
    })
}

#[test]
fn one_key_is_one_step() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.deployed(&pod("ausrine", &[idle("idle")])).await?;
        let take = async |verb: &str| {
            let request = order.request(Method::POST, &format!("/k8s/pod/{verb}")).header("idempotency-key", "k");
            request.json(&json!({})).header("prefer", "wait=60").send().await
        };
        let first = take("restart").await?.ok()?;
        assert_eq!(take("restart").await?.ok()?, first);
        take("stop").await?.refused(422, Reason::IdempotencyKeyReused)?;
        // No body is the same as an empty one.
        let bare = order.request(Method::POST, "/k8s/pod/restart").header("idempotency-key", "k");
        assert_eq!(bare.send().await?.ok()?, first);
        Ok(())
    })
}

#[test]
fn whichever_change_is_the_last_is_what_the_order_is() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let (first, second) = (host_port(), host_port());
        order.deployed(&pod("ausrine", &[web("web", first)])).await?;
        // A deploy, and a stop before that has begun.
        order.accepted(&pod("ausrine", &[web("web", second)])).await?;
        let stopped = step(&order, "stop").await?;
        assert_eq!(number(&stopped, "/revision")?, 2, "the stop is of the newest revision");
        let status = order.status().await?.ok()?;
        assert_eq!(status["podSpec"]["containers"][0]["ports"][0]["hostPort"], second);
        step(&order, "start").await?;
        order.ready().await?;
        assert!(page(&t.stack.node_address, second).await?.contains("Welcome to web-1!"));
        let ledger = Ledger::open(&t.shared().await?.nats, &t.stack.region).await?;
        until("the ledger is as the pod", Duration::from_secs(20), async || {
            let bound = matches!(ledger.port(second).await?, Some(PortState::Bound { .. }));
            let freed = matches!(ledger.port(first).await?, None | Some(PortState::Cooling { .. }));
            Ok((bound && freed).then_some(()))
        })
        .await
    })
}

#[test]
fn an_order_says_whether_it_is_stopped() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let order = t.order(&OrderOptions::units(1)).await?;
        order.deployed(&pod("ausrine", &[idle("idle")])).await?;
        step(&order, "stop").await?;
        let client = t.client().await?;
        until("the record says so", Duration::from_secs(10), async || {
            let request = client.get(&format!("/admin/orders/{}", order.id)).operator(&system.operator_token);
            let details = request.send().await?.ok()?;
            Ok((text(&details, "/serviceStatus")? == "ServiceStop").then_some(()))
        })
        .await
    })
}
