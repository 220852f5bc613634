//! What is wrong with a body, part by part, and what is said of it.

use serde_json::{Value, json};

use super::super::Problem;
use super::{Of, Row, plain, right, two};

const LABEL: &str = "must consist of lower case letters, digits and '-', and begin and end with a letter or a digit";
const LENGTH: &str = "must have 1 to 63 characters";
const REGION_LENGTH: &str = "must have 1 to 40 characters";
const IMAGE: &str = "must be an image such as nginx, nginx:stable or registry.example.com/team/app:1.0";
const MEMORY: &str = "must be a memory size in Mi or Gi, such as 100Mi or 2Gi";
const UNITS: &str = "must be a whole number from 1 to the order's units";
const ONE_FORM: &str = "must not be given together with resourceUnit: exactly one of the two";
const NO_FORM: &str = "is required: give resource.memory, or resourceUnit";
const TOO_MUCH_MEMORY: &str = "must need at most 2Gi of memory together, which is what the order has";
const TOO_MANY_PORTS: &str = "must have at most 2 ports together, one for each unit";
const PORT: &str = "must be a port number from 1 to 65535";
const PROTOCOL: &str = "must be TCP or UDP";
const UNIQUE_TCP: &str = "must be unique: another TCP port of the pod has this number";
const UNIQUE_UDP: &str = "must be unique: another UDP port of the pod has this number";
const VARIABLE: &str = "must consist of letters, digits, '-', '_' and '.', not begin with a digit or '..', and have at most 253 characters";
const PATH: &str =
    "must be an absolute path such as /data, without '..', ':' or control characters, of at most 1024 characters";
const STRING: &str = "must be a string";
const WHOLE: &str = "must be a whole number";
const LIST: &str = "must be a list";
const OBJECT: &str = "must be an object";
const NUL: &str = "must not contain the character NUL";
const REQUIRED: &str = "is required";
const UNKNOWN: &str = "is not a known field; leave it out";
const NO_REGION_YET: &str = "is required: the order has no region yet";
const NO_VOLUME: &str = "must be left out: the order keeps no volume";
const VOLUME: &str = "must have a mountPath in at least one container: the order keeps a volume";
const ASSIGNED: &str = "must be left out: the system assigns this order's ports";
const LOGINS: &str = "must have one entry for each container, in their order";
const HALF_LOGIN: &str = "must have both username and password, or both empty for a public image";
const WITH_PATH: &str = "is required together with configMountPath";
const WITH_CONFIG: &str = "is required together with config";

/// Every row.
pub(in super::super) fn rows() -> Vec<Row> {
    let mut rows = names_and_images();
    rows.extend(memory());
    rows.extend(ports());
    rows.extend(environment_and_words());
    rows.extend(files_and_volumes());
    rows.extend(logins());
    rows.extend(region_and_whole());
    rows
}

fn names_and_images() -> Vec<Row> {
    let name = |value: Value, problem| plain("/containers/0/name", value, &[("containers[0].name", problem)]);
    let image =
        |value: Value, problem| plain("/containers/0/imageName", value, &[("containers[0].imageName", problem)]);
    vec![
        name(json!("Web"), LABEL),
        name(json!("-a"), LABEL),
        name(json!("a-"), LABEL),
        name(json!("a.b"), LABEL),
        name(json!("a b"), LABEL),
        name(json!("a_b"), LABEL),
        name(json!("wėb"), LABEL),
        name(json!("a\nb"), LABEL),
        name(json!(""), LENGTH),
        name(json!("a".repeat(64)), LENGTH),
        name(json!("a\u{0}"), NUL),
        name(json!(7), STRING),
        name(json!(true), STRING),
        name(json!(["a"]), STRING),
        name(json!({ "a": 1 }), STRING),
        name(Value::Null, REQUIRED),
        image(json!(""), IMAGE),
        image(json!("Nginx"), IMAGE),
        image(json!("nginx:"), IMAGE),
        image(json!("nginx stable"), IMAGE),
        image(json!("nginx\n"), IMAGE),
        image(json!("a..b"), IMAGE),
        image(json!("http://nginx"), IMAGE),
        image(json!("https://registry.example.com/a:1"), IMAGE),
        image(json!("localhost:99999/web"), IMAGE),
        image(json!("nginx@sha256:12"), IMAGE),
        image(json!(format!("nginx:{}", "a".repeat(129))), IMAGE),
        image(json!("a".repeat(601)), IMAGE),
        image(json!(1), STRING),
        image(Value::Null, REQUIRED),
        plain("/containers/0/image", json!("nginx"), &[("containers[0].image", UNKNOWN)]),
        plain("/containers/0/Name", json!("a"), &[("containers[0].Name", UNKNOWN)]),
        plain(
            "/containers/0/securityContext",
            json!({ "privileged": true }),
            &[("containers[0].securityContext", UNKNOWN)],
        ),
        plain("/containers/0/volumeMounts", json!([]), &[("containers[0].volumeMounts", UNKNOWN)]),
    ]
}

