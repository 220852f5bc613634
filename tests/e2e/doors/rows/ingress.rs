//! Domains of an order.

use e2e::expected::Expected;
use serde_json::json;

use super::super::scene::{Own, Scene, of};
use super::Row;

pub(super) fn rows(scene: &Scene, own: &Own) -> Vec<Row> {
    let domain = format!("{}.example.com", own.edited.id);
    let bound = json!({ "domain": domain, "isEncryByself": false, "containerPort": 80 }).to_string();
    let edit = |action: &str| json!({ "action": action, "domains": [format!("www.{domain}")] }).to_string();
    let call = |operation, body: String| of(&own.edited, operation).body(body).with("Prefer", "wait=60");
    let keyed = |body: String| call("bind_domain", body).with("Idempotency-Key", "ingress");
    let unbind = || call("unbind_domains", "{}".to_owned());
    let unknown = json!({ "domain": "localhost", "containerPort": 81, "colour": "red" }).to_string();
    let mut rows = vec![
        Row("no domain yet", Expected::ABSENT, call("update_domains", edit("Add"))),
        Row("no domain yet", Expected::ABSENT, unbind()),
        Row("done", Expected::DONE, keyed(bound.clone())),
        Row("the same again", Expected::DONE, keyed(bound.clone())),
        Row("the same key, another body", Expected::KEY_REUSED, keyed("{}".to_owned())),
        Row("wrong fields", Expected::Wrong(&["domain", "containerPort", "colour"]), call("bind_domain", unknown)),
        Row("added", Expected::DONE, call("update_domains", edit("Add"))),
        Row("removed", Expected::DONE, call("update_domains", edit("Del"))),
        Row("a wrong action", Expected::Wrong(&["action"]), call("update_domains", edit("Set"))),
        Row("not waited for", Expected::ACCEPTED, call("bind_domain", bound.clone()).with("Prefer", "respond-async")),
        Row("done", Expected::DONE, unbind()),
        Row("done before", Expected::ABSENT, unbind()),
    ];
    for (operation, body) in [("bind_domain", &bound), ("update_domains", &edit("Add"))] {
        let of = |order| of(order, operation).body(body.clone());
        rows.push(Row("nothing deployed", Expected::NOT_DEPLOYED, of(&scene.other)));
        rows.push(Row("an aborted order", Expected::ENDED, of(&scene.ended)));
    }
    rows
}
