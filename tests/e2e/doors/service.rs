//! Every instance tells what it serves by NATS, and all share the calls.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::door::{Call, Door, Doors};
use e2e::test::{Test, test};
use futures::StreamExt as _;
use serde_json::Value;

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
