//! Bodies of `POST /k8s/deploy` that break a rule of `wire.md` §4.

mod rows;

use anyhow::Result;
use common::failure::Reason;
use e2e::order::OrderOptions;
use e2e::test::test;
use reqwest::Method;
use serde_json::{Value, json};

pub(super) use self::rows::rows;
use super::{Problem, compare};

/// The order that the body is for: all have two units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// No region, ports as the customer says, no volume.
    Plain,
    /// Of the region `ausrine`.
    Ausrine,
    /// With a volume.
    Volume,
    /// With ports that the system assigns.
    Random,
}

/// What is put where in a body that is right, and which problems follow.
pub(super) struct Row(Of, &'static str, Value, Vec<Problem>);

fn plain(place: &'static str, value: Value, problems: &[Problem]) -> Row {
    Row(Of::Plain, place, value, problems.to_vec())
}

/// A body that is right for every order but those with a volume or with assigned ports.
fn right() -> Value {
    json!({
        "nodeSelector": { "region": "ausrine" },
        "containers": [{
            "name": "web", "imageName": "web:1", "resource": { "memory": "64Mi" },
            "ports": [{ "containerPort": 80, "hostPort": 2998 }]
        }]
    })
}

/// A body of these two containers, over the least that each needs.
fn two(first: Value, second: Value) -> Value {
    let least = |name: &str, more: Value| {
        let mut container = json!({ "name": name, "imageName": "web:1", "resource": { "memory": "64Mi" } });
        let fields = container.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        container
    };
    json!([least("a", first), least("b", second)])
}

/// The body with a value put at a place (RFC 6901), which may be a new member of an object.
fn put(mut body: Value, place: &str, value: Value) -> Value {
    if let Some(found) = body.pointer_mut(place) {
        *found = value;
        return body;
    }
    let (parent, member) = place.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.to_owned(), value);
    body
}

#[test]
fn every_wrong_body_is_refused_with_each_of_its_problems() -> Result<()> {
    test(async |t| {
        let region = |options: OrderOptions| OrderOptions { region: Some("ausrine".to_owned()), ..options };
        let plain = t.order(&OrderOptions::units(2)).await?;
        let ausrine = t.order(&region(OrderOptions::units(2))).await?;
        let volume = t.order(&OrderOptions { storage: true, ..OrderOptions::units(2) }).await?;
        let random = t.order(&OrderOptions { random_ports: true, ..OrderOptions::units(2) }).await?;
        for Row(of, place, value, problems) in rows() {
            let order = match of {
                Of::Plain => &plain,
                Of::Ausrine => &ausrine,
                Of::Volume => &volume,
                Of::Random => &random,
            };
            let case = format!("{of:?} {place} = {value}");
            let error = order.deploy(&put(right(), place, value)).send().await?.refused(400, Reason::InvalidRequest)?;
            compare(&case, &error, &problems);
        }
        for order in [&plain, &ausrine, &volume, &random] {
            let jobs = order.request(Method::GET, "/jobs").send().await?.ok()?;
            assert_eq!(jobs["jobs"], json!([]), "nothing of a refused deploy remains");
        }
        Ok(())
    })
}
