//! One and the same call by HTTP and by NATS: the answers are the same, and no operation is missing at either door.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::door::{Call, Door, Doors};
use e2e::http::Answer;
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{container, idle, pod, with};
use e2e::test::{Test, test};
use e2e::until::until;
use futures::StreamExt as _;
use serde_json::{Value, json};

/// Members whose values differ from call to call, those of a job that runs meanwhile among them.
const DIFFERENT: [&str; 12] = [
    "id",
    "orderId",
    "requestId",
    "secret",
    "createdAt",
    "updatedAt",
    "startedAt",
    "finishedAt",
    "observedAt",
    "attempts",
    "state",
    "outcome",
];

/// What calls are about. Reads ask about the same things by both doors; each door has its own to change.
struct Scene {
    region: String,
    token: String,
    email: String,
    /// Runs a pod with a log that is too long for one message.
    running: Order,
    job: String,
    other: Order,
    /// By door: an order to deploy, one to abort, and the id of one to make.
    own: [(Order, Order, String); 2],
}

impl Scene {
    async fn set(t: &Test) -> Result<Self> {
        let system = t.shared().await?;
        let (client, token) = (system.client()?, system.operator_token.clone());
        let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
        let mut listed = OrderOptions::units(1).body();
        listed["email"] = json!(email);
        client.post("/admin/orders").operator(&token).json(&listed).send_patiently().await?.is(201)?;
        let order = async || t.order(&OrderOptions::units(1)).await;
        let new_id = || format!("door-{}", uuid::Uuid::new_v4().simple());
        let own = [(order().await?, order().await?, new_id()), (order().await?, order().await?, new_id())];
        let running = order().await?;
        // 10,000 lines of 64 bytes.
        let script = "/bin/sh\n-c\nyes \"$(printf '%063d' 0)\" | head -n 10000; echo the end; tail -f /dev/null";
        let long = with(container("long", "busybox:1"), "command", json!(script));
        let deployed = running.deployed(&pod(t.stack.region.as_str(), &[long])).await?;
        running.ready().await?;
        let job = text(&deployed, "/id")?;
        running.ended(&job, Duration::from_secs(30)).await?;
        until("the log is whole", Duration::from_secs(30), async || {
            Ok(running.log_text("?tailLines=1").await?.eq("the end\n").then_some(()))
        })
        .await?;
        let region = t.stack.region.to_string();
        Ok(Self { region, token, email, running, job, other: order().await?, own })
    }
}

