//! The rules of `wire.md` §4, as tables.

use super::*;
use serde_json::json;

fn purchase(storage: Storage, port_specification: PortSpecification, region: Option<&str>) -> Purchase {
    Purchase {
        units: 2.try_into().unwrap(),
        port_specification,
        storage,
        region: region.map(|region| region.parse().unwrap()),
        duration_hours: 100,
        amount: 0,
        email: String::new(),
        address: String::new(),
        recipient: String::new(),
        provider: String::new(),
        service: String::new(),
        service_id: String::new(),
        service_category_id: String::new(),
        public_key: String::new(),
    }
}

fn plain() -> Purchase {
    purchase(Storage::None, PortSpecification::User, Some("ausrine"))
}

/// Every problem of a body, as `field problem`.
fn problems(body: &Value, purchase: &Purchase) -> Vec<String> {
    match read(body, purchase) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_vec().iter().map(ToString::to_string).collect(),
    }
}

/// The guide's own body.
fn guide() -> Value {
    json!({
        "nodeSelector": {"region": "ausrine"},
        "containers": [{
            "name": "container1",
            "imageName": "nginx",
            "ports": [{"containerPort": 80, "hostPort": 2999}],
            "resource": {"memory": "100Mi"}
        }]
    })
}

#[test]
fn the_guides_body_is_read_as_it_stands() {
    let request = read(&guide(), &purchase(Storage::None, PortSpecification::User, None)).unwrap();
    assert_eq!(request.region.unwrap().as_str(), "ausrine");
    let container = request.containers.first().unwrap();
    assert_eq!((container.name.as_str(), container.image.as_str()), ("container1", "nginx"));
    assert_eq!(container.memory.to_string(), "100Mi");
}

#[test]
fn the_later_form_is_read_as_well() {
    let body = json!({
        "name": "ignored",
        "containers": [{
            "name": "web", "imageName": "nginx:stable", "resourceUnit": 2,
            "ports": [{"containerPort": 80, "protocol": "udp"}],
            "envs": [{"name": "A", "value": ""}],
            "command": "/bin/sh\n-c\ntail -f /dev/null", "args": ["a", "b c"],
            "mountPath": "", "configMountPath": "/etc/a.conf", "config": "x"
        }],
        "pvtLogin": [{"username": "", "password": ""}]
    });
    let request = read(&body, &plain()).unwrap();
    let container = request.containers.first().unwrap();
    assert_eq!(container.command, ["/bin/sh", "-c", "tail -f /dev/null"]);
    assert_eq!(container.args, ["a", "b c"]);
    assert_eq!(container.memory.to_string(), "2Gi");
    assert!(container.login.is_none() && container.mount_path.is_none() && container.config.is_some());
}

#[test]
fn a_configuration_file_is_read_from_either_form() {
    for (form, path) in [
        (json!({ "configMap": { "/etc/a.conf": "x" }, "exposedPorts": [] }), Some("/etc/a.conf")),
        (json!({ "configMountPath": "/etc/a.conf", "config": "x", "configMap": {} }), Some("/etc/a.conf")),
        (json!({ "configMap": {}, "exposedPorts": null }), None),
    ] {
        let mut body = guide();
        for (name, value) in form.as_object().unwrap() {
            body["containers"][0][name] = value.clone();
        }
        let request = read(&body, &plain()).unwrap();
        let config = request.containers.first().unwrap().config.as_ref();
        assert_eq!(config.map(|config| config.path.as_str()), path, "{form}");
    }
}

