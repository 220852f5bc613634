//! One and the same call by HTTP and by NATS: the answers are the same, and no operation is missing at either door.
//!
//! Rows are in `doors/rows`, one file a kind of call; what all operations have in common is found by the document.

mod mistakes;
mod rows;
mod scene;
mod service;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use common::failure::Reason;
use e2e::door::{Call, Door, Doors};
use e2e::http::Answer;
use e2e::test::test;
use serde_json::{Value, json};

use self::rows::{Queued, Row};
use self::scene::Scene;

/// Members whose values differ from call to call.
const DIFFERENT: [&str; 20] = [
    "id",
    "orderId",
    "requestId",
    "jobId",
    "secret",
    "createdAt",
    "updatedAt",
    "startedAt",
    "finishedAt",
    "observedAt",
    "attempts",
    "outcome",
    "queue",
    "at",
    "workers",
    "requests",
    "portsUsed",
    "queueLength",
    "oldestJobSeconds",
    "vkube.dev/job",
];

/// What else differs where jobs run meanwhile.
const RUNNING: [&str; 1] = ["state"];

/// An answer without what differs from call to call, these members and the ids of what this door has among it.
fn comparable(answer: &Answer, members: &[&str], ids: &[&str]) -> Value {
    let location = answer.header("location").map(|place| place.rsplit_once('/').map_or(place, |(before, _)| before));
    json!({
        "status": answer.status,
        "body": blurred(&last_event(answer).unwrap_or_else(|| answer.body.clone()), members, ids),
        "location": location,
        "retryAfter": answer.header("retry-after"),
        "requestId": answer.header("x-request-id").is_some(),
    })
}

fn blurred(value: &Value, members: &[&str], ids: &[&str]) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| {
                let measured = name == "value" && !value.is_string();
                let different = measured || DIFFERENT.iter().chain(members).any(|member| member == name);
                (name.clone(), if different { json!("...") } else { blurred(value, members, ids) })
            })
            .collect(),
        Value::Array(values) => values.iter().map(|value| blurred(value, members, ids)).collect(),
        Value::String(text) => json!(ids.iter().fold(text.clone(), |text, id| text.replace(id, "..."))),
        value => value.clone(),
    }
}

/// The last of a stream's events that are JSON: how many come before it is a matter of moments.
fn last_event(answer: &Answer) -> Option<Value> {
    let kind = answer.header("content-type").unwrap_or_default();
    let events = answer.body.as_str().filter(|_| kind.starts_with("text/event-stream"))?;
    let last = events.lines().rev().find_map(|line| line.strip_prefix("data:"))?;
    serde_json::from_str(last).ok()
}

/// Makes the same call by both doors, as one line of a table says for each.
async fn compare(doors: &Doors, rest: &Row, nats: &Row, members: &[&str], ids: &[&str]) -> Result<()> {
    let (Row(_, expected, rest), Row(_, _, nats)) = (rest, nats);
    let (rest, nats) = futures::try_join!(doors.ask(Door::Rest, rest), doors.ask(Door::Nats, nats))?;
    expected.check(rest.clone())?;
    // A long log is no text for a failed test.
    let same = comparable(&rest, members, ids) == comparable(&nats, members, ids);
    ensure!(same, "different answers:\n{:.2000}\n{:.2000}", rest.body, nats.body);
    Ok(())
}

#[test]
fn every_operation_answers_the_same_by_both_doors() -> Result<()> {
    test(async |t| {
        let doors = Doors::of(t.shared().await?).await?;
        let (scene, queued) = futures::try_join!(Scene::set(t), Queued::set(t))?;
        let queued_doors = Doors::of(&queued.system).await?;
        let both = |rows: &dyn Fn(Door) -> Vec<Row>| -> Vec<(Row, Row)> {
            rows(Door::Rest).into_iter().zip(rows(Door::Nats)).collect()
        };
        let tables = [
            (&doors, &RUNNING[..], both(&|door| rows::all(&scene, door))),
            (&queued_doors, &[], both(&|door| queued.rows(door))),
            (&doors, &[], both(&|_| mistakes::rows(&scene, &doors))),
        ];
        let rows = tables.iter().flat_map(|(.., rows)| rows);
        let succeed: BTreeSet<&String> =
            rows.filter(|(Row(_, expected, _), _)| expected.is_success()).map(|(row, _)| &row.2.operation).collect();
        assert_eq!(succeed, doors.operations.keys().collect(), "every operation has a row that succeeds");
        let ids: Vec<&str> = Door::ALL.iter().flat_map(|door| scene.own(*door).ids()).collect();
        let mut failures = Vec::new();
        for (doors, members, rows) in &tables {
            for (rest, nats) in rows {
                let Row(case, expected, call) = rest;
                if let Err(error) = compare(doors, rest, nats, members, &ids).await {
                    failures.push(format!("{}: {case}: {expected:?}: {error:#}", call.operation));
                }
            }
        }
        ensure!(failures.is_empty(), "{} rows fail:\n{}", failures.len(), failures.join("\n"));
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
                let call = Call::of(id).with("id", "x").with("code", "x").operator("x").body("{}");
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
            if let Some((name, _)) = operation.parameters.iter().find(|(_, place)| *place == "path") {
                let error = doors.ask(Door::Nats, &Call::of(id)).await?.is(400)?;
                assert_eq!(error["error"]["details"], json!([{ "field": name, "problem": "is required" }]), "{id}");
            }
        }
        Ok(())
    })
}