/// A call and the status that both doors answer it with.
struct Row(&'static str, Call, u16);

/// Every operation's successes, and failures of its own.
fn rows(scene: &Scene, door: Door) -> Vec<Row> {
    let Scene { region, token, email, running, job, other, own } = scene;
    let (fresh, doomed, new_id) = if door == Door::Rest { &own[0] } else { &own[1] };
    let call = Call::of;
    let secret = |operation: &str| call(operation).with("secret", &running.secret);
    let operator = |operation: &str| call(operation).operator(token);
    let body = pod(region, &[idle("idle")]);
    let deploy = || call("deploy_pod").with("secret", &fresh.secret).body(body.to_string());
    let keyed = |key: &str| deploy().with("Prefer", "respond-async").with("Idempotency-Key", key);
    let (new, unknown) = (OrderOptions::units(1).body(), "0190163d-8694-739b-aea5-966c26f8ad91");
    let make = |body: &Value| operator("create_order").body(with(body.clone(), "id", json!(new_id)).to_string());
    vec![
        Row("regions", call("list_regions"), 200),
        Row("an image", call("check_image").with("image", "nginx").with("tag", "latest"), 200),
        Row("no image", call("check_image").with("image", "no/such/image").with("tag", "1"), 404),
        Row("an odd image", call("check_image").with("image", "a&tag=b c").with("tag", "1"), 400),
        Row("free ports", call("check_ports").body(json!({ "region": region, "ports": [21_999] }).to_string()), 200),
        Row("no ports", call("check_ports").body(json!({ "region": region }).to_string()), 400),
        Row("no body", call("check_ports"), 400),
        Row("an order", secret("get_order"), 200),
        Row("a deploy", deploy().with("Prefer", "wait=60"), 200),
        Row("a deploy not waited for", keyed("a"), 202),
        Row("the same again", keyed("a"), 202),
        Row("the same key, another body", keyed("a").body(pod(region, &[idle("b")]).to_string()), 422),
        Row("two keys", keyed("a").with("Idempotency-Key", "b"), 400),
        Row("a wrong field", deploy().body(json!({ "containers": [], "colour": "red" }).to_string()), 400),
        Row("a wrong query", deploy().with("until", "tomorrow"), 400),
        Row("a long log", secret("get_pod_log"), 200),
        Row("some of a log", secret("get_pod_log").with("tailLines", "3").with("timestamps", "False"), 200),
        Row("a wrong log", secret("get_pod_log").with("tailLines", "x").with("previous", "y"), 400),
        Row("no pod's log", call("get_pod_log").with("secret", &other.secret), 404),
        Row("a status", secret("get_pod_status"), 200),
        Row("no pod's status", call("get_pod_status").with("secret", &other.secret), 404),
        Row("jobs", secret("list_jobs").with("limit", "1"), 200),
        Row("a wrong page", secret("list_jobs").with("limit", "0"), 400),
        Row("a job", secret("get_job").with("id", job), 200),
        Row("another order's job", call("get_job").with("secret", &other.secret).with("id", job), 404),
        Row("an unknown job", secret("get_job").with("id", unknown), 404),
        Row("a job of an odd id", secret("get_job").with("id", "../../k8s/order?x=y#z"), 404),
        Row("a new order", make(&new), 201),
        Row("the same order again", make(&new), 200),
        Row("another order of its id", make(&OrderOptions::units(2).body()), 409),
        Row("orders", operator("list_orders").with("email", email), 200),
        Row("a wrong status", operator("list_orders").with("status", "Sleeping"), 400),
        Row("details", operator("get_order_details").with("id", &running.id), 200),
        Row("no details", operator("get_order_details").with("id", "no-such-order"), 404),
        Row("nothing to delete", operator("abort_order").with("id", &doomed.id).body(why()), 200),
        Row("a pod", operator("abort_order").with("id", &fresh.id).with("Prefer", "respond-async").body(why()), 202),
        Row("no abort", operator("abort_order").with("id", "no-such-order").body(why()), 404),
    ]
}

fn why() -> String {
    json!({ "reason": "test" }).to_string()
}

/// Failures that every operation of a kind has, by the document.
fn mistakes(scene: &Scene, doors: &Doors) -> Vec<Row> {
    let mut rows = Vec::new();
    for (id, operation) in &doors.operations {
        let in_path = operation.parameters.iter().filter(|(_, place)| *place == "path");
        let call = in_path.fold(Call::of(id), |call, (name, _)| call.with(name, "x"));
        let empty = |call: &Call| if operation.has_body { call.clone().body("{}") } else { call.clone() };
        let allowed = match operation.security.as_deref() {
            Some("OrderSecret") => {
                rows.push(Row("no secret", empty(&call), 401));
                rows.push(Row("a wrong secret", empty(&call).with("secret", "x"), 401));
                rows.push(Row("a token as secret", empty(&call).with("secret", &scene.token), 401));
                call.clone().with("secret", &scene.other.secret)
            }
            Some("OperatorToken") => {
                rows.push(Row("no token", empty(&call), 401));
                rows.push(Row("a wrong token", empty(&call).operator("x"), 401));
                rows.push(Row("a token of another scheme", empty(&call).with("Authorization", "Basic eA=="), 401));
                rows.push(Row("a secret as token", empty(&call).operator(&scene.running.secret), 401));
                call.clone().operator(&scene.token)
            }
            _ => call.clone(),
        };
        if operation.has_body {
            rows.push(Row("no JSON", allowed.clone().body("{"), 400));
            rows.push(Row("a body that is too large", allowed.body(" ".repeat(300_000)), 413));
        }
    }
    rows
}

/// An answer without what differs from call to call, the id that this door has made among it.
fn comparable(answer: &Answer, made: &str) -> Value {
    fn blur(value: &Value, made: &str) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let different = DIFFERENT.contains(&name.as_str());
                    (name.clone(), if different { json!("...") } else { blur(value, made) })
                })
                .collect(),
            Value::Array(values) => values.iter().map(|value| blur(value, made)).collect(),
            Value::String(text) => json!(text.replace(made, "...")),
            value => value.clone(),
        }
    }
    let location = answer.header("location").map(|place| place.rsplit_once('/').map_or(place, |(before, _)| before));
    json!({
        "status": answer.status,
        "body": blur(&answer.body, made),
        "location": location,
        "retryAfter": answer.header("retry-after"),
        "requestId": answer.header("x-request-id").is_some(),
    })
}

