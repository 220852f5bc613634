//! What a worker may write, tried with its own credentials.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::agreement::at;
use e2e::cluster::Cluster;
use e2e::order::OrderOptions;
use e2e::pod::{container, pod};
use e2e::system::unique;
use e2e::test::test;
use e2e::until::until;
use serde_json::{Value, json};

use super::{Call, asked, made, order_with_pod};

/// How long the cluster may take to say that it makes no pod.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const NAMESPACES: &str = "/api/v1/namespaces";
const ELSEWHERE: &str = "a worker writes in namespaces of orders";
const LABELS: &str = "a worker labels and annotates namespaces";

/// What is tried, the call, the status and words of the answer.
type Attempt = (&'static str, Call, u16, &'static str);

#[test]
fn a_worker_writes_in_namespaces_of_orders_and_nowhere_else() -> Result<()> {
    test(async |t| {
        let (order, pod) = order_with_pod(t).await?;
        let worker = Cluster::as_worker(t.stack).await?;
        let all = [of_namespaces(&order.namespace(), &order.id), of_objects(&order.namespace(), &pod)];
        for (what, call, expected, words) in all.into_iter().flatten() {
            let (status, told) = asked(&worker, &call).await?;
            assert!(status == expected && told.contains(words), "{what}: {status} {told}");
        }
        Ok(())
    })
}

#[test]
fn a_worker_that_asks_for_a_privileged_pod_gets_none() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        order.running(&pod("ausrine", &[container("web", "web:1")])).await?;
        let path = format!("/apis/apps/v1/namespaces/{}/deployments", order.namespace());
        let security = json!({ "privileged": true, "allowPrivilegeEscalation": true });
        let spec = json!({ "containers": [{ "name": "web", "securityContext": security }] });
        let body = json!({ "spec": { "template": { "spec": spec } } }).to_string().into_bytes();
        let request = ::http::Request::patch(format!("{path}/{}", order.id));
        let request = request.header("content-type", "application/strategic-merge-patch+json").body(body)?;
        Cluster::as_worker(t.stack).await?.request_text(request).await?;
        until("the cluster says that it makes no such pod", TOLD_WITHIN, async || {
            let deployment = t.cluster.raw(&path, &order.id).await?;
            let conditions = at(&deployment, "/status/conditions").as_array().into_iter().flatten();
            let mut messages = conditions.filter_map(|condition| at(condition, "/message").as_str());
            Ok(messages.any(|message| message.contains("vkube-order-pods")).then_some(()))
        })
        .await?;
        let privileged =
            made(t, &order).await.is_ok_and(|pod| at(&pod, "/spec/containers/0/securityContext/privileged") == true);
        ensure!(!privileged, "a privileged pod was made");
        Ok(())
    })
}

