//! Parts of a pod.

use common::failure::Reason;
use e2e::expected::Expected;
use serde_json::{Value, json};

use super::super::scene::{Own, Scene, of};
use super::Row;

pub(super) fn rows(scene: &Scene, own: &Own) -> Vec<Row> {
    [settings(scene, own), images(scene, own)].into_iter().flatten().collect()
}

fn settings(scene: &Scene, own: &Own) -> Vec<Row> {
    let update = |order, body: Value| of(order, "update_pod").body(body.to_string());
    let edit = |body| update(&own.edited, body);
    let right = |level: &str| json!({ "config": { "idle": "new" }, "environment": { "web": { "LEVEL": level } } });
    let keyed = |level| edit(right(level)).with("Idempotency-Key", "settings").with("Prefer", "respond-async");
    let several = json!({ "config": { "web": "x" }, "environment": { "idle": { "9": 9 } } });
    vec![
        Row("done", Expected::DONE, edit(right("1")).with("Prefer", "wait=60")),
        Row("not waited for", Expected::ACCEPTED, keyed("2")),
        Row("the same key, another body", Expected::KEY_REUSED, keyed("3")),
        Row("nothing", Expected::Wrong(&[""]), edit(json!({}))),
        Row("an unknown field", Expected::Wrong(&["image", ""]), edit(json!({ "image": "x" }))),
        Row("an unknown container", Expected::Wrong(&["config.db"]), edit(json!({ "config": { "db": "x" } }))),
        Row(
            "several problems",
            Expected::Wrong(&["config.web", "environment.idle.9", "environment.idle.9"]),
            edit(several),
        ),
        Row("nothing deployed", Expected::NOT_DEPLOYED, update(&scene.other, right("1"))),
        Row("an aborted order", Expected::ENDED, update(&scene.ended, right("1"))),
    ]
}

fn images(scene: &Scene, own: &Own) -> Vec<Row> {
    let patch = |order, body: Value| of(order, "update_pod_images").body(body.to_string());
    let edit = |body| patch(&own.edited, body);
    let image = |name: &str| json!([{ "image": name }]);
    let keyed = |name| edit(image(name)).with("Idempotency-Key", "images").with("Prefer", "respond-async");
    let available = |body| edit(body).with("until", "available").with("Prefer", "wait=60");
    let twice = json!([{ "image": "web:1" }, { "image": "web:2" }]);
    vec![
        Row("done", Expected::DONE, edit(image("web:2")).with("Prefer", "wait=60")),
        Row("not waited for", Expected::ACCEPTED, keyed("web:1")),
        Row("the same key, another body", Expected::KEY_REUSED, keyed("web:2")),
        Row("none", Expected::Wrong(&[""]), edit(json!([]))),
        Row("no list", Expected::Wrong(&["images"]), edit(json!({}))),
        Row("no container's repository", Expected::Wrong(&["[0].image"]), edit(image("busybox:1"))),
        Row("one container twice", Expected::Wrong(&["[1]"]), edit(twice)),
        Row("an unknown field", Expected::Wrong(&["[0].tag"]), edit(json!([{ "image": "web:1", "tag": "1" }]))),
        Row("no such tag", Expected::Refusal(404, Reason::ImageNotFound), available(image("web:no-such-tag"))),
        Row("nothing deployed", Expected::NOT_DEPLOYED, patch(&scene.other, image("web:1"))),
        Row("an aborted order", Expected::ENDED, patch(&scene.ended, image("web:1"))),
    ]
}
