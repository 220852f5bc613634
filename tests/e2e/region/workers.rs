//! Workers in the cluster whose pods they run, by the Deployment of `deploy/kubernetes/worker`, as its README says.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::agreement::at;
use e2e::chaos::proxy::Proxy;
use e2e::nats::Identity;
use e2e::order::OrderOptions;
use e2e::pod::{pod, web};
use e2e::system::{System, host_port};
use e2e::test::{Test, test};
use e2e::until::until;
use kube::config::Kubeconfig;
use reqwest::{Method, Url};
use tokio::process::Command;

/// How long the workers may take to be ready, and to be gone.
const ROLLED_OUT_WITHIN: Duration = Duration::from_mins(1);
/// How long a kubelet may take until it has measured a new pod.
const MEASURED_WITHIN: Duration = Duration::from_secs(40);
const SYSTEM: &str = "vkube-system";

/// A way from the pods' network to where this URL leads on this machine's loopback.
async fn way(t: &Test, url: &str) -> Result<Proxy> {
    let port = url.parse::<Url>()?.port().context("a port")?;
    Proxy::start_at(t.stack.node_address.parse()?, (Ipv4Addr::LOCALHOST, port).into()).await
}

/// As the cluster's administrator.
async fn kubectl(t: &Test, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", &t.stack.kubeconfig).args(arguments).kill_on_drop(true);
    let output = command.output().await.context("kubectl")?;
    ensure!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What is shipped, with what is an operator's own. The cluster has no `kube-proxy` by which its pods would find the API server.
async fn own(t: &Test, system: &System, nats: &Proxy, apiserver: &Proxy) -> Result<PathBuf> {
    let folder = system.folder().join("worker");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/worker");
    std::fs::create_dir_all(folder.join("shipped"))?;
    for file in ["kustomization.yaml", "worker.yaml"] {
        std::fs::copy(shipped.join(file), folder.join("shipped").join(file))?;
    }
    let published = t.stack.control(&["publish", &t.stack.worker_binary.display().to_string()]).await?;
    let (image, digest) = published.split_once('@').context("an image's digest")?;
    let (region, nats, host, port) =
        (&system.region, nats.address(), apiserver.address().ip(), apiserver.address().port());
    let text = format!(
        r#"resources: [shipped]
images:
  - {{name: registry.example.com/vkube-worker, newName: "{image}", digest: "{digest}"}}
patches:
  - patch: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: {{name: vkube-worker, namespace: {SYSTEM}}}
      spec:
        template:
          spec:
            containers:
              - name: worker
                env:
                  - {{name: VKUBE_REGION, value: "{region}"}}
                  - {{name: VKUBE_NATS_URL, value: "tls://{nats}"}}
                  - {{name: VKUBE_NATS_CA_FILE, value: /keys/ca.crt}}
                  - {{name: KUBERNETES_SERVICE_HOST, value: "{host}"}}
                  - {{name: KUBERNETES_SERVICE_PORT, value: "{port}"}}
"#
    );
    std::fs::write(folder.join("kustomization.yaml"), text)?;
    Ok(folder)
}

/// Takes all of it away.
async fn remove(t: &Test, folder: &str) -> Result<()> {
    kubectl(t, &["delete", "--kustomize", folder, "--ignore-not-found", "--timeout=60s"]).await?;
    kubectl(t, &["--namespace", SYSTEM, "delete", "secret", "vkube-worker", "--ignore-not-found"]).await
}

/// Has the workers made.
async fn apply(t: &Test, system: &System, folder: &str) -> Result<()> {
    let [_, (_, key), (_, ca)] = system.nats.login(Identity::Worker);
    let files = [("nats.nk", key), ("seal-key", system.file("seal-key")), ("ca.crt", ca)];
    let files = files.map(|(name, file)| format!("--from-file={name}={file}"));
    let mut secret = vec!["--namespace", SYSTEM, "create", "secret", "generic", "vkube-worker"];
    secret.extend(files.iter().map(String::as_str));
    kubectl(t, &secret).await?;
    kubectl(t, &["apply", "--kustomize", folder]).await?;
    let within = format!("--timeout={}s", ROLLED_OUT_WITHIN.as_secs());
    let rolled_out =
        kubectl(t, &["--namespace", SYSTEM, "rollout", "status", "deployment/vkube-worker", &within]).await;
    if rolled_out.is_err() {
        eprintln!("{}", t.cluster.describe(SYSTEM).await?);
    }
    rolled_out
}

#[test]
fn the_shipped_deployment_of_workers_runs_its_regions_orders() -> Result<()> {
    test(async |t| {
        let mut system = t.empty_system(t.stack.region.as_str()).await?;
        let api = system.new_api(&[]).await?;
        system.apis.push(api);
        let clusters = Kubeconfig::read_from(&t.stack.kubeconfig)?.clusters;
        let server = clusters.into_iter().find_map(|named| named.cluster?.server).context("a server")?;
        let (nats, apiserver) = (way(t, &system.nats.url()).await?, way(t, &server).await?);
        let folder = own(t, &system, &nats, &apiserver).await?.display().to_string();
        remove(t, &folder).await?;

        let runs = async {
            apply(t, &system, &folder).await?;
            system.apis[0].knows(&system.region).await?;
            let order = t.order_of(&system, &OrderOptions::units(1)).await?;
            order.running(&pod(system.region.as_str(), &[web("web", host_port())])).await?;
            // They read what its containers say, and ask its node's kubelet for what they use.
            let log = order.log_text("").await?;
            assert!(log.contains("/docker-entrypoint.sh"), "{log}");
            until("what it uses is known", MEASURED_WITHIN, async || {
                let usage = order.request(Method::GET, "/monitor").send().await?.ok()?;
                Ok(at(&usage, "/memory/web/value").is_u64().then_some(()))
            })
            .await?;
            // With an order in work, all are made anew.
            kubectl(t, &["--namespace", SYSTEM, "rollout", "restart", "deployment/vkube-worker"]).await?;
            for _ in 0..3 {
                let restarted = order.request(Method::POST, "/k8s/pod/restart").header("prefer", "wait=60");
                restarted.send().await?.ok()?;
            }
            kubectl(t, &["--namespace", SYSTEM, "rollout", "status", "deployment/vkube-worker", "--timeout=60s"])
                .await?;
            order.ready().await.map(drop)
        };
        let outcome = runs.await;
        remove(t, &folder).await?;
        outcome
    })
}
