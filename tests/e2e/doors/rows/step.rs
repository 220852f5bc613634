//! Restart, stop and start of a pod.

use e2e::expected::Expected;

use super::super::scene::{Own, Scene, of};
use super::Row;

pub(super) fn rows(scene: &Scene, own: &Own) -> Vec<Row> {
    let step = |operation| of(&own.stepped, operation).body("{}");
    let done = |operation| step(operation).with("Prefer", "wait=60");
    let keyed = |operation| done(operation).with("Idempotency-Key", "step");
    let mut rows = vec![
        Row("done", Expected::DONE, keyed("restart_pod")),
        Row("the same again", Expected::DONE, keyed("restart_pod")),
        Row("another step's key", Expected::KEY_REUSED, keyed("stop_pod")),
        Row("another step's key", Expected::KEY_REUSED, keyed("start_pod")),
        Row("the same key, another body", Expected::KEY_REUSED, keyed("restart_pod").body(r#"{"now":true}"#)),
        Row("not waited for", Expected::ACCEPTED, step("restart_pod").with("Prefer", "respond-async")),
        Row("done", Expected::DONE, done("stop_pod")),
        Row("done before", Expected::DONE, done("stop_pod")),
        Row("a stopped order", Expected::STOPPED, step("restart_pod")),
        Row("a stopped order", Expected::NO_LOG, of(&own.stepped, "get_pod_log")),
        Row("a stopped order", Expected::DONE, of(&own.stepped, "get_pod_status")),
        Row("a stopped order", Expected::DONE, of(&own.stepped, "get_usage")),
        Row("done", Expected::DONE, done("start_pod")),
        Row("done before", Expected::DONE, done("start_pod")),
    ];
    for operation in ["restart_pod", "stop_pod", "start_pod"] {
        rows.push(Row("an unknown field", Expected::Wrong(&["now"]), step(operation).body(r#"{"now":true}"#)));
        rows.push(Row("no object", Expected::Wrong(&[""]), step(operation).body("[]")));
        rows.push(Row("nothing deployed", Expected::NOT_DEPLOYED, of(&scene.other, operation)));
        rows.push(Row("an aborted order", Expected::ENDED, of(&scene.ended, operation)));
    }
    rows
}