fn memory() -> Vec<Row> {
    let memory = |value: Value, problem| {
        plain("/containers/0/resource/memory", value, &[("containers[0].resource.memory", problem)])
    };
    let resource = |value: Value, place, problem| plain("/containers/0/resource", value, &[(place, problem)]);
    let unit = |value: Value, problem| {
        let container = json!([{ "name": "web", "imageName": "web:1", "resourceUnit": value }]);
        plain("/containers", container, &[("containers[0].resourceUnit", problem)])
    };
    vec![
        memory(json!("100M"), MEMORY),
        memory(json!("100MB"), MEMORY),
        memory(json!("100"), MEMORY),
        memory(json!("1G"), MEMORY),
        memory(json!("1024Ki"), MEMORY),
        memory(json!("0Mi"), MEMORY),
        memory(json!("0.5Mi"), MEMORY),
        memory(json!("-1Gi"), MEMORY),
        memory(json!("+1Gi"), MEMORY),
        memory(json!("1 Gi"), MEMORY),
        memory(json!("1e3Mi"), MEMORY),
        memory(json!("1.Gi"), MEMORY),
        memory(json!(".5Gi"), MEMORY),
        memory(json!("1025Gi"), MEMORY),
        memory(json!("9999999999Gi"), MEMORY),
        memory(json!("Gi"), MEMORY),
        memory(json!("64mi"), MEMORY),
        memory(json!(""), MEMORY),
        memory(json!(64), STRING),
        memory(Value::Null, REQUIRED),
        plain("/containers/0/resource/memory", json!("3Gi"), &[("containers", TOO_MUCH_MEMORY)]),
        plain("/containers/0/resource/memory", json!("2.0001Gi"), &[("containers", TOO_MUCH_MEMORY)]),
        plain(
            "/containers",
            two(json!({ "resource": { "memory": "1025Mi" } }), json!({ "resource": { "memory": "1Gi" } })),
            &[("containers", TOO_MUCH_MEMORY)],
        ),
        plain("/containers/0/resource/cpu", json!("1"), &[("containers[0].resource.cpu", UNKNOWN)]),
        resource(json!("64Mi"), "containers[0].resource", OBJECT),
        resource(json!([]), "containers[0].resource", OBJECT),
        resource(json!({}), "containers[0].resource.memory", REQUIRED),
        resource(Value::Null, "containers[0].resource", NO_FORM),
        plain("/containers/0/resourceUnit", json!(1), &[("containers[0].resource", ONE_FORM)]),
        unit(json!(0), UNITS),
        unit(json!(-1), UNITS),
        unit(json!(1001), UNITS),
        unit(json!(1.5), WHOLE),
        unit(json!("1"), WHOLE),
        plain(
            "/containers",
            json!([{ "name": "web", "imageName": "web:1", "resourceUnit": 3 }]),
            &[("containers", TOO_MUCH_MEMORY)],
        ),
    ]
}

