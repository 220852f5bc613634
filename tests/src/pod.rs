//! Deploy bodies as customers write them.

use serde_json::{Value, json};

/// A body with these containers for a region.
pub fn pod(region: &str, containers: &[Value]) -> Value {
    json!({ "nodeSelector": { "region": region }, "containers": containers })
}

/// A container of the guide's form.
pub fn container(name: &str, image: &str) -> Value {
    json!({ "name": name, "imageName": image, "resource": { "memory": "64Mi" } })
}

/// A container that serves the page of `web:1` on a host port.
pub fn web(name: &str, host_port: u16) -> Value {
    with(container(name, "web:1"), "ports", json!([{ "containerPort": 80, "hostPort": host_port }]))
}

/// A container that writes `line 1` to `line <count>` at once and then waits.
pub fn counter(name: &str, count: u32) -> Value {
    let env = [("COUNT", count.to_string()), ("INTERVAL", "0".to_owned())];
    with(container(name, "counter:1"), "envs", envs(&env))
}

/// A container that does nothing until it is asked to end.
pub fn idle(name: &str) -> Value {
    container(name, "pause:1")
}

/// A list of environment variables.
pub fn envs(values: &[(&str, String)]) -> Value {
    values.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// A container or body with a field set.
pub fn with(mut value: Value, field: &str, to: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.insert(field.to_owned(), to);
    }
    value
}
