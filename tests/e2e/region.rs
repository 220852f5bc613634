//! What a stolen worker, or anybody else who makes pods in an order's namespace, can and cannot do to a region's cluster
//! (`deploy/kubernetes`).

mod pods;
mod rights;
mod workers;
mod writes;

use anyhow::{Context as _, Result};
use e2e::agreement::at;
use e2e::order::{Order, OrderOptions};
use e2e::pod::{envs, idle, pod, web, with};
use e2e::system::host_port;
use e2e::test::Test;
use kube::Client;
use serde_json::{Value, json};

/// What is asked of the API server: method, path, body.
type Call = (&'static str, String, Value);

/// Asks for something that is not done: the status, and what is wrong.
async fn asked(client: &Client, (method, path, body): &Call) -> Result<(u16, String)> {
    let kind = if *method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
    let request = ::http::Request::builder().method(*method).uri(format!("{path}?dryRun=All"));
    match client.request_text(request.header("content-type", kind).body(bytes)?).await {
        Ok(_) => Ok((200, String::new())),
        Err(kube::Error::Api(status)) => Ok((status.code, status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// An order that uses all that a pod may have, and its pod as it would be made anew.
async fn order_with_pod(t: &Test) -> Result<(Order, Value)> {
    let order = t.order(&OrderOptions { storage: true, ..OrderOptions::units(2) }).await?;
    let container = with(web("web", host_port()), "mountPath", json!("/data"));
    let container = with(container, "envs", envs(&[("TOKEN", "x".to_owned())]));
    let container = with(with(container, "configMountPath", json!("/etc/a.conf")), "config", json!("a"));
    order.running(&pod("ausrine", &[container, idle("beside")])).await?;
    let mut spec = at(&made(t, &order).await?, "/spec").clone();
    // What others put there: the scheduler, and an admission plugin.
    for set in ["nodeName", "priority", "preemptionPolicy"] {
        spec.as_object_mut().context("a spec")?.remove(set);
    }
    Ok((order, json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "tried" }, "spec": spec })))
}

/// The order's pod.
async fn made(t: &Test, order: &Order) -> Result<Value> {
    let pods = t.cluster.list(&format!("/api/v1/namespaces/{}/pods", order.namespace())).await?;
    pods.into_iter().next().context("a pod")
}
