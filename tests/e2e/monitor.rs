//! `GET /monitor`: what a real pod uses, and what is said where that is not known.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::failure::Reason;
use e2e::cluster::{Cluster, page};
use e2e::cost::Requests;
use e2e::order::{Order, OrderOptions};
use e2e::pod::{container, idle, pod, web, with};
use e2e::system::{Settings, System, host_port};
use e2e::test::{Test, test, test_alone};
use e2e::until::{never, until};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use reqwest::Method;
use serde_json::{Value, json};

/// The memory of every container here.
const LIMIT: u64 = 64 << 20;

async fn monitor(order: &Order, query: &str) -> Result<Value> {
    order.request(Method::GET, &format!("/monitor{query}")).send().await?.ok()
}

/// A container that computes without end.
fn busy(name: &str) -> Value {
    with(container(name, "busybox:1"), "command", "/bin/sh\n-c\nwhile :; do :; done".into())
}

/// What is said of one container of which nothing is known.
fn unknown(name: &str) -> Value {
    json!({ "cpu": { name: null }, "memory": { name: null },
        "networkDownload": null, "networkUpload": null, "storage": null })
}

/// A system of the region with the cluster's node, whose worker has these settings.
async fn system(t: &Test, settings: Settings<'_>) -> Result<System> {
    let mut system = t.empty_system(t.stack.region.as_str()).await?;
    system.apis.push(system.new_api(&[]).await?);
    system.workers.push(system.new_worker(settings)?);
    system.ready().await?;
    Ok(system)
}

#[test]
fn what_a_pod_uses_is_told_for_each_of_its_containers() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(2)).await?;
        order.running(&pod("ausrine", &[busy("busy"), idle("idle")])).await?;
        let usage = until("a busy container's CPU is seen", Duration::from_mins(1), async || {
            let usage = monitor(&order, "?allTypes=True&allContainers=True").await?;
            Ok((usage["cpu"]["busy"]["value"].as_f64() > Some(0.1)).then_some(usage))
        })
        .await?;
        let mut members: Vec<&String> = usage.as_object().context("an object")?.keys().collect();
        members.sort();
        assert_eq!(members, ["cpu", "memory", "networkDownload", "networkUpload", "storage"]);
        let cores = std::thread::available_parallelism()?.get();
        let cpu = |name: &str| usage["cpu"][name]["value"].as_f64().with_context(|| format!("{name}: {usage}"));
        // One thread, measured by clocks that are not quite the same.
        assert!(cpu("busy")? < 1.5 && cpu("busy")? <= f64::from(u32::try_from(cores)?) + 0.5, "{usage}");
        assert!(cpu("idle")? < 0.1, "{usage}");
        for name in ["busy", "idle"] {
            let memory = &usage["memory"][name];
            assert_eq!(memory["limitValue"], LIMIT, "{usage}");
            assert!(memory["value"].as_u64().is_some_and(|bytes| bytes > 0 && bytes < LIMIT), "{usage}");
        }
        for direction in ["networkDownload", "networkUpload"] {
            assert!(usage[direction]["value"].is_u64(), "{usage}");
        }
        assert_eq!(usage["storage"], Value::Null, "the order keeps no volume");

        let both = json!(["busy", "idle"]);
        for (query, expected) in [
            ("", &both),
            ("?allTypes=true&containers=busy&containers=idle", &both),
            ("?containers=idle&allContainers=TRUE", &both),
            ("?containers=&allContainers=False", &both),
            ("?allTypes=True&containers=idle", &json!(["idle"])),
        ] {
            let usage = monitor(&order, query).await?;
            for kind in ["cpu", "memory"] {
                let names: Value = usage[kind].as_object().context("an object")?.keys().cloned().collect();
                assert_eq!(&names, expected, "{query}: {usage}");
            }
        }
        let answer = order.request(Method::GET, "/monitor?containers=busy&containers=db").send().await?;
        let error = answer.refused(400, Reason::ContainerUnknown)?;
        assert_eq!(error["message"], "there is no container db; the pod has busy, idle");
        let client = t.client().await?;
        let stranger = client.get("/monitor").secret("nobody's").send().await?;
        stranger.refused(401, Reason::Unauthorized)?;
        client.get("//monitor").secret(&order.secret).send().await?.refused(404, Reason::NotFound)?;
        Ok(())
    })
}

#[test]
fn what_a_pod_sends_is_told_in_bits_per_second() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let port = host_port();
        order.running(&pod("ausrine", &[web("web", port)])).await?;
        until("pages that are fetched are seen in the figures", Duration::from_mins(1), async || {
            for _ in 0..20 {
                page(&t.stack.node_address, port).await?;
            }
            let usage = monitor(&order, "").await?;
            let rate = |direction: &str| usage[direction]["value"].as_u64();
            Ok((rate("networkUpload") > Some(1000) && rate("networkDownload") > Some(1000)).then_some(()))
        })
        .await
    })
}