fn ports() -> Vec<Row> {
    let inside = |value: Value, problem| {
        plain("/containers/0/ports/0/containerPort", value, &[("containers[0].ports[0].containerPort", problem)])
    };
    let outside = |value: Value, problem| {
        plain("/containers/0/ports/0/hostPort", value, &[("containers[0].ports[0].hostPort", problem)])
    };
    let protocol = |value: Value, problem| {
        plain("/containers/0/ports/0/protocol", value, &[("containers[0].ports[0].protocol", problem)])
    };
    let all = |value: Value, problems: &[Problem]| plain("/containers/0/ports", value, problems);
    let tcp = |port: u16| json!({ "ports": [{ "containerPort": port, "hostPort": port }] });
    vec![
        inside(json!(0), PORT),
        inside(json!(-80), PORT),
        inside(json!(65_536), PORT),
        inside(json!("80"), WHOLE),
        inside(json!(80.5), WHOLE),
        inside(json!(true), WHOLE),
        inside(json!(18_446_744_073_709_551_615_u64), WHOLE),
        inside(Value::Null, REQUIRED),
        outside(json!(0), PORT),
        outside(json!(-1), PORT),
        outside(json!(65_536), PORT),
        outside(json!("2998"), WHOLE),
        outside(json!([2998]), WHOLE),
        protocol(json!("SCTP"), PROTOCOL),
        protocol(json!("TCP "), PROTOCOL),
        protocol(json!(6), STRING),
        plain("/containers/0/ports/0/name", json!("http"), &[("containers[0].ports[0].name", UNKNOWN)]),
        plain("/containers/0/ports/0/hostIP", json!("0.0.0.0"), &[("containers[0].ports[0].hostIP", UNKNOWN)]),
        all(json!({ "containerPort": 80 }), &[("containers[0].ports", LIST)]),
        all(json!("80"), &[("containers[0].ports", LIST)]),
        all(json!([80]), &[("containers[0].ports[0]", OBJECT)]),
        all(json!([{}]), &[("containers[0].ports[0].containerPort", REQUIRED)]),
        all(
            json!([{ "containerPort": 80 }, { "containerPort": 80 }]),
            &[("containers[0].ports[1].containerPort", UNIQUE_TCP)],
        ),
        all(
            json!([{ "containerPort": 80, "protocol": "UDP" }, { "containerPort": 80, "protocol": "udp" }]),
            &[("containers[0].ports[1].containerPort", UNIQUE_UDP)],
        ),
        all(
            json!([{ "containerPort": 80, "hostPort": 2998 }, { "containerPort": 81, "hostPort": 2998 }]),
            &[("containers[0].ports[1].hostPort", UNIQUE_TCP)],
        ),
        all(
            json!([{ "containerPort": 1 }, { "containerPort": 2 }, { "containerPort": 3 }]),
            &[("containers", TOO_MANY_PORTS)],
        ),
        plain(
            "/containers",
            two(tcp(80), tcp(80)),
            &[("containers[1].ports[0].containerPort", UNIQUE_TCP), ("containers[1].ports[0].hostPort", UNIQUE_TCP)],
        ),
        plain(
            "/containers",
            two(json!({ "ports": [{ "containerPort": 1 }, { "containerPort": 2 }] }), tcp(3)),
            &[("containers", TOO_MANY_PORTS)],
        ),
        Row(Of::Random, "/name", json!("x"), vec![("containers[0].ports[0].hostPort", ASSIGNED)]),
    ]
}

