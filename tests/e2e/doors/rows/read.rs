//! What the region, or the record, tells of a pod.

use common::failure::Reason;
use e2e::expected::Expected;

use super::super::scene::{Own, Scene, of};
use super::Row;

pub(super) fn rows(scene: &Scene, own: &Own) -> Vec<Row> {
    let Scene { running, other, ended, .. } = scene;
    let log = || of(running, "get_pod_log");
    let stream = || of(running, "follow_pod_logs").with("unfollow", "true");
    let usage = || of(running, "get_usage");
    let unknown = Expected::Refusal(400, Reason::ContainerUnknown);
    vec![
        Row("a long log", Expected::DONE, log()),
        Row("some of a log", Expected::DONE, log().with("tailLines", "3").with("timestamps", "False")),
        Row(
            "a wrong log",
            Expected::Wrong(&["tailLines", "previous"]),
            log().with("tailLines", "x").with("previous", "y"),
        ),
        Row("an unknown container's log", unknown, log().with("container", "none")),
        Row("several containers' log", unknown, of(&own.edited, "get_pod_log")),
        Row("no pod's log", Expected::NOT_DEPLOYED, of(other, "get_pod_log")),
        Row("an aborted order's log", Expected::NOT_DEPLOYED, of(ended, "get_pod_log")),
        Row("a stream that ends", Expected::DONE, stream().with("tailLines", "3")),
        Row("a stream of an unknown container", unknown, stream().with("container", "none")),
        Row("a stream from an odd event", Expected::Wrong(&["Last-Event-ID"]), stream().with("Last-Event-ID", "x")),
        Row("no pod's stream", Expected::NOT_DEPLOYED, of(other, "follow_pod_logs")),
        Row("an aborted order's stream", Expected::NOT_DEPLOYED, of(ended, "follow_pod_logs")),
        Row("a status", Expected::DONE, of(running, "get_pod_status")),
        Row("no pod's status", Expected::NOT_DEPLOYED, of(other, "get_pod_status")),
        Row("a pod's use", Expected::DONE, usage()),
        Row("one container's use", Expected::DONE, usage().with("containers", "long").with("allTypes", "True")),
        Row("an unknown container's use", unknown, usage().with("containers", "none")),
        Row("a wrong use", Expected::Wrong(&["allTypes"]), usage().with("allTypes", "1")),
        Row("no pod's use", Expected::NOT_DEPLOYED, of(other, "get_usage")),
        Row("what is deployed", Expected::DONE, of(running, "get_deployment_info")),
        Row("nothing deployed", Expected::NOT_DEPLOYED, of(other, "get_deployment_info")),
        Row("configuration", Expected::DONE, of(&own.edited, "get_pod_configmap")),
        Row("no configuration", Expected::ABSENT, of(running, "get_pod_configmap")),
        Row("no pod's configuration", Expected::NOT_DEPLOYED, of(other, "get_pod_configmap")),
    ]
}