#[test]
fn nothing_is_told_of_what_is_not_deployed() -> Result<()> {
    test(async |t| {
        let order = t.order(&OrderOptions::units(1)).await?;
        let answer = async || order.request(Method::GET, "/monitor").send().await;
        answer().await?.refused(404, Reason::NotDeployed)?;
        order.running(&pod("ausrine", &[idle("idle")])).await?;
        let deployments: Api<Deployment> = Api::namespaced(t.cluster.client(), &order.namespace());
        let stop = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
        deployments.patch(&order.id, &PatchParams::default(), &stop).await?;
        until("a stopped pod's figures are not known", Duration::from_secs(30), async || {
            Ok((monitor(&order, "").await? == unknown("idle")).then_some(()))
        })
        .await?;
        t.cluster.delete_namespace(&order.namespace()).await?;
        until("nothing is there", Duration::from_secs(30), async || {
            let answer = answer().await?;
            Ok(if answer.status == 404 { Some(answer.refused(404, Reason::NotDeployed)?) } else { None })
        })
        .await?;
        Ok(())
    })
}

#[test]
fn a_pod_without_a_node_has_no_figures_and_a_silent_region_no_answer() -> Result<()> {
    test(async |t| {
        let mut system = t.system("unseen", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.deployed(&pod("unseen", &[idle("idle")])).await?;
        assert_eq!(monitor(&order, "?allTypes=True").await?, unknown("idle"));
        system.workers[0].process.end(e2e::system::END_WITHIN).await?;
        until("the region is silent", Duration::from_secs(25), async || {
            let answer = order.request(Method::GET, "/monitor").send().await?;
            let silent = answer.status == 503 && answer.took < Duration::from_secs(1);
            Ok(if silent { Some(answer.refused(503, Reason::RegionUnavailable)?) } else { None })
        })
        .await?;
        Ok(())
    })
}

#[test]
fn where_the_kubelet_does_not_tell_figures_are_not_known() -> Result<()> {
    test(async |t| {
        let nonsense = t.stack.folder.join("no-kubelet-token");
        std::fs::write(&nonsense, "nonsense")?;
        let nonsense = nonsense.display().to_string();
        for (case, settings) in [
            ("nobody listens", ("VKUBE_KUBELET_PORT", "1")),
            ("the token is refused", ("VKUBE_KUBELET_TOKEN_FILE", nonsense.as_str())),
            ("it is not to be asked", ("VKUBE_KUBELET_TOKEN_FILE", "")),
        ] {
            let system = system(t, &[settings]).await?;
            let order = t.order_of(&system, &OrderOptions::units(1)).await?;
            order.running(&pod("ausrine", &[idle("idle")])).await?;
            assert_eq!(monitor(&order, "?allTypes=True").await?, unknown("idle"), "{case}");
        }
        Ok(())
    })
}

/// How often the kubelet was asked for figures.
async fn asked(cluster: &Cluster) -> Result<u64> {
    let request = Request::new("/api/v1/nodes").get_subresource("proxy/metrics", "ausrine-1")?;
    let metrics = cluster.client().request_text(request).await?;
    let counts = metrics.lines().filter(|line| line.starts_with("kubelet_http_requests_total{"));
    let counts = counts.filter(|line| line.contains("path=\"stats\"")).filter_map(|line| line.rsplit(' ').next());
    Ok(counts.map(str::parse::<u64>).sum::<Result<_, _>>()?)
}

#[test]
fn many_questions_cost_the_kubelet_two_requests_and_the_apiserver_none() -> Result<()> {
    test_alone(async |t| {
        let system = system(t, &[]).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        order.running(&pod("ausrine", &[idle("idle")])).await?;
        let quiet = async |requests: &Requests| {
            let about = async || Ok(requests.of_workers_about(&order.id)?.pop());
            never("a worker asks the API server about the order", Duration::from_secs(1), about).await
        };
        // Until the job's own requests are over.
        for _ in 0..2 {
            let _ = quiet(&Requests::from_now(t.stack)?).await;
        }
        let (requests, before) = (Requests::from_now(t.stack)?, asked(&t.cluster).await?);
        let all = try_join_all((0..10).map(|_| monitor(&order, ""))).await?;
        assert!(all.iter().all(|usage| usage["networkUpload"]["value"].is_u64()), "{all:#?}");
        assert_eq!(asked(&t.cluster).await? - before, 2, "one for figures, one for rates");
        quiet(&requests).await
    })
}