fn environment_and_words() -> Vec<Row> {
    let name = |value: Value, problem| {
        plain(
            "/containers/0/envs",
            json!([{ "name": value, "value": "x" }]),
            &[("containers[0].envs[0].name", problem)],
        )
    };
    let value = |value: Value, problem| {
        plain(
            "/containers/0/envs",
            json!([{ "name": "A", "value": value }]),
            &[("containers[0].envs[0].value", problem)],
        )
    };
    vec![
        name(json!("9A"), VARIABLE),
        name(json!(""), VARIABLE),
        name(json!("A B"), VARIABLE),
        name(json!("A=B"), VARIABLE),
        name(json!(".."), VARIABLE),
        name(json!("..A"), VARIABLE),
        name(json!("A".repeat(254)), VARIABLE),
        name(json!(1), STRING),
        name(Value::Null, REQUIRED),
        value(json!(1), STRING),
        value(json!(true), STRING),
        value(json!("a\u{0}b"), NUL),
        value(Value::Null, REQUIRED),
        plain("/containers/0/envs", json!({ "A": "x" }), &[("containers[0].envs", LIST)]),
        plain("/containers/0/envs", json!(["A=x"]), &[("containers[0].envs[0]", OBJECT)]),
        plain(
            "/containers/0/envs",
            json!([{ "name": "A", "value": "x", "valueFrom": {} }]),
            &[("containers[0].envs[0].valueFrom", UNKNOWN)],
        ),
        plain(
            "/containers/0/envs",
            json!([{ "name": "A", "value": "x" }, { "name": "A", "value": "y" }]),
            &[("containers[0].envs[1].name", "must be unique: another variable of the container has this name")],
        ),
        plain("/containers/0/command", json!(7), &[("containers[0].command", STRING)]),
        plain("/containers/0/command", json!({ "a": 1 }), &[("containers[0].command", STRING)]),
        plain("/containers/0/command", json!(["sh", 1]), &[("containers[0].command[1]", STRING)]),
        plain("/containers/0/command", json!("a\u{0}"), &[("containers[0].command", NUL)]),
        plain(
            "/containers/0/command",
            json!("a\n".repeat(300)),
            &[("containers[0].command", "must have at most 256 lines")],
        ),
        plain("/containers/0/args", json!(7), &[("containers[0].args", STRING)]),
        plain("/containers/0/args", json!([["a"]]), &[("containers[0].args[0]", STRING)]),
        plain("/containers/0/args", json!(vec!["a"; 257]), &[("containers[0].args", "must have at most 256 entries")]),
    ]
}

fn files_and_volumes() -> Vec<Row> {
    let config = |path: Value, content: Value, place, problem| {
        let container = json!([{
            "name": "web", "imageName": "web:1", "resource": { "memory": "64Mi" },
            "configMountPath": path, "config": content
        }]);
        plain("/containers", container, &[(place, problem)])
    };
    let mount =
        |value: Value, problems: &[Problem]| Row(Of::Volume, "/containers/0/mountPath", value, problems.to_vec());
    let path = "containers[0].configMountPath";
    vec![
        config(json!("/a.conf"), Value::Null, "containers[0].config", WITH_PATH),
        config(json!("/a.conf"), json!(""), "containers[0].config", WITH_PATH),
        config(Value::Null, json!("x"), path, WITH_CONFIG),
        config(json!("a.conf"), json!("x"), path, PATH),
        config(json!("/"), json!("x"), path, PATH),
        config(json!("/etc/../a"), json!("x"), path, PATH),
        config(json!("/etc//a"), json!("x"), path, PATH),
        config(json!("/etc/a:b"), json!("x"), path, PATH),
        config(json!("/etc/a\nb"), json!("x"), path, PATH),
        config(json!(format!("/{}", "a".repeat(1024))), json!("x"), path, PATH),
        config(json!(1), json!("x"), path, STRING),
        config(json!("/a"), json!(1), "containers[0].config", STRING),
        plain("/containers/0/mountPath", json!("/data"), &[("containers[0].mountPath", NO_VOLUME)]),
        mount(json!(""), &[("containers", VOLUME)]),
        mount(Value::Null, &[("containers", VOLUME)]),
        mount(json!("data"), &[("containers[0].mountPath", PATH)]),
        mount(json!("/"), &[("containers[0].mountPath", PATH)]),
        mount(json!("/a/../b"), &[("containers[0].mountPath", PATH)]),
        mount(json!(["/data"]), &[("containers[0].mountPath", STRING)]),
    ]
}

