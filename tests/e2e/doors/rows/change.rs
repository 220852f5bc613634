//! The whole pod, by each of the three names of a deploy.

use common::failure::Reason;
use e2e::expected::Expected;
use e2e::pod::{idle, pod, web};
use serde_json::json;

use super::super::scene::{Own, Scene, of};
use super::Row;

pub(super) fn rows(scene: &Scene, own: &Own) -> Vec<Row> {
    ["deploy_pod", "create_deployment", "update_deployment"]
        .into_iter()
        .flat_map(|name| deploys(name, scene, own))
        .collect()
}

fn deploys(operation: &str, scene: &Scene, own: &Own) -> Vec<Row> {
    let body = scene.body(&[idle("idle")]);
    let deploy = |order| of(order, operation).body(&body);
    let fresh = || deploy(&own.fresh);
    let keyed = || fresh().with("Prefer", "respond-async").with("Idempotency-Key", operation);
    let elsewhere = pod("elsewhere", &[idle("idle")]).to_string();
    let many = scene.body(&[idle("a"), idle("b")]);
    vec![
        Row(
            "a region that is not there",
            Expected::Refusal(400, Reason::RegionUnknown),
            deploy(&scene.other).body(&elsewhere),
        ),
        Row("done", Expected::DONE, fresh().with("Prefer", "wait=60")),
        Row("another region than the order's", Expected::Wrong(&["nodeSelector.region"]), fresh().body(&elsewhere)),
        Row("not waited for", Expected::ACCEPTED, keyed()),
        Row("the same key, another body", Expected::KEY_REUSED, keyed().body(scene.body(&[idle("b")]))),
        Row("the same key, another condition", Expected::KEY_REUSED, keyed().with("until", "available")),
        Row(
            "wrong fields",
            Expected::Wrong(&["containers", "colour"]),
            fresh().body(json!({ "containers": [], "colour": "red" }).to_string()),
        ),
        Row("more than was bought", Expected::Wrong(&["containers"]), fresh().body(many)),
        Row(
            "a port of another",
            Expected::Refusal(409, Reason::PortOccupied),
            fresh().body(scene.body(&[web("web", scene.port)])),
        ),
        Row("an aborted order", Expected::ENDED, deploy(&scene.ended)),
    ]
}
