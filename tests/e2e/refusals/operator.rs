//! Bodies and queries of the operator's side (`wire.md` §7) that are wrong.

use anyhow::Result;
use common::failure::Reason;
use e2e::order::OrderOptions;
use e2e::test::test;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Problem, compare};

const LABEL: &str = "must consist of lower case letters, digits and '-', and begin and end with a letter or a digit";
const HOURS: &str = "must be a number of hours from 1 to 87600";
const OVERLAP: &str = "must be a number of seconds from 0 to 604800";
const WHOLE: &str = "must be a whole number";
const STRING: &str = "must be a string";
const UNITS: &str = "must be a number of units such as 2-Unit-Resource, from 1 to 1000";
const PORTS: &str = "must be \"User Specified Service Port\" or \"System Random Map Port\"";
const UNKNOWN: &str = "is not a known field; leave it out";
const OBJECT: &str = "must be an object";
const REQUIRED: &str = "is required";
const LIMIT: &str = "must be a whole number from 1 to 500";
const CURSOR: &str = "must be a cursor from the field next of an earlier page";
const STATUS: &str = "must be one of ServicePending, ServiceRunning, ServiceStop, ServiceDone, ServiceAbort";

/// A member of the body of `POST /admin/orders` (RFC 6901), its value, and the problem of which field.
pub(super) struct Row(&'static str, Value, Problem);

pub(super) fn rows() -> Vec<Row> {
    let units = |value| Row("/serviceOptions/resourceUnit", value, ("serviceOptions.resourceUnit", UNITS));
    let hours = |value| Row("/duration", value, ("duration", HOURS));
    vec![
        Row("/id", json!("A B"), ("id", LABEL)),
        Row("/id", json!("a.b"), ("id", LABEL)),
        Row("/id", json!(""), ("id", "must have 1 to 48 characters")),
        Row("/id", json!("a".repeat(49)), ("id", "must have 1 to 48 characters")),
        Row("/id", json!(7), ("id", STRING)),
        hours(json!(0)),
        hours(json!(-1)),
        hours(json!(87_601)),
        Row("/duration", json!("100"), ("duration", WHOLE)),
        Row("/duration", json!(1.5), ("duration", WHOLE)),
        Row("/duration", Value::Null, ("duration", REQUIRED)),
        Row("/amount", json!(-1), ("amount", "must not be negative")),
        Row("/amount", json!("1"), ("amount", WHOLE)),
        Row("/email", json!(1), ("email", STRING)),
        Row("/email", json!("a\u{0}"), ("email", "must not contain the character NUL")),
        Row("/email", json!("a".repeat(513)), ("email", "must have at most 512 characters")),
        Row("/publicKey", json!([]), ("publicKey", STRING)),
        Row("/secret", json!("mine"), ("secret", UNKNOWN)),
        Row("/serviceOptions", json!("x"), ("serviceOptions", OBJECT)),
        Row("/serviceOptions", Value::Null, ("serviceOptions", REQUIRED)),
        units(json!("2")),
        units(json!("0-Unit-Resource")),
        units(json!("1001-Unit-Resource")),
        units(json!("-1-Unit-Resource")),
        units(json!("two-Unit-Resource")),
        units(json!("2-Unit")),
        Row("/serviceOptions/resourceUnit", json!(2), ("serviceOptions.resourceUnit", STRING)),
        Row("/serviceOptions/resourceUnit", Value::Null, ("serviceOptions.resourceUnit", REQUIRED)),
        Row("/serviceOptions/portSpecification", json!("any"), ("serviceOptions.portSpecification", PORTS)),
        Row("/serviceOptions/portSpecification", Value::Null, ("serviceOptions.portSpecification", REQUIRED)),
        Row("/serviceOptions/persistStorage", json!("maybe"), ("serviceOptions.persistStorage", "must be Yes or No")),
        Row("/serviceOptions/persistStorage", json!(true), ("serviceOptions.persistStorage", STRING)),
        Row("/serviceOptions/region", json!("a.b"), ("serviceOptions.region", LABEL)),
        Row("/serviceOptions/colour", json!("red"), ("serviceOptions.colour", UNKNOWN)),
    ]
}

#[test]
fn every_wrong_order_is_refused() -> Result<()> {
    test(async |t| {
        let (client, token) = (t.client().await?, &t.shared().await?.operator_token);
        for Row(place, value, problem) in rows() {
            let case = format!("{place} = {value}");
            let mut body = OrderOptions::units(2).body();
            let (parent, member) = place.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[member] = value;
            let request = client.post("/admin/orders").operator(token).json(&body);
            compare(&case, &request.send().await?.refused(400, Reason::InvalidRequest)?, &[problem]);
        }
        Ok(())
    })
}

#[test]
fn every_wrong_question_of_an_operator_is_refused() -> Result<()> {
    test(async |t| {
        let (client, token) = (t.client().await?, &t.shared().await?.operator_token);
        for (path, problem) in [
            ("/admin/orders?limit=0", ("limit", LIMIT)),
            ("/admin/orders?limit=501", ("limit", LIMIT)),
            ("/admin/orders?limit=x", ("limit", LIMIT)),
            ("/admin/orders?after=x", ("after", CURSOR)),
            ("/admin/orders?after=1_A%20B", ("after", CURSOR)),
            ("/admin/orders?status=Sleeping", ("status", STATUS)),
            ("/admin/orders?region=a.b", ("region", LABEL)),
        ] {
            let answer = client.get(path).operator(token).send().await?;
            compare(path, &answer.refused(400, Reason::InvalidRequest)?, &[problem]);
        }
        Ok(())
    })
}

#[test]
fn every_wrong_change_of_an_operator_is_refused() -> Result<()> {
    test(async |t| {
        let (client, token) = (t.client().await?, &t.shared().await?.operator_token);
        let order = t.order(&OrderOptions::units(1)).await?;
        for (call, body, problem) in [
            ("abort", json!({}), ("reason", REQUIRED)),
            ("abort", json!({ "reason": 1 }), ("reason", STRING)),
            ("abort", json!({ "reason": "a".repeat(513) }), ("reason", "must have at most 512 characters")),
            ("abort", json!({ "reason": "x", "force": true }), ("force", UNKNOWN)),
            ("abort", json!([]), ("", OBJECT)),
            ("extend", json!({}), ("hours", REQUIRED)),
            ("extend", json!({ "hours": 0 }), ("hours", HOURS)),
            ("extend", json!({ "hours": -5 }), ("hours", HOURS)),
            ("extend", json!({ "hours": 87_601 }), ("hours", HOURS)),
            ("extend", json!({ "hours": "1" }), ("hours", WHOLE)),
            ("extend", json!({ "hours": 1.5 }), ("hours", WHOLE)),
            ("extend", json!({ "hours": 1, "days": 1 }), ("days", UNKNOWN)),
            // The order has 100 already.
            (
                "extend",
                json!({ "hours": 87_501 }),
                ("hours", "must be at most 87500: an order lasts 87600 hours at most"),
            ),
            ("secret", json!({ "overlapSeconds": -1 }), ("overlapSeconds", OVERLAP)),
            ("secret", json!({ "overlapSeconds": 604_801 }), ("overlapSeconds", OVERLAP)),
            ("secret", json!({ "overlapSeconds": "1" }), ("overlapSeconds", WHOLE)),
            ("secret", json!({ "secret": "mine" }), ("secret", UNKNOWN)),
            ("secret", json!([]), ("", OBJECT)),
        ] {
            let path = format!("/admin/orders/{}/{call}", order.id);
            let answer = client.post(&path).operator(token).json(&body).send().await?;
            compare(&format!("{call} {body}"), &answer.refused(400, Reason::InvalidRequest)?, &[problem]);
        }
        let approve =
            client.post("/admin/regions/ausrine/approve-deletes").operator(token).json(&json!({ "all": true }));
        compare("approve", &approve.send().await?.refused(400, Reason::InvalidRequest)?, &[("all", UNKNOWN)]);
        let request = client.post(&format!("/admin/orders/{}/extend", order.id)).operator(token);
        let request = request.header("idempotency-key", "two words").json(&json!({ "hours": 1 }));
        let error = request.send().await?.refused(400, Reason::InvalidRequest)?;
        assert_eq!(error["details"][0]["field"], "Idempotency-Key");
        // Nothing of all that remains.
        let details = client.get(&format!("/admin/orders/{}", order.id)).operator(token).send().await?.ok()?;
        assert_eq!(details["order"]["duration"], 100);
        assert_eq!(details["history"].as_array().map(Vec::len), Some(1), "{details}");
        Ok(())
    })
}

#[test]
fn what_an_operator_asks_for_and_is_not_there_is_not_found() -> Result<()> {
    test(async |t| {
        let (client, token) = (t.client().await?, &t.shared().await?.operator_token);
        for (method, path, body) in [
            (Method::GET, "/admin/orders/no-such-order", None),
            (Method::GET, "/admin/orders/NO%20ORDER", None),
            (Method::POST, "/admin/orders/no-such-order/abort", Some(json!({ "reason": "test" }))),
            (Method::POST, "/admin/orders/no-such-order/extend", Some(json!({ "hours": 1 }))),
            (Method::POST, "/admin/orders/no-such-order/secret", Some(json!({}))),
        ] {
            let request = client.request(method, path).operator(token);
            let request = if let Some(body) = &body { request.json(body) } else { request };
            let error = request.send().await?.refused(404, Reason::NotFound)?;
            assert_eq!(error["message"], "there is no order with this id", "{path}");
        }
        for region in ["atlantis", "NO%20REGION"] {
            let request = client.post(&format!("/admin/regions/{region}/approve-deletes")).operator(token);
            let error = request.json(&json!({})).send().await?.refused(404, Reason::NotFound)?;
            assert_eq!(error["message"], "there is no region with this code", "{region}");
        }
        Ok(())
    })
}