fn of_namespaces(own: &str, order: &str) -> Vec<Attempt> {
    let name = unique("tried");
    let make = |named: &str, labels: Value, annotations: Value| -> Call {
        let metadata = json!({ "name": named, "labels": labels, "annotations": annotations });
        ("POST", NAMESPACES.to_owned(), json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
    };
    let delete = |name: &str| -> Call { ("DELETE", format!("{NAMESPACES}/{name}"), Value::Null) };
    let (label, right, none) = (json!({ "vkube.dev/order": name }), format!("vkube-{name}"), json!({}));
    let trusted = json!({ "vkube.dev/order": name, "trusted": "yes" });
    let selector = json!({ "scheduler.alpha.kubernetes.io/node-selector": "" });
    let loosened = json!({ "metadata": { "labels": { "vkube.dev/order": null } } });
    vec![
        ("an order's namespace", make(&right, label.clone(), none.clone()), 200, ""),
        ("a namespace of somebody else", make("tried", label.clone(), none.clone()), 422, ELSEWHERE),
        ("a namespace without the label", make(&right, none.clone(), none.clone()), 422, ELSEWHERE),
        ("another order's label", make(&right, json!({ "vkube.dev/order": order }), none.clone()), 422, ELSEWHERE),
        ("a namespace that others trust", make(&right, trusted, none), 422, LABELS),
        ("a namespace of certain nodes", make(&right, label, selector), 422, LABELS),
        ("no label any more", ("PATCH", format!("{NAMESPACES}/{own}"), loosened), 403, "cannot patch"),
        ("the end of somebody's namespace", delete("kube-node-lease"), 422, ELSEWHERE),
        ("the end of its own namespace", delete("vkube-system"), 422, ELSEWHERE),
        ("the end of an order's namespace", delete(own), 200, ""),
    ]
}

fn of_objects(own: &str, pod: &Value) -> Vec<Attempt> {
    let post = |group: &str, namespace: &str, kind: &str, body: &Value| -> Call {
        ("POST", format!("/{group}/namespaces/{namespace}/{kind}"), body.clone())
    };
    let object = |group: &str, kind: &str, metadata: Value, rest: Value| {
        let mut object = json!({ "apiVersion": group, "kind": kind, "metadata": metadata });
        if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
            object.extend(rest);
        }
        object
    };
    let named = json!({ "name": "tried" });
    let (core, apps, net, rbac) =
        ("api/v1", "apis/apps/v1", "apis/networking.k8s.io/v1", "apis/rbac.authorization.k8s.io/v1");
    let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": at(pod, "/spec") });
    let spec = json!({ "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } });
    let deployment = object("apps/v1", "Deployment", named.clone(), spec);
    let config = object("v1", "ConfigMap", named.clone(), json!({}));
    let of_account = json!({ "name": "tried", "annotations": { "kubernetes.io/service-account.name": "pod" } });
    let secret = |kind: &str| object("v1", "Secret", of_account.clone(), json!({ "type": kind }));
    let service = |spec: Value| object("v1", "Service", named.clone(), json!({ "spec": spec }));
    let ports = json!([{ "port": 80 }]);
    let ingress = |annotation: &str| {
        let backend = json!({ "service": { "name": "tried", "port": { "number": 80 } } });
        let metadata = json!({ "name": "tried", "annotations": { annotation: "x" } });
        object("networking.k8s.io/v1", "Ingress", metadata, json!({ "spec": { "defaultBackend": backend } }))
    };
    let admin = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" });
    let role = object("rbac.authorization.k8s.io/v1", "RoleBinding", named.clone(), json!({ "roleRef": admin }));
    let token = object("authentication.k8s.io/v1", "TokenRequest", json!({}), json!({ "spec": {} }));
    let policy = format!("{NAMESPACES}/vkube-system/configmaps/vkube-admission");
    let looser = json!({ "data": { "hostPorts": "1-65535" } });
    let snippet = "nginx.ingress.kubernetes.io/configuration-snippet";
    vec![
        ("a Deployment", post(apps, own, "deployments", &deployment), 200, ""),
        ("a Secret", post(core, own, "secrets", &secret("Opaque")), 200, ""),
        ("a Service", post(core, own, "services", &service(json!({ "ports": ports }))), 200, ""),
        ("an Ingress", post(net, own, "ingresses", &ingress("cert-manager.io/cluster-issuer")), 200, ""),
        ("a Deployment of the system", post(apps, "kube-system", "deployments", &deployment), 422, ELSEWHERE),
        ("a Deployment beside it", post(apps, "vkube-system", "deployments", &deployment), 422, ELSEWHERE),
        ("a file of the system", post(core, "kube-system", "configmaps", &config), 422, ELSEWHERE),
        ("a Secret beside it", post(core, "vkube-system", "secrets", &secret("Opaque")), 422, ELSEWHERE),
        ("what the policies go by", ("PATCH", policy, looser), 422, ELSEWHERE),
        (
            "a token that lasts",
            post(core, own, "secrets", &secret("kubernetes.io/service-account-token")),
            422,
            "no token",
        ),
        ("a token", post(core, own, "serviceaccounts/pod/token", &token), 403, "cannot create"),
        ("a pod", post(core, own, "pods", pod), 403, "cannot create"),
        ("more rights", post(rbac, own, "rolebindings", &role), 403, "cannot create"),
        (
            "a node port",
            post(core, own, "services", &service(json!({ "type": "NodePort", "ports": ports }))),
            422,
            "no port of nodes",
        ),
        (
            "an address of others",
            post(core, own, "services", &service(json!({ "externalIPs": ["192.0.2.1"], "ports": ports }))),
            422,
            "no port of nodes",
        ),
        (
            "words for the Ingress controller",
            post(net, own, "ingresses", &ingress(snippet)),
            422,
            "a worker annotates an Ingress",
        ),
    ]
}