#[test]
fn every_rule_of_a_container_names_its_field() {
    for (field, value, expected) in [
        ("name", json!("Web"), "name must consist of lower case letters"),
        ("name", json!(""), "name must have 1 to 63 characters"),
        ("name", json!(7), "name must be a string"),
        ("name", Value::Null, "name is required"),
        ("imageName", json!("http://nginx"), "imageName must be an image such as nginx"),
        ("imageName", json!(""), "imageName must be an image such as nginx"),
        ("resource", json!({"memory": "100M"}), "resource.memory must be a memory size in Mi or Gi"),
        ("resource", json!({"memory": 100}), "resource.memory must be a string"),
        ("resource", json!({}), "resource.memory is required"),
        ("resource", json!({"memory": "1Gi", "cpu": "1"}), "resource.cpu is not a known field"),
        ("resource", json!("100Mi"), "resource must be an object"),
        ("resource", Value::Null, "resource is required: give resource.memory, or resourceUnit"),
        ("resourceUnit", json!(1), "resource must not be given together with resourceUnit"),
        ("ports", json!([{"containerPort": 0}]), "ports[0].containerPort must be a port number from 1 to 65535"),
        ("ports", json!([{"containerPort": 65_536}]), "ports[0].containerPort must be a port number"),
        ("ports", json!([{"containerPort": "80"}]), "ports[0].containerPort must be a whole number"),
        ("ports", json!([{"containerPort": 80.5}]), "ports[0].containerPort must be a whole number"),
        ("ports", json!([{"hostPort": 80}]), "ports[0].containerPort is required"),
        ("ports", json!([{"containerPort": 80, "hostPort": -1}]), "ports[0].hostPort must be a port number"),
        ("ports", json!([{"containerPort": 80, "protocol": "SCTP"}]), "ports[0].protocol must be TCP or UDP"),
        ("ports", json!([{"containerPort": 80, "name": "http"}]), "ports[0].name is not a known field"),
        ("ports", json!({"containerPort": 80}), "ports must be a list"),
        ("envs", json!([{"name": "9A", "value": "x"}]), "envs[0].name must consist of letters"),
        ("envs", json!([{"name": "A"}]), "envs[0].value is required"),
        ("envs", json!([{"name": "A", "value": 1}]), "envs[0].value must be a string"),
        ("envs", json!([{"name": "A", "value": "a\u{0}"}]), "envs[0].value must not contain the character NUL"),
        ("command", json!(["a", 1]), "command[1] must be a string"),
        ("args", json!(7), "args must be a string"),
        ("mountPath", json!("/data"), "mountPath must be left out: the order keeps no volume"),
        ("configMountPath", json!("/a"), "config is required together with configMountPath"),
        ("config", json!("a"), "configMountPath is required together with config"),
        ("configMap", json!({ "a": "x" }), "configMap.a has a wrong path: it must"),
        ("configMap", json!({ "/a": 1 }), "configMap./a must be a string"),
        ("configMap", json!({ "/a": "", "/b": "" }), "configMap must have at most one file"),
        ("exposedPorts", json!([{ "path": "/" }]), "exposedPorts must be empty or left out"),
        ("name", json!("error"), "name must not be error or message"),
        ("image", json!("nginx"), "image is not a known field; leave it out"),
    ] {
        let mut body = guide();
        body["containers"][0][field] = value.clone();
        let found = problems(&body, &plain());
        let expected = format!("containers[0].{expected}");
        assert!(matches!(found.as_slice(), [only] if only.starts_with(&expected)), "{field} {value}: {found:?}");
    }
}

#[test]
fn every_rule_of_the_whole_body_names_its_field() {
    let two = |first: Value, second: Value| {
        let mut body = guide();
        let mut containers = [body["containers"][0].take(), json!({"name": "b", "imageName": "b", "resourceUnit": 1})];
        for (container, change) in containers.iter_mut().zip([first, second]) {
            for (field, value) in change.as_object().unwrap() {
                container[field] = value.clone();
            }
        }
        body["containers"] = json!(containers);
        body
    };
    let port = |port: u16| json!([{"containerPort": port, "hostPort": port}]);
    for (body, expected) in [
        (json!([]), " must be an object"),
        (json!({"containers": []}), "containers must have at least one container"),
        (json!({}), "containers is required"),
        (two(json!({}), json!({"name": "container1"})), "containers[1].name must be unique"),
        (
            two(json!({"ports": port(1)}), json!({"ports": port(1)})),
            "containers[1].ports[0].containerPort must be unique",
        ),
        (two(json!({"resource": {"memory": "1025Mi"}}), json!({})), "containers must need at most 2Gi of memory"),
        (
            two(json!({"ports": [{"containerPort": 1}, {"containerPort": 2}]}), json!({"ports": port(3)})),
            "containers must have at most 2 ports together",
        ),
    ] {
        let found = problems(&body, &plain());
        let shown = found.first().cloned().unwrap_or_default();
        assert!(shown.starts_with(expected) || shown.starts_with(&format!("the body{expected}")), "{body}: {found:?}");
    }
}

#[test]
fn containers_beyond_the_units_are_told_together_with_all_other_problems() {
    let one = |name: &str| json!({"name": name, "imageName": "a", "resource": {"memory": "1Mi"}});
    let too_many = "containers must have at most 2 containers, one for each unit of the order";
    let mut body = guide();
    body["containers"] = json!([one("a"), one("b"), one("c")]);
    assert_eq!(problems(&body, &plain()), [too_many]);
    body["containers"] = json!([one("a"), one("b"), one("a"), {"name": "D", "imageName": "a", "resourceUnit": 3}]);
    body["pvtLogin"] = json!([{}]);
    let found = problems(&body, &plain());
    assert_eq!(found.len(), 4, "{found:?}");
    for (problem, expected) in found.iter().zip([
        too_many,
        "pvtLogin must have one entry for each container",
        "containers[3].name must consist of",
        "containers[2].name must be unique",
    ]) {
        assert!(problem.starts_with(expected), "{found:?}");
    }
    body["containers"] = json!(vec![7; 100_000]);
    assert_eq!(problems(&body, &plain()).first().map(String::as_str), Some(too_many));
}

