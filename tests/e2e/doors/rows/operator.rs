//! The operator's side.

use common::failure::Reason;
use e2e::expected::Expected;
use e2e::order::OrderOptions;
use e2e::pod::with;
use serde_json::{Value, json};

use super::super::scene::{Own, Scene};
use super::Row;

pub(super) fn rows(scene: &Scene, own: &Own) -> Vec<Row> {
    let Scene { email, running, ended, .. } = scene;
    let operator = |operation: &str| scene.operator(operation);
    let new = OrderOptions::units(1).body();
    let make = |body: Value| operator("create_order").body(with(body, "id", json!(own.new_id)).to_string());
    let details = |id: &str| operator("get_order_details").with("id", id);
    let abort = |id: &str| operator("abort_order").with("id", id).body(json!({ "reason": "test" }).to_string());
    let own_order =
        |operation: &str, body: Value| operator(operation).with("id", &own.doomed.id).body(body.to_string());
    let keyed = |operation: &str, body: Value| own_order(operation, body).with("Idempotency-Key", "operator");
    let extend = operator("extend_order").body(json!({ "hours": 5 }).to_string());
    let more = OrderOptions::units(2).body();
    let wrong = with(with(new.clone(), "duration", json!(0)), "secret", json!("mine"));
    vec![
        Row("a new order", Expected::Success(201), make(new.clone())),
        Row("the same order again", Expected::DONE, make(new)),
        Row("another order of its id", Expected::Refusal(409, Reason::OrderExists), make(more)),
        Row("a wrong order", Expected::Wrong(&["duration", "secret"]), make(wrong)),
        Row("orders", Expected::DONE, operator("list_orders").with("email", email)),
        Row("a wrong status", Expected::Wrong(&["status"]), operator("list_orders").with("status", "Sleeping")),
        Row("details", Expected::DONE, details(&running.id)),
        Row("an aborted order", Expected::DONE, details(&ended.id)),
        Row("no such order", Expected::ABSENT, details("no-such-order")),
        Row("longer", Expected::DONE, keyed("extend_order", json!({ "hours": 5 }))),
        Row("the same again", Expected::DONE, keyed("extend_order", json!({ "hours": 5 }))),
        Row("the same key, another body", Expected::KEY_REUSED, keyed("extend_order", json!({ "hours": 6 }))),
        Row("no hours", Expected::Wrong(&["hours"]), own_order("extend_order", json!({ "hours": 0 }))),
        Row("a new secret", Expected::DONE, own_order("replace_secret", json!({ "overlapSeconds": 60 }))),
        Row(
            "no time",
            Expected::Wrong(&["overlapSeconds"]),
            own_order("replace_secret", json!({ "overlapSeconds": -1 })),
        ),
        Row("an aborted order", Expected::ENDED, extend.clone().with("id", &ended.id)),
        Row("no such order", Expected::ABSENT, extend.with("id", "no-such-order")),
        Row("no such order", Expected::ABSENT, operator("replace_secret").with("id", "no-such-order").body("{}")),
        Row("regions", Expected::DONE, operator("list_region_details")),
        Row("no reason", Expected::Wrong(&["reason"]), abort(&own.doomed.id).body("{}")),
        Row("nothing to delete", Expected::DONE, abort(&own.doomed.id)),
        Row("an aborted order", Expected::ENDED, abort(&own.doomed.id)),
        Row("a pod", Expected::ACCEPTED, abort(&own.fresh.id).with("Prefer", "respond-async")),
        Row("an aborted order", Expected::ENDED, abort(&own.fresh.id)),
        Row("no such order", Expected::ABSENT, abort("no-such-order")),
    ]
}
