//! The order on record, and what its customer says of it.

use e2e::expected::Expected;
use serde_json::json;

use super::super::scene::{Own, Scene, of};
use super::Row;

pub(super) fn rows(scene: &Scene, own: &Own) -> Vec<Row> {
    let Scene { running, ended, .. } = scene;
    let describe =
        |order, text: &str| of(order, "set_order_description").body(json!({ "description": text }).to_string());
    let label = |order, text: &str| of(order, "set_order_label").body(json!({ "customizedLabel": text }).to_string());
    vec![
        Row("an order", Expected::DONE, of(running, "get_order")),
        Row("an aborted order", Expected::DONE, of(ended, "get_order")),
        Row("a description", Expected::DONE, describe(&own.fresh, "my šop")),
        Row("a short description", Expected::Wrong(&["description"]), describe(&own.fresh, "ab")),
        Row("no description", Expected::Wrong(&["description"]), of(&own.fresh, "set_order_description").body("{}")),
        Row("an aborted order's description", Expected::ENDED, describe(ended, "my shop")),
        Row("a label", Expected::DONE, label(&own.fresh, "shop")),
        Row("an odd label", Expected::Wrong(&["customizedLabel"]), label(&own.fresh, "a b")),
        Row("no label", Expected::Wrong(&["customizedLabel"]), of(&own.fresh, "set_order_label").body("{}")),
        Row("an aborted order's label", Expected::ENDED, label(ended, "shop")),
        Row("a service", Expected::DONE, of(&own.fresh, "get_user_service")),
        Row("an aborted service", Expected::DONE, of(ended, "get_user_service")),
    ]
}
