//! What somebody changes by hand in an order's objects is seen within a minute, told, and put right, unless the settings say
//! otherwise.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::agreement::at;
use e2e::cluster::page;
use e2e::order::{Order, OrderOptions, text};
use e2e::pod::{container, envs, idle, pod, web, with};
use e2e::system::{System, host_port};
use e2e::test::{Test, test};
use e2e::until::until;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use reqwest::Method;
use serde_json::{Value, json};

/// How soon it is put right.
const WITHIN: Duration = Duration::from_mins(1);

/// An order that has an object of nearly every kind, and its host port.
async fn deployed(t: &Test) -> Result<(Order, u16)> {
    let order = t.order(&OrderOptions::units(2)).await?;
    let port = host_port();
    let more = with(container("more", "busybox:1"), "command", json!("/bin/sh\n-c\ntail -f /dev/null"));
    let more = with(more, "envs", envs(&[("MODE", "as ordered".to_owned())]));
    let more = with(with(more, "configMountPath", json!("/etc/app.conf")), "config", json!("as ordered\n"));
    order.running(&pod("ausrine", &[web("web", port), more])).await?;
    order.ready().await?;
    Ok((order, port))
}

/// What of an order's objects somebody may have changed: all that they say, but for who wrote it.
async fn says(t: &Test, order: &Order) -> Result<Value> {
    let namespace = order.namespace();
    let of = |group: &str, plural: &str| format!("/{group}/namespaces/{namespace}/{plural}");
    let mut all = Vec::new();
    for (group, plural) in [
        ("apis/apps/v1", "deployments"),
        ("apis/networking.k8s.io/v1", "networkpolicies"),
        ("api/v1", "configmaps"),
        ("api/v1", "secrets"),
        ("api/v1", "resourcequotas"),
        ("api/v1", "serviceaccounts"),
    ] {
        for object in t.cluster.list(&of(group, plural)).await? {
            let name = at(&object, "/metadata/name");
            if name == "kube-root-ca.crt" || name == "default" {
                continue;
            }
            let parts = ["/metadata/labels", "/spec", "/data", "/immutable", "/automountServiceAccountToken"];
            let parts: Vec<_> = parts.iter().map(|part| at(&object, part)).collect();
            all.push(json!([plural, name, parts]));
        }
    }
    Ok(Value::Array(all))
}

/// The words of the order's history about a kind of event, newest first.
async fn events(system: &System, order: &Order, event: &str) -> Result<Vec<Value>> {
    let request = order.request(Method::GET, &format!("/admin/orders/{}", order.id));
    let details = request.operator(&system.operator_token).send().await?.ok()?;
    let history = details["history"].as_array().context("history")?;
    Ok(history.iter().filter(|entry| entry["event"] == event).cloned().collect())
}

/// Does something to an order by hand and waits until it is as before.
async fn is_put_right(t: &Test, order: &Order, wrong: &str, deed: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let system = t.shared().await?;
    let before = says(t, order).await?;
    deed().await?;
    let changed = says(t, order).await?;
    ensure!(changed != before, "nothing was changed: {wrong}");
    let what = format!("{wrong} is put right");
    let put_right = until(&what, WITHIN, async || Ok((says(t, order).await? == before).then_some(()))).await;
    if let Err(error) = put_right {
        let now = says(t, order).await?;
        return Err(error.context(format!("was {before:#}\nis {now:#}")));
    }
    let told = events(system, order, "repaired").await?;
    let told = told.first().with_context(|| format!("{wrong}: nothing is told"))?;
    ensure!(told["objects"].to_string().contains(wrong), "{wrong}: {told}");
    let job = order.ended(&text(told, "/jobId")?, WITHIN).await?;
    ensure!((&job["verb"], &job["state"]) == (&json!("repair"), &json!("Succeeded")), "{wrong}: {job}");
    Ok(())
}

/// Does what `kubectl` does that is called so.
async fn patch<K>(t: &Test, order: &Order, who: &str, name: &str, patch: Patch<Value>) -> Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(t.cluster.client(), &order.namespace());
    let params = PatchParams { field_manager: Some(who.to_owned()), ..PatchParams::default() };
    api.patch(name, &params, &patch).await?;
    Ok(())
}

