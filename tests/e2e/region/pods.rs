//! What no pod in an order's namespace may have, whoever makes it, tried as the cluster's administrator.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::agreement::at;
use e2e::order::OrderOptions;
use e2e::pod::{container, pod, with};
use e2e::test::test;
use e2e::until::until;
use serde_json::{Value, json};

use super::{Call, asked, made, order_with_pod};

/// The places of a pod that are tried.
const VOLUMES: &str = "/spec/volumes/-";
const PORTS: &str = "/spec/containers/0/ports";
const PRIVILEGED: &str = "/spec/containers/0/securityContext/privileged";
const ESCALATION: &str = "/spec/containers/0/securityContext/allowPrivilegeEscalation";
const CAPABILITIES: &str = "/spec/containers/0/securityContext/capabilities";
const SECCOMP: &str = "/spec/securityContext/seccompProfile";
const SCHEDULED: &str = "the scheduler chooses";

/// What a path leads to becomes this; null = nothing is there.
type Change = (&'static str, Value);

/// What is tried, the changes of a pod that make it, and words of the refusal.
type Attempt = (&'static str, Vec<Change>, &'static str);

#[test]
fn no_pod_of_an_order_gets_more_than_the_product_gives_it_whoever_makes_it() -> Result<()> {
    test(async |t| {
        let (order, pod) = order_with_pod(t).await?;
        let (path, administrator) = (format!("/api/v1/namespaces/{}/pods", order.namespace()), t.cluster.client());
        let as_made: Call = ("POST", path.clone(), pod.clone());
        assert_eq!(asked(&administrator, &as_made).await?, (200, String::new()), "the pod as the product makes it");
        for (what, changes, words) in [of_the_host(), of_privilege(), of_the_rest()].into_iter().flatten() {
            let call: Call = ("POST", path.clone(), changed(&pod, &changes)?);
            let (status, told) = asked(&administrator, &call).await?;
            let is_refused = status == 422 && told.contains("vkube-order-pods") && told.contains(words);
            assert!(is_refused, "{what}: {status} {told}");
        }
        Ok(())
    })
}

#[test]
fn a_container_that_is_added_to_a_running_pod_gets_no_more_than_others() -> Result<()> {
    test(async |t| {
        let (order, _) = order_with_pod(t).await?;
        let pod = made(t, &order).await?;
        let name = at(&pod, "/metadata/name").as_str().context("a name")?;
        let path = format!("/api/v1/namespaces/{}/pods/{name}/ephemeralcontainers", order.namespace());
        for (privileged, expected) in [(true, 422), (false, 200)] {
            let security = json!({ "privileged": privileged, "allowPrivilegeEscalation": privileged });
            let added = json!([{ "name": "look", "image": "idle:1", "securityContext": security }]);
            let call: Call = ("PATCH", path.clone(), json!({ "spec": { "ephemeralContainers": added } }));
            let (status, told) = asked(&t.cluster.client(), &call).await?;
            assert_eq!(status, expected, "privileged {privileged}: {told}");
        }
        Ok(())
    })
}

#[test]
fn a_body_of_the_fuzzers_corpus_is_refused_or_makes_a_pod_that_the_cluster_takes() -> Result<()> {
    test(async |t| {
        // No node is there: pods are made, and wait.
        let system = t.system("corpus", 1, 1).await?;
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/deploy_body");
        let mut made = 0;
        for file in std::fs::read_dir(corpus)? {
            let bytes = std::fs::read(file?.path())?;
            // The first byte says what was paid for (`tests/fuzz/src/deploy_body.rs`).
            let Some((bought, body)) = bytes.split_first() else { continue };
            let Ok(mut body) = serde_json::from_slice::<Value>(body) else { continue };
            if let Some(region) = body.pointer_mut("/nodeSelector/region").filter(|region| *region == "ausrine") {
                *region = json!("corpus");
            }
            let options = OrderOptions {
                units: u32::from(bought & 7) + 1,
                random_ports: bought & 8 != 0,
                storage: bought & 16 != 0,
                region: (bought & 32 == 0).then(|| "corpus".to_owned()),
            };
            let order = t.order_of(&system, &options).await?;
            let answer = order.deploy(&body).header("prefer", "wait=60").send().await?;
            // 409: a host port is another's.
            assert!([200, 400, 409].contains(&answer.status), "{}: {body} {answer:?}", order.id);
            made += usize::from(answer.status == 200);
        }
        assert!(made > 1, "{made} pods were made");
        Ok(())
    })
}

#[test]
fn a_pod_has_so_many_processes_and_no_more() -> Result<()> {
    test(async |t| {
        let script = "i=0; while [ $i -lt 3000 ]; do sleep 600 & i=$((i+1)); echo $i; done";
        let forks = with(container("forks", "busybox:1"), "command", json!(["/bin/sh", "-c", script]));
        let forks = with(forks, "resource", json!({ "memory": "1Gi" }));
        let order = t.order(&OrderOptions::units(1)).await?;
        order.deployed(&pod("ausrine", &[forks])).await?;
        // The shell ends then, and another run of it begins a log of its own.
        let log = until("no further process is made", Duration::from_mins(1), async || {
            let log = order.log("").await?.body.as_str().map(str::to_owned);
            Ok(log.filter(|log| log.contains("can't fork")))
        })
        .await?;
        let most = log.lines().filter_map(|line| line.parse::<u32>().ok()).max().unwrap_or_default();
        // The kubelet's podPidsLimit, which the shell and what holds the pod together count for.
        assert!((1..1024).contains(&most), "{most} processes");
        Ok(())
    })
}

fn changed(pod: &Value, changes: &[Change]) -> Result<Value> {
    let mut pod = pod.clone();
    for (path, value) in changes {
        let (parent, key) = path.rsplit_once('/').context("a path")?;
        match (pod.pointer_mut(parent).with_context(|| format!("{path} leads nowhere"))?, value) {
            (Value::Object(map), Value::Null) => drop(map.remove(key)),
            (Value::Object(map), value) => drop(map.insert(key.to_owned(), value.clone())),
            (Value::Array(list), value) => list.push(value.clone()),
            _ => anyhow::bail!("{path} leads to no object"),
        }
    }
    Ok(pod)
}

fn of_the_host() -> Vec<Attempt> {
    let port = |port: u16| vec![(PORTS, json!([{ "containerPort": 80, "hostPort": port, "protocol": "TCP" }]))];
    let volume = |kind: &str, source: Value| vec![(VOLUMES, json!({ "name": "tried", kind: source }))];
    let address = json!([{ "containerPort": 80, "hostPort": 21_999, "hostIP": "127.0.0.1" }]);
    let token = json!({ "sources": [{ "serviceAccountToken": { "path": "token" } }] });
    let (spaces, ports, volumes) = ("no namespace of the host", "a host port is one of the region's", "volumes are");
    vec![
        ("the host's network", vec![("/spec/hostNetwork", json!(true)), (PORTS, Value::Null)], spaces),
        ("the host's processes", vec![("/spec/hostPID", json!(true))], spaces),
        ("the host's IPC", vec![("/spec/hostIPC", json!(true))], spaces),
        ("a node port", port(30_080), ports),
        ("the last node port", port(32_767), ports),
        ("sshd's port", port(22), ports),
        ("the kubelet's port", port(10_250), ports),
        ("etcd's second port", port(2380), ports),
        ("an address of the host", vec![(PORTS, address)], "open on all addresses"),
        ("a folder of the host", volume("hostPath", json!({ "path": "/" })), volumes),
        ("a token by projection", volume("projected", token), volumes),
        ("somebody's share", volume("nfs", json!({ "server": "10.0.0.1", "path": "/" })), volumes),
    ]
}

fn of_privilege() -> Vec<Attempt> {
    let security = json!({ "privileged": true, "allowPrivilegeEscalation": true });
    let other = json!({ "name": "third", "image": "idle:1", "securityContext": security });
    let add = |capability: &str| vec![(CAPABILITIES, json!({ "drop": ["ALL"], "add": [capability] }))];
    let unconfined = json!({ "type": "Unconfined" });
    let (privilege, capabilities) = ("no container is privileged", "no capability beside");
    vec![
        ("privilege", vec![(PRIVILEGED, json!(true)), (ESCALATION, json!(true))], privilege),
        ("escalation", vec![(ESCALATION, json!(true))], privilege),
        ("escalation by default", vec![(ESCALATION, Value::Null)], privilege),
        ("privilege of another container", vec![("/spec/containers/-", other.clone())], privilege),
        ("privilege of an init container", vec![("/spec/initContainers", json!([other]))], privilege),
        ("CAP_SYS_ADMIN", add("SYS_ADMIN"), capabilities),
        ("CAP_NET_RAW", add("NET_RAW"), capabilities),
        ("all capabilities", add("ALL"), capabilities),
        ("no seccomp", vec![(SECCOMP, unconfined.clone())], "seccomp"),
        ("no seccomp by default", vec![(SECCOMP, Value::Null)], "seccomp"),
        (
            "no seccomp for one",
            vec![("/spec/containers/0/securityContext/seccompProfile", unconfined.clone())],
            "seccomp",
        ),
        ("no AppArmor", vec![("/spec/containers/0/securityContext/appArmorProfile", unconfined)], "AppArmor"),
        (
            "/proc as it is",
            vec![
                ("/spec/containers/0/securityContext/procMount", json!("Unmasked")),
                ("/spec/hostUsers", json!(false)),
            ],
            "/proc is masked",
        ),
        (
            "a sysctl",
            vec![("/spec/securityContext/sysctls", json!([{ "name": "kernel.msgmax", "value": "1" }]))],
            "no sysctl is set",
        ),
        (
            "SELinux options",
            vec![("/spec/containers/0/securityContext/seLinuxOptions", json!({ "type": "spc_t" }))],
            "no SELinux",
        ),
        (
            "SELinux options of all",
            vec![("/spec/securityContext/seLinuxOptions", json!({ "type": "spc_t" }))],
            "no SELinux",
        ),
    ]
}

fn of_the_rest() -> Vec<Attempt> {
    let (token, limits) = ("no token of a service account", "limits of memory and ephemeral-storage");
    // With another account's, the API server puts the token's volume there first.
    let (volumes, account) = ("volumes are", ("/spec/serviceAccountName", json!("default")));
    vec![
        ("a token", vec![("/spec/automountServiceAccountToken", json!(true))], volumes),
        ("a token of another account", vec![("/spec/automountServiceAccountToken", json!(true)), account], volumes),
        ("a token by default", vec![("/spec/automountServiceAccountToken", Value::Null)], token),
        ("no limit of memory", vec![("/spec/containers/0/resources/limits/memory", Value::Null)], limits),
        (
            "no limit of scratch space",
            vec![("/spec/containers/0/resources/limits/ephemeral-storage", Value::Null)],
            limits,
        ),
        ("any node", vec![("/spec/nodeSelector", Value::Null)], SCHEDULED),
        ("a node by name", vec![("/spec/nodeName", json!("some-node"))], SCHEDULED),
        ("nodes of others", vec![("/spec/tolerations/-", json!({ "operator": "Exists" }))], SCHEDULED),
        ("a place before others", vec![("/spec/priorityClassName", json!("system-node-critical"))], SCHEDULED),
    ]
}
