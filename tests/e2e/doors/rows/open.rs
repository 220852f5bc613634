//! What everybody may ask.

use common::failure::Reason;
use e2e::door::Call;
use e2e::expected::Expected;
use serde_json::json;

use super::super::scene::Scene;
use super::Row;

pub(super) fn rows(scene: &Scene) -> Vec<Row> {
    let Scene { region, .. } = scene;
    let image = |image: &str, tag: &str| Call::of("check_image").with("image", image).with("tag", tag);
    let ports = |body: serde_json::Value| Call::of("check_ports").body(body.to_string());
    let invalid = Expected::Refusal(400, Reason::InvalidRequest);
    vec![
        Row("regions", Expected::DONE, Call::of("list_regions")),
        Row("an image", Expected::DONE, image("nginx", "latest")),
        Row("no image", Expected::Refusal(404, Reason::ImageNotFound), image("no/such/image", "1")),
        Row("an odd image", invalid, image("a&tag=b c", "1")),
        Row("free ports", Expected::DONE, ports(json!({ "region": region, "ports": [21_999] }))),
        Row("a taken port", Expected::DONE, ports(json!({ "region": region, "ports": [scene.port] }))),
        Row("no ports", invalid, ports(json!({ "region": region }))),
        Row("an odd port", Expected::Wrong(&["ports[0]"]), ports(json!({ "region": region, "ports": [0] }))),
        Row("no body", invalid, Call::of("check_ports")),
    ]
}