#[test]
fn the_region_is_the_orders_own_once_it_has_one() {
    let other = json!({"nodeSelector": {"region": "giltine"}});
    let merge = |selector: &Value| {
        let mut body = guide();
        body["nodeSelector"] = selector["nodeSelector"].clone();
        body
    };
    let nowhere = purchase(Storage::None, PortSpecification::User, None);
    for (case, body, purchase, expected) in [
        ("absent, order has one", merge(&json!({})), plain(), None),
        ("written out", merge(&json!({"nodeSelector": {"region": "Ausrine"}})), plain(), None),
        ("another", merge(&other), plain(), Some("nodeSelector.region must be ausrine, the region of the order")),
        ("absent, order has none", merge(&json!({})), nowhere.clone(), Some("nodeSelector.region is required")),
        (
            "empty selector",
            merge(&json!({"nodeSelector": {}})),
            nowhere.clone(),
            Some("nodeSelector.region is required"),
        ),
        (
            "wildcard",
            merge(&json!({"nodeSelector": {"region": "*"}})),
            nowhere,
            Some("nodeSelector.region must consist"),
        ),
    ] {
        let found = problems(&body, &purchase);
        match expected {
            None => assert!(found.is_empty(), "{case}: {found:?}"),
            Some(start) => assert!(found.iter().any(|p| p.starts_with(start)), "{case}: {found:?}"),
        }
    }
}

#[test]
fn storage_and_mount_paths_go_together() {
    let kept = purchase(Storage::Persistent, PortSpecification::User, Some("ausrine"));
    assert_eq!(
        problems(&guide(), &kept),
        ["containers must have a mountPath in at least one container: the order keeps a volume"]
    );
    let mut body = guide();
    body["containers"][0]["mountPath"] = json!("/data");
    assert!(problems(&body, &kept).is_empty());
    body["containers"][0]["config"] = json!("x");
    body["containers"][0]["configMountPath"] = json!("/data/");
    assert_eq!(problems(&body, &kept), ["containers[0].configMountPath must differ from mountPath"]);
}

#[test]
fn an_order_with_assigned_ports_takes_no_host_port() {
    let random = purchase(Storage::None, PortSpecification::Random, Some("ausrine"));
    assert_eq!(
        problems(&guide(), &random),
        ["containers[0].ports[0].hostPort must be left out: the system assigns this order's ports"]
    );
}

#[test]
fn logins_are_one_for_each_container_and_whole() {
    for (logins, expected) in [
        (json!([]), Some("pvtLogin must have one entry for each container")),
        (json!([{"username": "a"}]), Some("pvtLogin[0] must have both username and password")),
        (json!([{"username": "a", "password": "b", "c": 1}]), Some("pvtLogin[0].c is not a known field")),
        (json!(["a"]), Some("pvtLogin[0] must be an object")),
        (json!("a"), Some("pvtLogin must be a list")),
        (json!([{"username": "a", "password": "b"}]), None),
        (json!([{"username": "", "password": ""}]), None),
    ] {
        let mut body = guide();
        body["pvtLogin"] = logins.clone();
        let found = problems(&body, &plain());
        match expected {
            None => assert!(found.is_empty(), "{logins}: {found:?}"),
            Some(start) => assert!(found.iter().any(|p| p.starts_with(start)), "{logins}: {found:?}"),
        }
    }
}

#[test]
fn a_pod_has_a_bounded_number_of_secrets() {
    let many = |count: usize| (0..count).map(|n| json!({"name": format!("V{n}"), "value": ""})).collect::<Vec<_>>();
    let mut body = guide();
    let mut other = body["containers"][0].clone();
    other["name"] = json!("other");
    other["ports"] = json!([]);
    body["containers"].as_array_mut().unwrap().push(other);
    body["containers"][0]["envs"] = json!(many(256));
    body["containers"][1]["envs"] = json!(many(256));
    assert!(problems(&body, &plain()).is_empty());
    body["pvtLogin"] = json!([{"username": "a", "password": "b"}, {"username": "", "password": ""}]);
    assert_eq!(problems(&body, &plain()), ["containers must have at most 512 variables and registry logins together"]);
}

#[test]
fn many_problems_are_told_at_once() {
    let body = json!({
        "nodeSelector": {"region": 1},
        "containers": [
            {"name": "A", "imageName": "", "resource": {"memory": "x"}, "ports": [{"containerPort": 0}, {}]},
            7
        ],
        "colour": "red"
    });
    assert_eq!(problems(&body, &plain()).len(), 8);
}

#[test]
fn sealing_leaves_no_secret_in_clear() {
    let ring = common::sealed::KeyRing::from_hex([hex::encode([3; 32]).as_str()]).unwrap();
    let mut body = guide();
    body["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    body["containers"][0]["envs"] = json!([{"name": "TOKEN", "value": "s3cret"}]);
    body["pvtLogin"] = json!([{"username": "anna", "password": "passw0rd"}]);
    let random = purchase(Storage::None, PortSpecification::Random, Some("ausrine"));
    let request = read(&body, &random).unwrap();
    let pod = request.seal(&random, &ring.public_key()).unwrap();
    let printed = serde_json::to_string(&pod).unwrap();
    assert!(!printed.contains("s3cret") && !printed.contains("passw0rd"), "{printed}");
}
