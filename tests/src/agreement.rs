//! Whether what is in the cluster of an order is what its target and its body say, and nothing else.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::port::{HostPort, Protocol};
use serde_json::{Value, json};

/// What there is in an order's namespace, as the API server prints it.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Its Deployments.
    pub deployments: Vec<Value>,
    /// Its pods.
    pub pods: Vec<Value>,
    /// Its config maps, but the one that Kubernetes makes.
    pub config_maps: Vec<Value>,
    /// Its Secrets.
    pub secrets: Vec<Value>,
    /// What it has one of each: network policies, quotas and service accounts, but the one that Kubernetes makes.
    pub singles: Vec<Value>,
}

/// What stands at a place, null where there is nothing.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The host ports of a container, in a body or in a pod.
pub fn host_ports(container: &Value) -> BTreeSet<HostPort> {
    let host = |port: &Value| {
        let protocol = at(port, "/protocol").as_str().map_or(Ok(Protocol::Tcp), str::parse).ok()?;
        Some(HostPort { protocol, port: at(port, "/hostPort").as_i64()?.try_into().ok()? })
    };
    at(container, "/ports").as_array().into_iter().flatten().filter_map(host).collect()
}

/// What is wrong, if anything: of an order with the one container `web`, with one environment value and one file.
/// `target` is `{"revision", "run", "pod_job"}`; `ports` are the order's, chosen or assigned.
pub fn disagreement(objects: &Objects, target: &Value, body: &Value, ports: &BTreeSet<HostPort>) -> Option<String> {
    let (revision, running) = (at(target, "/revision").to_string(), at(target, "/run") == "running");
    let wanted = at(body, "/containers/0");
    let expected = json!({
        "revision": revision,
        "pod_job": at(target, "/pod_job"),
        "replicas": u8::from(running),
        "image": at(wanted, "/imageName"),
        "ports": ports,
        "env": "env-r".to_owned() + &revision,
        "config": "config-r".to_owned() + &revision,
    });
    let templates = objects.deployments.iter().map(|d| seen(at(d, "/spec/template"), at(d, "/spec/replicas")));
    let found: Vec<Value> = templates.collect();
    if found != [expected.clone()] {
        return Some(format!("Deployments {found:#?} instead of {expected:#}"));
    }
    let found: Vec<Value> = objects.pods.iter().map(|pod| seen(pod, &json!(1))).collect();
    if found != vec![expected; usize::from(running)] {
        return Some(format!("pods {found:#?}, of which {} should run", u8::from(running)));
    }
    if let Some(pod) = objects.pods.iter().find(|pod| at(pod, "/status/phase") != "Running") {
        return Some(format!("a pod is {}", at(pod, "/status")));
    }
    contents(objects, &revision, wanted).or_else(|| singles(objects))
}

/// The policy, the quota and the account are there and grant nothing more.
fn singles(objects: &Objects) -> Option<String> {
    let says = |object: &Value| {
        let policy = at(object, "/spec/policyTypes");
        json!([policy, at(object, "/spec/hard/pods"), at(object, "/automountServiceAccountToken")])
    };
    let found: Vec<Value> = objects.singles.iter().map(says).collect();
    let expected = [json!([["Ingress", "Egress"], null, null]), json!([null, "2", null]), json!([null, null, false])];
    (found != expected).then(|| format!("policies, quotas and accounts {found:?} instead of {expected:?}"))
}

/// What of a pod or a template is the order's.
fn seen(template: &Value, replicas: &Value) -> Value {
    let container = at(template, "/spec/containers/0");
    json!({
        "revision": at(template, "/metadata/annotations/vkube.dev~1revision"),
        "pod_job": at(template, "/metadata/annotations/vkube.dev~1job"),
        "replicas": replicas,
        "image": at(container, "/image"),
        "ports": host_ports(container),
        "env": at(container, "/env/0/valueFrom/secretKeyRef/name"),
        "config": at(template, "/spec/volumes/0/configMap/name"),
    })
}

fn contents(objects: &Objects, revision: &str, wanted: &Value) -> Option<String> {
    let all = objects.config_maps.iter().chain(&objects.secrets);
    let names: Vec<&str> = all.filter_map(|object| at(object, "/metadata/name").as_str()).collect();
    if names != [format!("config-r{revision}"), format!("env-r{revision}")] {
        return Some(format!("config maps and Secrets {names:?} of revision {revision}"));
    }
    let data = |objects: &[Value], key: &str| {
        let found = objects.first().and_then(|object| at(object, key).as_str());
        found.unwrap_or_default().to_owned()
    };
    let (file, page) = (data(&objects.config_maps, "/data/web"), data(&objects.secrets, "/data/web.PAGE"));
    let page = STANDARD.decode(page).unwrap_or_default();
    let page = String::from_utf8_lossy(&page);
    let same = at(wanted, "/config") == file.as_str() && at(wanted, "/envs/0/value") == page.as_ref();
    (!same).then(|| format!("the contents of {wanted} are {file:?} and {page:?}"))
}
