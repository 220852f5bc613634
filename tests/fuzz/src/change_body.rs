//! The bodies that change a part of an order: configuration and environment, images, domains; and those of an operator.

use std::sync::LazyLock;

use api::app::edit::Part;
use api::app::expose::{Ask, read};
use api::app::order_request;
use common::ingress::{Exposure, Ingress};
use common::pod::Pod;
use serde_json::{Value, json};

use crate::region::{KEYS, takes};

/// What is changed.
static POD: LazyLock<Pod> = LazyLock::new(|| {
    let sealed = String::from(KEYS.public_key().seal(&"old".into()).expect("there is randomness"));
    let container = |name: &str| {
        json!({ "name": name, "image": "nginx:stable", "memory": "100Mi",
            "ports": [{ "container_port": 80, "protocol": "TCP", "host_port": 2999 }],
            "environment": [{ "name": "MODE", "value": sealed }], "command": [], "args": [], "mount_path": null,
            "config": { "path": "/etc/a.conf", "content": "old" },
            "login": { "username": "anna", "password": sealed } })
    };
    let pod = json!({ "units": 2, "storage": "none", "containers": [container("web"), container("side")] });
    serde_json::from_value(pod).expect("a pod")
});

/// How its domains are bound before.
static BOUND: LazyLock<Exposure> = LazyLock::new(|| {
    let route = json!({ "container_port": 80, "tls": "region" });
    let ingress = json!({ "domains": { "shop.example.com": route } });
    Exposure::Bound(serde_json::from_value::<Ingress>(ingress).expect("an ingress"))
});

/// A change that is accepted leaves a pod that its region takes, with the same containers and ports; domains that are bound are
/// host names in lower case, each in one rule. The first byte says what is changed.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let Some((what, body)) = data.split_first() else { return };
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
    match what % 6 {
        0 => edited(Part::Settings, &body),
        1 => edited(Part::Images, &body),
        2 => exposed(Ask::Bind, &body, &Exposure::Never),
        3 => exposed(Ask::Bind, &body, &BOUND),
        4 => exposed(Ask::Edit, &body, &BOUND),
        _ => drop(order_request::read(&body)),
    }
}

fn edited(part: Part, body: &Value) {
    let mut pod = POD.clone();
    let Ok(edit) = part.read(body, &pod) else { return };
    edit.apply(&mut pod, &KEYS.public_key()).expect("there is randomness");
    let lasting = |pod: &Pod| -> Vec<_> {
        pod.containers.iter().map(|one| (one.name.clone(), one.ports.clone(), one.memory)).collect()
    };
    assert_eq!(lasting(&pod), lasting(&POD));
    takes(pod, Exposure::Never);
}

fn exposed(ask: Ask, body: &Value, before: &Exposure) {
    let Ok(exposure) = read(ask, body, before, &POD) else { return };
    let printed = serde_json::to_vec(&exposure).expect("it can be printed");
    assert_eq!(serde_json::from_slice::<Exposure>(&printed).expect("it can be read"), exposure);
    for manifest in takes(POD.clone(), exposure) {
        let Some(rules) = manifest.body.pointer("/spec/rules").and_then(Value::as_array) else { continue };
        let hosts: Vec<&str> = rules.iter().filter_map(|rule| rule.get("host")?.as_str()).collect();
        assert!(hosts.is_sorted() && hosts.len() == rules.len() && hosts.len() <= 32, "{hosts:?}");
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        assert!(hosts.iter().all(|host| host.contains('.') && host.bytes().all(plain)), "{hosts:?}");
    }
}
