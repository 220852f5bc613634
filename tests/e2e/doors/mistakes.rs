//! Failures that every operation of a kind has, by the document.

use common::failure::Reason;
use e2e::door::{Call, Doors, Operation};
use e2e::expected::Expected;

use super::rows::Row;
use super::scene::Scene;

/// All rows.
pub(super) fn rows(scene: &Scene, doors: &Doors) -> Vec<Row> {
    doors.operations.iter().flat_map(|(id, operation)| of(id, operation, scene)).collect()
}

fn of(id: &str, operation: &Operation, scene: &Scene) -> Vec<Row> {
    let mut rows = Vec::new();
    let in_path = operation.parameters.iter().filter(|(_, place)| *place == "path");
    let call = in_path.fold(Call::of(id), |call, (name, _)| call.with(name, "x"));
    let call = if operation.has_body { call.body("{}") } else { call };
    let refused = |case, call| Row(case, Expected::UNAUTHORIZED, call);
    let allowed = match operation.security.as_deref() {
        Some("OrderSecret") => {
            rows.push(refused("no secret", call.clone()));
            rows.push(refused("a wrong secret", call.clone().with("secret", "x")));
            rows.push(refused("a token as secret", call.clone().with("secret", &scene.token)));
            call.with("secret", &scene.other.secret)
        }
        Some("OperatorToken") => {
            rows.push(refused("no token", call.clone()));
            rows.push(refused("a wrong token", call.clone().operator("x")));
            rows.push(refused("a token of another scheme", call.clone().with("Authorization", "Basic eA==")));
            rows.push(refused("a secret as token", call.clone().operator(&scene.running.secret)));
            call.operator(&scene.token)
        }
        _ => call,
    };
    let takes = |name: &str| operation.parameters.contains_key(name);
    if takes("Idempotency-Key") {
        let key = |key: &str| allowed.clone().with("Idempotency-Key", key);
        let wrong = Expected::Wrong(&["Idempotency-Key"]);
        rows.push(Row("two keys", wrong, key("a").with("Idempotency-Key", "b")));
        rows.push(Row("a long key", wrong, key(&"k".repeat(256))));
    }
    if takes("until") {
        rows.push(Row("a wrong condition", Expected::Wrong(&["until"]), allowed.clone().with("until", "ever")));
    }
    if operation.has_body {
        let invalid = Expected::Refusal(400, Reason::InvalidRequest);
        let large = Expected::Refusal(413, Reason::PayloadTooLarge);
        rows.push(Row("no JSON", invalid, allowed.clone().body("{")));
        rows.push(Row("a body that is too large", large, allowed.body(" ".repeat(300_000))));
    }
    rows
}