fn logins() -> Vec<Row> {
    let logins = |value: Value, place, problem| plain("/pvtLogin", value, &[(place, problem)]);
    vec![
        logins(json!([]), "pvtLogin", LOGINS),
        logins(json!([{}, {}]), "pvtLogin", LOGINS),
        logins(json!({ "username": "a" }), "pvtLogin", LIST),
        logins(json!("a:b"), "pvtLogin", LIST),
        logins(json!(["a:b"]), "pvtLogin[0]", OBJECT),
        logins(json!([{ "username": "a" }]), "pvtLogin[0]", HALF_LOGIN),
        logins(json!([{ "password": "b" }]), "pvtLogin[0]", HALF_LOGIN),
        logins(json!([{ "username": "a", "password": "" }]), "pvtLogin[0]", HALF_LOGIN),
        logins(json!([{ "username": 1, "password": "b" }]), "pvtLogin[0].username", STRING),
        logins(json!([{ "username": "a", "password": 1 }]), "pvtLogin[0].password", STRING),
        logins(json!([{ "username": "a", "password": "b", "registry": "c" }]), "pvtLogin[0].registry", UNKNOWN),
    ]
}

fn region_and_whole() -> Vec<Row> {
    let region = |value: Value, problem| plain("/nodeSelector/region", value, &[("nodeSelector.region", problem)]);
    let containers = |value: Value, problem| plain("/containers", value, &[("containers", problem)]);
    let whole = |value: Value, problems: &[Problem]| plain("", value, problems);
    vec![
        region(json!("*"), LABEL),
        region(json!("a.b"), LABEL),
        region(json!("aušrinė"), LABEL),
        region(json!(""), REGION_LENGTH),
        region(json!("a".repeat(41)), REGION_LENGTH),
        region(json!(1), STRING),
        region(Value::Null, REQUIRED),
        plain("/nodeSelector", Value::Null, &[("nodeSelector.region", NO_REGION_YET)]),
        plain("/nodeSelector", json!("ausrine"), &[("nodeSelector", OBJECT)]),
        plain("/nodeSelector/zone", json!("a"), &[("nodeSelector.zone", UNKNOWN)]),
        Row(
            Of::Ausrine,
            "/nodeSelector/region",
            json!("giltine"),
            vec![("nodeSelector.region", "must be ausrine, the region of the order")],
        ),
        containers(json!([]), "must have at least one container"),
        plain(
            "/containers",
            json!([right()["containers"][0], 7, {}]),
            &[
                ("containers", "must have at most 2 containers, one for each unit of the order"),
                ("containers[1]", OBJECT),
                ("containers[2].name", REQUIRED),
                ("containers[2].imageName", REQUIRED),
                ("containers[2].resource", NO_FORM),
            ],
        ),
        containers(json!({}), LIST),
        containers(json!("web"), LIST),
        containers(Value::Null, REQUIRED),
        plain("/containers/0", json!("web"), &[("containers[0]", OBJECT)]),
        plain("/containers/0", Value::Null, &[("containers[0]", OBJECT)]),
        plain(
            "/containers",
            two(json!({}), json!({ "name": "a" })),
            &[("containers[1].name", "must be unique: another container has this name")],
        ),
        plain("/replicas", json!(2), &[("replicas", UNKNOWN)]),
        plain("/hostNetwork", json!(true), &[("hostNetwork", UNKNOWN)]),
        whole(json!([]), &[("", OBJECT)]),
        whole(json!("deploy"), &[("", OBJECT)]),
        whole(json!(1), &[("", OBJECT)]),
        whole(Value::Null, &[("", OBJECT)]),
        whole(json!({}), &[("nodeSelector.region", NO_REGION_YET), ("containers", REQUIRED)]),
        whole(
            json!({
                "nodeSelector": { "region": 1 },
                "containers": [
                    { "name": "A", "imageName": "", "resource": { "memory": "x" }, "ports": [{ "containerPort": 0 }, {}] },
                    7
                ],
                "colour": "red"
            }),
            &[
                ("nodeSelector.region", STRING),
                ("colour", UNKNOWN),
                ("containers[0].name", LABEL),
                ("containers[0].imageName", IMAGE),
                ("containers[0].resource.memory", MEMORY),
                ("containers[0].ports[0].containerPort", PORT),
                ("containers[0].ports[1].containerPort", REQUIRED),
                ("containers[1]", OBJECT),
            ],
        ),
    ]
}
