//! The rights of a worker's service account, asked of the API server one by one: what it needs, and nothing else.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use e2e::agreement::at;
use e2e::cluster::Cluster;
use e2e::test::test;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use kube::api::PostParams;
use kube::core::Request;
use serde_json::{Value, json};

/// Verbs that every resource is asked for, beside those that it has itself.
const ANY: [&str; 9] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*"];
/// Rights that are no verbs of a resource that is listed, or that lead to others.
const BESIDES: [(&str, &str, &str); 16] = [
    ("", "pods/exec", "create"),
    ("", "pods/exec", "get"),
    ("", "pods/attach", "create"),
    ("", "pods/portforward", "create"),
    ("", "pods/proxy", "get"),
    ("", "services/proxy", "get"),
    ("", "nodes/proxy", "get"),
    ("", "nodes/proxy", "create"),
    ("", "nodes/stats", "get"),
    ("", "nodes/log", "get"),
    ("", "serviceaccounts/token", "create"),
    ("", "users", "impersonate"),
    ("", "serviceaccounts", "impersonate"),
    ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
    ("rbac.authorization.k8s.io", "clusterroles", "bind"),
    ("certificates.k8s.io", "signers", "approve"),
];
/// What a worker may do everywhere.
const EVERYWHERE: [(&str, &[&str], &[&str]); 8] = [
    ("", &["pods"], &["list", "watch"]),
    ("", &["pods/log"], &["get"]),
    ("", &["nodes"], &["list"]),
    ("", &["namespaces"], &["get", "create", "delete"]),
    ("", &["secrets"], &["create", "patch", "delete"]),
    (
        "",
        &["configmaps", "persistentvolumeclaims", "resourcequotas", "serviceaccounts", "services"],
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    ("apps", &["deployments"], &["get", "list", "watch", "create", "patch", "delete"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"], &["get", "list", "watch", "create", "patch", "delete"]),
];
/// What it may do in its own namespace besides.
const AT_HOME: [(&str, &str, &[&str]); 1] =
    [("coordination.k8s.io", "leases", &["get", "list", "watch", "create", "update", "delete"])];
/// What everybody may who has a name: ask what he himself may do, and who he is.
const EVERYBODY: [(&str, &str, &str); 3] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews", "create"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "create"),
    ("authentication.k8s.io", "selfsubjectreviews", "create"),
];
/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// A group, a resource and a verb.
type Right = (String, String, String);

#[test]
fn a_worker_has_the_rights_that_it_needs_and_no_others() -> Result<()> {
    test(async |t| {
        let worker = Cluster::as_worker(t.stack).await?;
        let mut asked: BTreeSet<Right> = rights(BESIDES);
        for (group, resource, verbs) in resources(&t.cluster).await? {
            let verbs = verbs.into_iter().chain(ANY.map(str::to_owned));
            asked.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
        }
        let everywhere = EVERYWHERE.into_iter().flat_map(|(group, resources, verbs)| {
            resources.iter().flat_map(move |resource| verbs.iter().map(move |verb| (group, *resource, *verb)))
        });
        let everywhere: BTreeSet<Right> = rights(everywhere).union(&rights(EVERYBODY)).cloned().collect();
        let home = AT_HOME
            .into_iter()
            .flat_map(|(group, resource, verbs)| verbs.iter().map(move |verb| (group, resource, *verb)));
        let home: BTreeSet<Right> = everywhere.union(&rights(home)).cloned().collect();
        for (namespace, expected) in
            [("vkube-some-order", &everywhere), ("kube-system", &everywhere), ("vkube-system", &home)]
        {
            let allowed = stream::iter(asked.iter().map(|right| allowed(&worker, namespace, right)));
            let allowed: BTreeSet<Right> =
                allowed.buffer_unordered(AT_ONCE).try_filter_map(async |r| Ok(r)).try_collect().await?;
            assert_eq!(
                allowed.difference(expected).collect::<Vec<_>>(),
                Vec::<&Right>::new(),
                "too much in {namespace}"
            );
            assert_eq!(
                expected.difference(&allowed).collect::<Vec<_>>(),
                Vec::<&Right>::new(),
                "missing in {namespace}"
            );
        }
        Ok(())
    })
}

fn rights<'a>(all: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> BTreeSet<Right> {
    all.into_iter().map(|(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned())).collect()
}

/// All resources of the cluster: group, name and verbs.
async fn resources(cluster: &Cluster) -> Result<Vec<(String, String, Vec<String>)>> {
    let get = async |path: &str| -> Result<Value> {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(serde_json::from_str(&cluster.client().request_text(request).await?)?)
    };
    let groups = get("/apis").await?;
    let groups = at(&groups, "/groups").as_array().context("groups")?.clone();
    let version = |group: &Value| at(group, "/preferredVersion/groupVersion").as_str().map(|v| format!("/apis/{v}"));
    let paths = std::iter::once("/api/v1".to_owned()).chain(groups.iter().filter_map(version));
    let mut resources = Vec::new();
    for path in paths {
        let found = get(&path).await?;
        let group = path.strip_prefix("/apis/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        for resource in at(&found, "/resources").as_array().context("resources")? {
            let name = at(resource, "/name").as_str().context("a name")?;
            let verbs = serde_json::from_value(at(resource, "/verbs").clone())?;
            resources.push((group.to_owned(), name.to_owned(), verbs));
        }
    }
    ensure!(resources.len() > 50, "only {} resources", resources.len());
    Ok(resources)
}

/// The right, if it is had.
async fn allowed(worker: &Client, namespace: &str, right: &Right) -> Result<Option<Right>> {
    let (group, resource, verb) = right;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = json!({ "namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb });
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes } });
    let request = Request::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .create(&PostParams::default(), review.to_string().into_bytes())?;
    let answer: Value = serde_json::from_str(&worker.request_text(request).await?)?;
    Ok((at(&answer, "/status/allowed") == true).then(|| right.clone()))
}
