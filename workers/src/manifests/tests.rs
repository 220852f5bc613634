//! Snapshots of what is written for typical orders, and what must be true of all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::ingress::{Exposure, Ingress, Route, Tls};
use common::job::Run;
use common::name::JobId;
use serde_json::{Value, json};

use super::*;
use crate::kubernetes::Kind;
use crate::settings::Settings;

fn keys() -> KeyRing {
    KeyRing::from_hex(["01".repeat(32).as_str()]).unwrap()
}

fn sealed(value: &str) -> String {
    keys().public_key().seal(&value.to_owned().into()).unwrap().into()
}

/// The settings of pods, all by default.
fn pods() -> PodSettings {
    let file = std::env::temp_dir().join(format!(
        "vkube-manifests-key-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&file, "01".repeat(32)).unwrap();
    let given = BTreeMap::from([
        ("VKUBE_REGION", "ausrine".to_owned()),
        ("VKUBE_SEAL_PRIVATE_KEY_FILES", file.to_str().unwrap().to_owned()),
    ]);
    let (settings, _) = Settings::read(&given).unwrap();
    std::fs::remove_file(&file).unwrap();
    settings.pods
}

fn identity() -> Identity {
    Identity {
        repairs: false,
        order: "71b60598-e176-4357-95b0-0e75e586363a".parse().unwrap(),
        sequence: 3.try_into().unwrap(),
        revision: 2.try_into().unwrap(),
        job: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
    }
}

fn target(pod: Value) -> Target {
    Target {
        revision: 2.try_into().unwrap(),
        until: common::job::Until::Created,
        pod: serde_json::from_value(pod).unwrap(),
        run: Run::Running,
        pod_job: None,
        exposure: Exposure::Never,
    }
}

fn build(pod: Value) -> Manifests {
    Manifests::build(&identity(), &target(pod), &"ausrine".parse().unwrap(), &pods(), &keys()).unwrap()
}

fn container(name: &str, more: &Value) -> Value {
    let mut container = json!({ "name": name, "image": "nginx:stable", "memory": "100Mi", "ports": [],
        "environment": [], "command": [], "args": [], "mount_path": null, "config": null, "login": null });
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    container
}

fn pod(storage: &str, containers: &[Value]) -> Value {
    json!({ "units": 2, "storage": storage, "containers": containers })
}

fn all(manifests: &Manifests) -> Vec<&Manifest> {
    let Manifests { namespace, lasting, policy, contents, deployment, exposure } = manifests;
    [namespace].into_iter().chain(lasting).chain([policy]).chain(contents).chain([deployment]).chain(exposure).collect()
}

/// All objects of a revision, as `kubectl apply` would take them.
macro_rules! assert_objects {
    ($manifests:expr) => {{
        let bodies: Vec<_> = all(&$manifests).into_iter().map(|manifest| manifest.body.clone()).collect();
        insta::assert_yaml_snapshot!(bodies);
    }};
}

/// Only the Deployment and what its pod uses.
macro_rules! assert_pod {
    ($manifests:expr) => {{
        let manifests = $manifests;
        let bodies = manifests.contents.iter().chain([&manifests.deployment]).map(|manifest| manifest.body.clone());
        insta::assert_yaml_snapshot!(bodies.collect::<Vec<_>>());
    }};
}

#[test]
fn a_deployment_refers_to_exactly_what_its_revision_wrote() {
    let web = json!({
        "environment": [{ "name": "MODE", "value": sealed("dark") }],
        "config": { "path": "/etc/app.conf", "content": "a" },
        "login": { "username": "anna", "password": sealed("pa55") },
    });
    let manifests = build(pod("none", &[container("web", &web), container("side", &json!({}))]));
    let written = manifests.contents.iter().map(|manifest| (manifest.kind, manifest.name.clone())).collect();
    assert_eq!(references(&manifests.deployment.body), written);
}

#[test]
fn one_container_with_a_port() {
    let ports = json!({ "ports": [{ "container_port": 80, "protocol": "TCP", "host_port": 2999 }] });
    assert_objects!(build(pod("none", &[container("web", &ports)])));
}

#[test]
fn two_containers_with_environment_config_login_and_volume() {
    let web = json!({
        "ports": [{ "container_port": 80, "protocol": "TCP", "host_port": 2999 }],
        "environment": [{ "name": "MODE", "value": sealed("dark") }, { "name": "TOKEN", "value": sealed("t0ken") }],
        "mount_path": "/data",
        "config": { "path": "/etc/app/app.conf", "content": "a = 1\n" },
        "login": { "username": "anna", "password": sealed("pa55") },
    });
    let side = json!({
        "image": "registry.example.com:5000/team/side:1",
        "memory": "1Gi",
        "environment": [{ "name": "MODE", "value": sealed("bright") }],
        "login": { "username": "bert", "password": sealed("w0rd") },
    });
    assert_objects!(build(pod("persistent", &[container("web", &web), container("side", &side)])));
}

#[test]
fn a_udp_port_and_one_that_only_the_pod_itself_reaches() {
    let ports = json!({ "ports": [
        { "container_port": 53, "protocol": "UDP", "host_port": 2053 },
        { "container_port": 9000, "protocol": "TCP", "host_port": null },
    ] });
    assert_pod!(build(pod("none", &[container("dns", &ports)])));
}

#[test]
fn a_command_of_several_lines() {
    let command = json!({ "command": ["/bin/sh", "-c"], "args": ["echo $(date) $$ $HOME\ntail -f /dev/null"] });
    assert_pod!(build(pod("none", &[container("web", &command)])));
}

#[test]
fn domains_by_who_answers_for_their_certificate() {
    let mut settings = pods();
    settings.ingress.class = Some("nginx".to_owned());
    settings.ingress.issuer = Some("letsencrypt".to_owned());
    settings.ingress.tls_secret = Some("wildcard".to_owned());
    let port = |port: u16| json!({ "container_port": port, "protocol": "TCP", "host_port": null });
    let ports = json!({ "ports": [port(80), port(8080)] });
    for (case, one, other) in [
        ("issued", (80, Tls::Issued), (80, Tls::Issued)),
        ("region", (80, Tls::Region), (80, Tls::Region)),
        ("pod", (80, Tls::Pod), (80, Tls::Pod)),
        ("issued_and_region", (80, Tls::Issued), (8080, Tls::Region)),
    ] {
        let route = |(port, tls): (u16, Tls)| Route { container_port: i64::from(port).try_into().unwrap(), tls };
        let domains = [("a.example.com", one), ("b.example.com", other)];
        let domains = domains.map(|(domain, led)| (domain.parse().unwrap(), route(led)));
        let ingress = Ingress { domains: domains.into() };
        let exposed = Target { exposure: Exposure::Bound(ingress), ..target(pod("none", &[container("web", &ports)])) };
        let manifests =
            Manifests::build(&identity(), &exposed, &"ausrine".parse().unwrap(), &settings, &keys()).unwrap();
        // The policy opens the port to whoever passes the requests on.
        let bodies: Vec<_> =
            [&manifests.policy].into_iter().chain(&manifests.exposure).map(|m| m.body.clone()).collect();
        insta::assert_yaml_snapshot!(format!("domains_{case}"), bodies);
    }
}

#[test]
fn the_same_revision_always_gives_the_same_objects() {
    let wanted = pod("persistent", &[container("web", &json!({ "mount_path": "/data" }))]);
    let print = |manifests: &Manifests| {
        all(manifests).iter().fold(String::new(), |mut text, manifest| {
            write!(text, "{} {}", manifest.content, manifest.body).unwrap();
            text
        })
    };
    assert_eq!(print(&build(wanted.clone())), print(&build(wanted)));
}

#[test]
fn the_content_of_a_lasting_object_does_not_depend_on_who_writes_it() {
    let wanted = pod("none", &[container("web", &json!({}))]);
    let build = |sequence: u64, revision: u64| {
        let by = Identity { sequence: sequence.try_into().unwrap(), ..identity() };
        let by = Identity { revision: revision.try_into().unwrap(), job: JobId::new(), ..by };
        let deploy = Target { revision: by.revision, ..target(wanted.clone()) };
        Manifests::build(&by, &deploy, &"ausrine".parse().unwrap(), &pods(), &keys()).unwrap()
    };
    let (first, second) = (build(1, 1), build(2, 2));
    let contents = |manifests: &Manifests| manifests.lasting.iter().map(|m| m.content.clone()).collect::<Vec<_>>();
    assert_eq!(contents(&first), contents(&second));
    assert_ne!(first.deployment.content, second.deployment.content);
}

#[test]
fn secrets_are_in_no_other_object_and_in_no_debug_output() {
    let web = json!({
        "environment": [{ "name": "TOKEN", "value": sealed("t0ken") }],
        "login": { "username": "anna", "password": sealed("pa55") },
    });
    let manifests = build(pod("none", &[container("web", &web)]));
    for manifest in all(&manifests) {
        let text = format!("{manifest:?} {}", if manifest.kind == Kind::Secret { "" } else { &manifest.content });
        let body = if manifest.kind == Kind::Secret { String::new() } else { manifest.body.to_string() };
        for secret in ["t0ken", "pa55", "dDBrZW4", "cGE1NQ"] {
            assert!(!text.contains(secret) && !body.contains(secret), "{manifest:?}");
        }
    }
    let secrets = manifests.contents.iter().filter(|manifest| manifest.kind == Kind::Secret);
    assert_eq!(secrets.count(), 2);
}

#[test]
fn a_value_sealed_to_another_region_is_an_error() {
    let other = KeyRing::from_hex(["02".repeat(32).as_str()]).unwrap();
    let value: String = other.public_key().seal(&"x".to_owned().into()).unwrap().into();
    let web = json!({ "environment": [{ "name": "A", "value": value }] });
    let deploy = target(pod("none", &[container("web", &web)]));
    assert!(Manifests::build(&identity(), &deploy, &"ausrine".parse().unwrap(), &pods(), &keys()).is_err());
}
