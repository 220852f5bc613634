//! Keys are replaced while orders go on: `docs/SECURITY.md`, "Replacing a key".

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::operator::Operator;
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{envs, idle, pod, with};
use e2e::system::{END_WITHIN, READY_WITHIN, System};
use e2e::test::test;
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

const SECRET_KEYS: &str = "VKUBE_SECRET_KEY_FILES";
const REGION_KEYS: &str = "VKUBE_SEAL_PRIVATE_KEY_FILES";

#[test]
fn a_key_of_order_secrets_is_replaced_and_no_customer_notices() -> Result<()> {
    test(async |t| {
        let mut system = t.system("keyed", 1, 1).await?;
        let used = t.order_of(&system, &OrderOptions::units(1)).await?;
        let unused = t.order_of(&system, &OrderOptions::units(1)).await?;
        let body = pod("keyed", &[idle("idle")]);
        let deploy = async || {
            let request = used.deploy(&body).header("idempotency-key", "k").header("prefer", "wait=60");
            text(&request.send().await?.ok()?, "/id")
        };
        let job = deploy().await?;

        let old = system.file("secret-key");
        let new = system.make_key("newer-secret-key")?;
        let both = format!("{new},{old}");
        let lines = async |system: &System| -> Result<Vec<[String; 2]>> {
            let printed = system.apis[0].says("secret-keys", &[(SECRET_KEYS, &both)]).await?;
            let line = |line: &str| {
                let (_, rest) = line.split_once("  ").context("an id")?;
                let (place, orders) = rest.split_once("  ").context("a place")?;
                Ok([place.to_owned(), orders.to_owned()])
            };
            printed.lines().map(line).collect()
        };
        let table = |new: &str, old: &str| {
            let place = |n| format!("file {n} of {SECRET_KEYS}");
            vec![[place(1), new.to_owned()], [place(2), old.to_owned()]]
        };
        let mut ids = [used.id.as_str(), unused.id.as_str()];
        ids.sort_unstable();
        assert_eq!(lines(&system).await?, table("0 orders", &format!("2 orders: {}", ids.join(", "))));

        begin_api(&mut system, &both).await?;
        assert_eq!(deploy().await?, job, "what was said before is known again");
        assert_eq!(lines(&system).await?, table(&one(&used), &one(&unused)));

        begin_api(&mut system, &new).await?;
        used.request(Method::GET, "/k8s/order").send().await?.ok()?;
        let refused = unused.request(Method::GET, "/k8s/order").send().await?;
        refused.refused(401, Reason::Unauthorized)?;
        let replaced = Operator::of(&system)?.change(&unused, "secret", &json!({})).send().await?.ok()?;
        let unused = unused.with_secret(&text(&replaced, "/secret")?);
        unused.request(Method::GET, "/k8s/order").send().await?.ok()?;
        Ok(())
    })
}

#[test]
fn a_key_of_a_region_is_replaced_and_opens_until_no_revision_needs_it() -> Result<()> {
    test(async |t| {
        let mut system = t.system("rekeyed", 1, 1).await?;
        let first = t.order_of(&system, &OrderOptions::units(1)).await?;
        let second = t.order_of(&system, &OrderOptions::units(1)).await?;
        let body = pod("rekeyed", &[with(idle("idle"), "envs", envs(&[("TOKEN", "v4lu3".to_owned())]))]);
        first.deployed(&body).await?;

        let old = system.file("seal-key");
        let new = system.make_key("newer-seal-key")?;
        let both = format!("{new},{old}");
        let printed = system.workers[0].says("keys", &[(REGION_KEYS, &both)]).await?;
        let ids: Vec<&str> = printed.lines().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
        let [new_id, old_id] = ids[..] else { panic!("two keys: {printed}") };
        assert_eq!(
            printed,
            format!("{new_id}  file 1 of {REGION_KEYS}, announced\n{old_id}  file 2 of {REGION_KEYS}\n")
        );
        let needed = async |system: &System| -> Result<Vec<String>> {
            let printed = system.apis[0].says("region-keys", &[]).await?;
            let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            Ok(lines)
        };
        let line = |key: &str, order: &Order| format!("rekeyed  {key}  {}", one(order));
        assert_eq!(needed(&system).await?, [line(old_id, &first)]);

        begin_worker(&mut system, &both).await?;
        second.deployed(&body).await?;
        let mut lines = [line(old_id, &first), line(new_id, &second)];
        lines.sort_unstable();
        assert_eq!(needed(&system).await?, lines);
        restart(&first).await?.ok()?;
        let shown = first.request(Method::GET, "/k8s/deployment/info").send().await?;
        assert!(shown.body.to_string().contains("v4lu3"), "its customer still reads it: {}", shown.body);

        begin_worker(&mut system, &new).await?;
        restart(&second).await?.ok()?;
        let refused = restart(&first).await?;
        let message = refused.body.pointer("/error/message").and_then(Value::as_str);
        assert_eq!(
            message,
            Some("the region can no longer read this revision's secrets; please deploy it again"),
            "{refused:?}"
        );
        first.deployed(&body).await?;
        restart(&first).await?.ok()?;
        assert!(needed(&system).await?.iter().all(|line| line.contains(new_id)));
        Ok(())
    })
}

/// How a key of one order is told.
fn one(order: &Order) -> String {
    format!("1 order: {}", order.id)
}

async fn restart(order: &Order) -> Result<e2e::http::Answer> {
    order.request(Method::POST, "/k8s/pod/restart").header("prefer", "wait=60").send().await
}

async fn begin_api(system: &mut System, files: &str) -> Result<()> {
    let region = system.region.clone();
    let api = &mut system.apis[0];
    api.process.end(END_WITHIN).await?;
    api.spawn_again_with(&[(SECRET_KEYS, files)])?;
    api.ready().await?;
    api.knows(&region).await
}

async fn begin_worker(system: &mut System, files: &str) -> Result<()> {
    let instances = async |system: &System| -> Result<Vec<String>> {
        let region = Operator::of(system)?.region().await?;
        let workers = region.get("workers").and_then(Value::as_array).context("workers")?;
        workers.iter().filter(|worker| worker["ready"] == true).map(|worker| text(worker, "/instance")).collect()
    };
    let before = instances(system).await?;
    let worker = &mut system.workers[0];
    worker.process.end(END_WITHIN).await?;
    worker.spawn_again_with(&[(REGION_KEYS, files)])?;
    worker.ready().await?;
    until("the api has heard of the worker that began", READY_WITHIN, async || {
        let now = instances(system).await?;
        Ok(now.iter().any(|instance| !before.contains(instance)).then_some(()))
    })
    .await
}
