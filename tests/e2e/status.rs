//! `GET /k8s/pod/status`: before, during and after a deploy, as Kubernetes prints it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::order::{OrderOptions, text};
use e2e::pod::{container, envs, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

#[test]
fn there_is_no_status_before_the_first_deploy() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.status().await?.refused(404, Reason::NotDeployed)?;
        Ok(())
    })
}

#[test]
fn a_status_is_the_pods_own_with_nothing_renamed_or_dropped() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let status = order.running(&pod("ausrine", &[web("web", host_port())])).await?;
        let mut members: Vec<&String> = status.as_object().context("an object")?.keys().collect();
        members.sort();
        assert_eq!(members, ["annotations", "domains", "name", "observedAt", "podSpec", "podStatus", "stale"]);

        // Read past the worker: from the cluster, as raw JSON, once the pod has settled.
        let name = text(&status, "/name")?;
        let pods = format!("/api/v1/namespaces/{}/pods", order.namespace());
        until("both say the same", Duration::from_secs(10), async || {
            let pod = t.cluster.raw(&pods, &name).await?;
            let status = order.status().await?.ok()?;
            let same = status["podStatus"] == pod["status"]
                && status["podSpec"] == pod["spec"]
                && status["annotations"] == pod["metadata"]["annotations"];
            Ok(same.then_some(()))
        })
        .await
    })
}

#[test]
fn a_status_shows_what_a_deploy_is_doing() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        order.deployed(&pod("ausrine", &[web("web", host_port())])).await?;
        // From the answer of the deploy on there is a pod, whatever it does.
        let during = order.status().await?.ok()?;
        assert_eq!(during["podSpec"]["containers"][0]["name"], "web");
        let phase = during.pointer("/podStatus/phase").and_then(Value::as_str).context("the pod was made")?;
        assert!(matches!(phase, "Pending" | "Running"), "{during}");
        let ready = order.ready().await?;
        assert!(text(&ready, "/podStatus/hostIP")? == t.stack.node_address, "{ready}");

        // Of the new revision, never of the old pod, unless it says that it is stale.
        let second = with(web("web", host_port()), "imageName", json!("web:2"));
        order.deployed(&pod("ausrine", &[second])).await?;
        until("the new pod is ready", Duration::from_mins(1), async || {
            let status = order.status().await?.ok()?;
            let new = status["podSpec"]["containers"][0]["image"] == "web:2";
            anyhow::ensure!(new || status["stale"] == true, "an old pod without being stale: {status}");
            Ok(e2e::order::is_ready(&status).then_some(()))
        })
        .await
    })
}

#[test]
fn a_pod_that_finds_no_room_says_why() -> Result<()> {
    test(async |t| {
        // More memory than any test machine has.
        let order = t.order(&OrderOptions::units(900)).await?;
        let large = with(container("large", "pause:1"), "resource", json!({ "memory": "900Gi" }));
        let body = pod("ausrine", &[large]);
        order.deployed(&body).await?;
        until("the status says why", Duration::from_secs(20), async || {
            let status = order.status().await?.ok()?;
            let why = status.pointer("/podStatus/conditions/0/reason").cloned();
            Ok((why == Some("Unschedulable".into())).then_some(()))
        })
        .await?;
        let request = order.request(Method::POST, "/k8s/deploy?until=available").json(&body);
        let answer = request.header("prefer", "wait=60").send().await?;
        assert_eq!(answer.body["error"]["reason"], "NO_ROOM", "{}", answer.body);
        Ok(())
    })
}

#[test]
fn values_of_secrets_are_nowhere_to_be_seen() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let container = with(idle("idle"), "envs", envs(&[("TOKEN", "s3cr3t-value-of-a-customer".to_owned())]));
        let status = order.running(&pod("ausrine", &[container])).await?.to_string();
        assert!(status.contains("TOKEN") && !status.contains("s3cr3t-value-of-a-customer"), "{status}");
        Ok(())
    })
}