#[test]
fn every_operation_answers_the_same_by_both_doors() -> Result<()> {
    test(async |t| {
        let doors = Doors::of(t.shared().await?).await?;
        let scene = Scene::set(t).await?;
        let [mut by_rest, mut by_nats] = Door::ALL.map(|door| rows(&scene, door));
        let succeeded: BTreeSet<&String> =
            by_rest.iter().filter(|row| row.2 < 300).map(|row| &row.1.operation).collect();
        assert_eq!(succeeded, doors.operations.keys().collect(), "every operation has a row that succeeds");
        by_rest.extend(mistakes(&scene, &doors));
        by_nats.extend(mistakes(&scene, &doors));
        for (Row(case, rest, status), Row(_, nats, _)) in by_rest.iter().zip(&by_nats) {
            let case = format!("{} with {case}", rest.operation);
            let (rest, nats) = (doors.ask(Door::Rest, rest).await?, doors.ask(Door::Nats, nats).await?);
            assert_eq!(rest.status, *status, "{case}: {}", rest.body);
            // A long log is no text for a failed test.
            assert!(
                comparable(&rest, &scene.own[0].2) == comparable(&nats, &scene.own[1].2),
                "{case}:\n{:.2000}\n{:.2000}",
                rest.body,
                nats.body
            );
        }
        Ok(())
    })
}

#[test]
fn without_a_token_in_the_settings_the_operators_side_is_at_neither_door() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("shut").await?;
        let api = system.new_api(&[("VKUBE_OPERATOR_TOKENS", "")]).await?;
        system.apis.push(api);
        let doors = Doors::of(&system).await?;
        let secured = |scheme: &Option<String>| scheme.as_deref() == Some("OperatorToken");
        for (id, _) in doors.operations.iter().filter(|(_, operation)| secured(&operation.security)) {
            for door in Door::ALL {
                let call = Call::of(id).with("id", "x").operator("x").body("{}");
                doors.ask(door, &call).await?.refused(404, Reason::NotFound)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_parameter_of_the_path_that_is_missing_is_told_by_name() -> Result<()> {
    test(async |t| {
        let doors = Doors::of(t.shared().await?).await?;
        for (id, operation) in &doors.operations {
            if operation.parameters.values().any(|place| place == "path") {
                let error = doors.ask(Door::Nats, &Call::of(id)).await?.is(400)?;
                assert_eq!(error["error"]["details"], json!([{ "field": "id", "problem": "is required" }]), "{id}");
            }
        }
        Ok(())
    })
}

/// What every instance says of itself.
async fn told(t: &Test, verb: &str) -> Result<Vec<Value>> {
    let system = t.shared().await?;
    let nats = system.nats.client().await?;
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await?;
    nats.publish_with_reply(format!("$SRV.{verb}.vkube"), inbox, "".into()).await?;
    let mut told = Vec::new();
    while told.len() < system.apis.len() {
        let answer = tokio::time::timeout(Duration::from_secs(10), answers.next()).await?.context("no answer")?;
        told.push(serde_json::from_slice(&answer.payload)?);
    }
    Ok(told)
}

#[test]
fn every_instance_tells_of_every_operation_with_its_schemas() -> Result<()> {
    test(async |t| {
        let doors = Doors::of(t.shared().await?).await?;
        for information in told(t, "INFO").await? {
            assert_eq!(
                (&information["name"], &information["version"]),
                (&"vkube".into(), &env!("CARGO_PKG_VERSION").into())
            );
            let endpoints = information["endpoints"].as_array().context("endpoints")?;
            let endpoints: BTreeMap<&str, &Value> =
                endpoints.iter().filter_map(|one| Some((one["name"].as_str()?, one))).collect();
            let expected: Vec<&str> = doors.operations.keys().map(String::as_str).collect();
            assert_eq!(endpoints.keys().copied().collect::<Vec<_>>(), expected);
            for (name, endpoint) in endpoints {
                assert_eq!(endpoint["subject"], format!("vkube.api.{name}"));
                for schema in ["parameters", "request", "response"] {
                    let told = endpoint["metadata"][schema].as_str();
                    assert_eq!(told.is_some(), schema != "request" || doors.operations[name].has_body, "{name}");
                    let schema = serde_json::from_str::<Value>(told.unwrap_or("{}"));
                    assert!(schema.is_ok_and(|schema| schema.is_object()), "{name}: {told:?}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn instances_share_the_calls() -> Result<()> {
    test(async |t| {
        let doors = Doors::of(t.shared().await?).await?;
        let counts = async || -> Result<Vec<u64>> {
            let told = told(t, "STATS").await?;
            let of = |one: &Value| {
                let endpoints = one["endpoints"].as_array().into_iter().flatten();
                endpoints.filter(|endpoint| endpoint["name"] == "list_regions").find_map(|e| e["num_requests"].as_u64())
            };
            told.iter().map(|one| of(one).context("no count")).collect()
        };
        for _ in 0..40 {
            doors.ask(Door::Nats, &Call::of("list_regions")).await?.ok()?;
        }
        let counts = counts().await?;
        assert!(counts.iter().sum::<u64>() >= 40 && counts.iter().all(|count| *count > 3), "{counts:?}");
        Ok(())
    })
}
