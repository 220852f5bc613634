//! `GET /k8s/pod/logs`: a stream shows each line once, whatever happens to what is below it, or says what is missing.

mod basics;
mod limits;
mod restarts;

use anyhow::Result;
use e2e::order::{Order, OrderOptions};
use e2e::pod::{container, pod, with};
use e2e::system::System;
use e2e::test::Test;
use serde_json::{Value, json};

/// A container that runs this script of a shell.
fn shell(name: &str, script: &str) -> Value {
    with(container(name, "busybox:1"), "command", json!(["/bin/sh", "-c", script]))
}

/// A container that writes `line 0`, `line 1`, ... for ever, fifty a second.
fn ticker(name: &str) -> Value {
    shell(name, "i=0; while :; do echo line $i; i=$((i+1)); usleep 20000; done")
}

/// A container that writes the same lines, a thousand a second.
fn flood(name: &str) -> Value {
    let twenty = "j=$((i+20)); while [ $i -lt $j ]; do echo line $i; i=$((i+1)); done";
    shell(name, &format!("i=0; while :; do {twenty}; usleep 20000; done"))
}

/// An order of a system that runs this container.
async fn runs(t: &Test, system: &System, container: &Value) -> Result<Order> {
    let order = t.order_of(system, &OrderOptions::units(1)).await?;
    order.running(&pod(system.region.as_str(), std::slice::from_ref(container))).await?;
    Ok(order)
}