#[test]
fn a_deployment_that_somebody_changes_or_deletes_is_as_ordered_again() -> Result<()> {
    test(async |t| {
        let (order, port) = deployed(t).await?;
        let name = order.id.clone();
        let deployment = format!("Deployment/{name}");
        is_put_right(t, &order, &format!("{deployment} was changed by kubectl-edit"), async || {
            let foreign = json!([{ "name": "miner", "image": "busybox:1", "command": ["tail", "-f", "/dev/null"] },
                { "name": "web", "image": "busybox:1" }]);
            let spec = json!({ "spec": { "replicas": 0, "template": { "spec": { "containers": foreign } } } });
            patch::<Deployment>(t, &order, "kubectl-edit", &name, Patch::Strategic(spec)).await
        })
        .await?;
        is_put_right(t, &order, &format!("{deployment} lacks a field"), async || {
            // As kubectl does it that removes a limit.
            let removed = json!({ "spec": { "template": { "spec": { "containers": [
                { "name": "more", "resources": { "limits": { "memory": null } } }] } } } });
            patch::<Deployment>(t, &order, "kubectl-edit", &name, Patch::Strategic(removed)).await
        })
        .await?;
        is_put_right(t, &order, &format!("{deployment} is missing"), async || {
            let deployments: Api<Deployment> = Api::namespaced(t.cluster.client(), &order.namespace());
            deployments.delete(&name, &DeleteParams::background()).await?;
            Ok(())
        })
        .await?;
        order.ready().await?;
        page(&t.stack.node_address, port).await?;
        Ok(())
    })
}

#[test]
fn what_a_pod_needs_is_there_again_after_somebody_changed_or_deleted_it() -> Result<()> {
    test(async |t| {
        let (order, _) = deployed(t).await?;
        let (client, namespace) = (t.cluster.client(), order.namespace());
        is_put_right(t, &order, "NetworkPolicy/pod is missing", async || {
            let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), &namespace);
            policies.delete("pod", &DeleteParams::default()).await?;
            let quota = json!({ "spec": { "hard": { "pods": "10" } } });
            patch::<ResourceQuota>(t, &order, "kubectl-edit", "pod", Patch::Merge(quota)).await?;
            let token = json!({ "automountServiceAccountToken": true });
            patch::<ServiceAccount>(t, &order, "kubectl-patch", "pod", Patch::Merge(token)).await
        })
        .await?;
        let told = events(t.shared().await?, &order, "repaired").await?;
        for object in
            ["ResourceQuota/pod was changed by kubectl-edit", "ServiceAccount/pod was changed by kubectl-patch"]
        {
            ensure!(told[0]["objects"].to_string().contains(object), "{}", told[0]);
        }
        is_put_right(t, &order, "ConfigMap/config-r1 is missing", async || {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
            maps.delete("config-r1", &DeleteParams::default()).await?;
            Ok(())
        })
        .await
    })
}

#[test]
fn a_secret_that_somebody_replaces_is_as_ordered_again() -> Result<()> {
    test(async |t| {
        let (order, _) = deployed(t).await?;
        is_put_right(t, &order, "Secret/", async || {
            let secrets: Api<Secret> = Api::namespaced(t.cluster.client(), &order.namespace());
            let secret =
                secrets.list(&kube::api::ListParams::default()).await?.items.into_iter().next().context("a Secret")?;
            let name = secret.metadata.name.context("a name")?;
            secrets.delete(&name, &DeleteParams::default()).await?;
            // Somebody else's in its place, which cannot be changed.
            let other = json!({ "metadata": { "name": name }, "immutable": true, "stringData": { "a": "b" } });
            secrets.create(&PostParams::default(), &serde_json::from_value(other)?).await?;
            Ok(())
        })
        .await
    })
}

#[test]
fn an_order_that_is_only_to_be_reported_is_told_of_and_left_as_it_is() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system("reported").await?;
        for _ in 0..2 {
            system.apis.push(system.new_api(&[("VKUBE_DRIFT", "report")]).await?);
        }
        system.workers.push(system.new_worker(&[])?);
        system.ready().await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deploy(&pod("reported", &[idle("idle")])).send().await?.ok()?;
        let deed = json!({ "spec": { "replicas": 0 } });
        patch::<Deployment>(t, &order, "kubectl", &order.id, Patch::Merge(deed)).await?;
        let regions = async || {
            let request = order.request(Method::GET, "/admin/regions").operator(&system.operator_token);
            let regions = request.send().await?.ok()?;
            let all = regions["regions"].as_array().cloned().unwrap_or_default();
            Ok::<_, anyhow::Error>(all.into_iter().find(|region| region["region"] == "reported").unwrap_or_default())
        };
        let told =
            json!([{ "orderId": order.id, "objects": [format!("Deployment/{} was changed by kubectl", order.id)] }]);
        until("the region tells of it", WITHIN, async || Ok((regions().await?["drifted"] == told).then_some(())))
            .await?;
        let noted = until("the history tells of it", WITHIN, async || {
            let noted = events(&system, &order, "drifted").await?;
            Ok((!noted.is_empty()).then_some(noted))
        });
        let noted = noted.await?;
        ensure!(noted.len() == 1 && noted[0]["objects"] == told[0]["objects"], "{noted:?}");
        ensure!(events(&system, &order, "repaired").await?.is_empty());

        // A change of the order's own is no repair, but what it writes is the order's again.
        order.request(Method::POST, "/k8s/pod/restart").json(&json!({})).send().await?.ok()?;
        until("nothing is told of it any more", WITHIN, async || {
            Ok((regions().await?["drifted"] == json!([])).then_some(()))
        })
        .await
    })
}
