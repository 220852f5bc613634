//! What is secret: nowhere in clear but in the pod itself, and in the answer to whom it belongs.

mod crash;
mod keys;
mod search;

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::door::{Call, Door, Doors};
use e2e::operator::Operator;
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{container, envs, idle, pod, with};
use e2e::system::System;
use e2e::test::{Test, test};
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

use self::search::{Overheard, Places};

/// A text that nothing else has.
fn canary(what: &str) -> String {
    format!("c4nary-{what}-{}", uuid::Uuid::new_v4().simple())
}

/// A system that logs all that it can.
async fn talkative(t: &Test) -> Result<System> {
    let mut system = t.empty_system("canary").await?;
    let trace = [("VKUBE_LOG_LEVEL", "trace")];
    let api = system.new_api(&trace).await?;
    system.apis.push(api);
    let worker = system.new_worker(&trace)?;
    system.workers.push(worker);
    system.ready().await?;
    Ok(system)
}

/// Tells the product secrets by every door, and gives what it said to others than those whose secrets they are.
async fn tell(t: &Test, system: &System, secrets: &mut Vec<String>) -> Result<(Order, Vec<String>)> {
    let mut new = |what: &str| {
        secrets.push(canary(what));
        secrets.last().cloned().unwrap_or_default()
    };
    let (value, changed, by_nats) = (new("value"), new("changed-value"), new("value-by-nats"));
    let (password, for_image, guess, token) = (new("password"), new("image-password"), new("guess"), new("token"));
    let (client, doors) = (system.client()?, Doors::of(system).await?);
    let order = t.order_of(system, &OrderOptions::units(2)).await?;
    secrets.extend([order.secret.clone(), system.operator_token.clone()]);
    let mut shown = Vec::new();

    let web = container("web", &format!("{}/private/web", t.stack.private_registry));
    let web = with(web, "envs", envs(&[("TOKEN", value)]));
    let login = json!([{ "username": "anna", "password": password }]);
    shown.push(order.deployed(&with(pod("canary", &[web]), "pvtLogin", login)).await?);
    let settings = json!({ "environment": { "web": { "OTHER": changed } } });
    let update = order.request(Method::PUT, "/k8s/pod/update").header("prefer", "wait=60").json(&settings);
    shown.push(update.send().await?.ok()?);
    let body = pod("canary", &[with(idle("idle"), "envs", envs(&[("BY_NATS", by_nats)]))]);
    let deploy = Call::of("deploy_pod").with("secret", &order.secret).with("Prefer", "wait=60").body(body.to_string());
    shown.push(doors.ask(Door::Nats, &deploy).await?.ok()?);
    let info = order.request(Method::GET, "/k8s/deployment/info").send().await?.ok()?;
    assert!(info.to_string().contains("c4nary-value-by-nats"), "whose it is may see it: {info}");

    let image = format!("/k8s/images?image={}/private/web&tag=1", t.stack.private_registry);
    let asked = client.get(&image).header("Username", &STANDARD.encode("anna"));
    shown.push(asked.header("Password", &STANDARD.encode(for_image)).send().await?.body);
    for (name, given) in [("secret", guess), ("authorization", format!("Bearer {token}"))] {
        for path in ["/k8s/order", &format!("/admin/orders/{}", order.id)] {
            shown.push(client.get(path).header(name, &given).send().await?.is(401)?);
        }
        let call = Call::of("get_order").with(name, &given);
        shown.push(doors.ask(Door::Nats, &call).await?.is(401)?);
    }
    let malformed =
        with(pod("canary", &[with(idle("a b"), "envs", json!([{ "name": 1, "value": order.secret }]))]), "x", json!(1));
    shown.push(order.deploy(&malformed).send().await?.is(400)?);
    let replaced =
        Operator::of(system)?.change(&order, "secret", &json!({ "overlapSeconds": 60 })).send().await?.ok()?;
    let order = order.with_secret(&text(&replaced, "/secret")?);
    secrets.push(order.secret.clone());
    for path in ["/jobs", "/k8s/order", "/k8s/pod/status", "/k8s/userService"] {
        shown.push(order.request(Method::GET, path).send().await?.ok()?);
    }
    for path in ["/admin/orders", "/admin/regions", &format!("/admin/orders/{}", order.id)] {
        shown.push(client.get(path).operator(&system.operator_token).send().await?.ok()?);
    }
    // HTTP/2 has frames and tables of headers, which are logged by others.
    let by_frames = e2e::http::builder().http2_prior_knowledge().build()?;
    let url = format!("{}/api/v1/k8s/order", system.apis[0].url);
    let answer = by_frames.get(url).header("secret", &order.secret).send().await?;
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    shown.extend([system.apis[0].readiness().await?.1, system.workers[0].readiness().await?.1]);
    Ok((order, shown.iter().map(Value::to_string).collect()))
}

#[test]
fn no_secret_is_in_a_log_a_table_a_message_a_listing_an_error_or_an_object_of_the_cluster() -> Result<()> {
    test(async |t| {
        let mut system = talkative(t).await?;
        let overheard = Overheard::listen(&system).await?;
        let mut secrets = Vec::new();
        let (order, shown) = tell(t, &system, &mut secrets).await?;
        // Keys of the product's own.
        for name in ["secret-key", "seal-key"] {
            secrets.push(std::fs::read_to_string(system.file(name))?);
        }
        let mut places = Places::default();
        for text in shown {
            places.add("an answer to somebody else", text);
        }
        places.add_tables(&system).await?;
        places.add_objects(t, &order).await?;
        places.add_processes(&system)?;
        let overheard = overheard.end().await?;
        assert!(overheard.len() > 50, "messages were overheard: {}", overheard.len());
        for message in overheard {
            places.add("a message", message);
        }

        // The pod has them, by a Secret of its own namespace.
        let objects = t.cluster.objects(&order.namespace()).await?;
        let held = serde_json::to_string(&objects.secrets)?;
        let value = secrets.iter().find(|secret| secret.contains("value-by-nats")).context("it was told")?;
        assert!(held.contains(&STANDARD.encode(value)), "the pod gets its value");

        // What is logged at the end counts too.
        for process in [&mut system.workers[0].process, &mut system.apis[0].process] {
            process.end(Duration::from_secs(30)).await?;
        }
        until("all is logged", Duration::from_secs(10), async || {
            let log = std::fs::read_to_string(system.apis[0].process.log())?;
            Ok(log.contains("\"TRACE\"").then_some(()))
        })
        .await?;
        places.add_files(system.folder(), &["secret-key", "seal-key"])?;
        places.add_files(system.data(), &[])?;
        let found: Vec<String> = secrets.iter().flat_map(|secret| places.with(secret)).collect();
        assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
        Ok(())
    })
}
