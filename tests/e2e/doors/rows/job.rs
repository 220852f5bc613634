//! Jobs: shown, listed, watched, cancelled.

use anyhow::Result;
use e2e::door::{Call, Door};
use e2e::expected::Expected;
use e2e::order::{Order, OrderOptions};
use e2e::pod::{idle, pod};
use e2e::system::System;
use e2e::test::Test;

use super::super::scene::{Scene, of};
use super::Row;

const UNKNOWN: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
const ODD: &str = "../../k8s/order?x=y#z";

pub(super) fn rows(scene: &Scene) -> Vec<Row> {
    let Scene { running, other, job, .. } = scene;
    let mut rows = vec![
        Row("jobs", Expected::DONE, of(running, "list_jobs").with("limit", "1")),
        Row("no jobs", Expected::DONE, of(other, "list_jobs")),
        Row(
            "a wrong page",
            Expected::Wrong(&["after", "limit"]),
            of(running, "list_jobs").with("limit", "0").with("after", "x"),
        ),
        Row("a job", Expected::DONE, of(running, "get_job").with("id", job)),
        Row("a job that has ended", Expected::DONE, of(running, "watch_job").with("id", job)),
        Row("a job that has ended", Expected::BEGUN, of(running, "cancel_job").with("id", job)),
        Row(
            "an unknown field",
            Expected::Wrong(&["now"]),
            of(running, "cancel_job").with("id", job).body(r#"{"now":1}"#),
        ),
    ];
    for operation in ["get_job", "watch_job", "cancel_job"] {
        rows.push(Row("another order's job", Expected::ABSENT, of(other, operation).with("id", job)));
        rows.push(Row("an unknown job", Expected::ABSENT, of(running, operation).with("id", UNKNOWN)));
        rows.push(Row("a job of an odd id", Expected::ABSENT, of(running, operation).with("id", ODD)));
    }
    rows
}

/// Jobs that wait, in a system whose worker is there and does nothing.
pub(in super::super) struct Queued {
    pub(in super::super) system: System,
    own: [Waiting; 2],
}

/// A door's own order, and its jobs.
struct Waiting {
    order: Order,
    former: String,
    newest: String,
}

impl Queued {
    pub(in super::super) async fn set(t: &Test) -> Result<Self> {
        let system = t.system("doors", 1, 1).await?;
        system.workers[0].process.pause().await?;
        let body = pod("doors", &[idle("idle")]);
        let make = async || -> Result<Waiting> {
            let order = t.order_of(&system, &OrderOptions::units(1)).await?;
            Ok(Waiting { former: order.accepted(&body).await?, newest: order.accepted(&body).await?, order })
        };
        let own = [make().await?, make().await?];
        Ok(Self { system, own })
    }

    /// Its rows for a door.
    pub(in super::super) fn rows(&self, door: Door) -> Vec<Row> {
        let [rest, nats] = &self.own;
        let Waiting { order, former, newest } = if door == Door::Rest { rest } else { nats };
        let call = |operation, id: &str| -> Call { of(order, operation).with("id", id) };
        let approve = Call::of("approve_deletes").operator(&self.system.operator_token);
        let keyed = |id| call("cancel_job", id).with("Idempotency-Key", "key").body("{}");
        vec![
            Row("a job that waits", Expected::DONE, call("get_job", newest)),
            Row("a job that is not the newest", Expected::BEGUN, call("cancel_job", former)),
            Row("a job that waits", Expected::DONE, keyed(newest)),
            // Its stream ends once the end is on record.
            Row("a job that was cancelled", Expected::DONE, call("watch_job", newest)),
            Row("the same key", Expected::DONE, keyed(newest)),
            Row("the same key for another job", Expected::KEY_REUSED, keyed(former)),
            Row("a job that was cancelled", Expected::DONE, call("cancel_job", newest)),
            Row("a job that was cancelled", Expected::DONE, call("get_job", newest)),
            // In a region in which no other test has orders deleted.
            Row("nothing is held", Expected::DONE, approve.with("code", self.system.region.as_str()).body("{}")),
        ]
    }
}
