//! The cluster as its administrator sees it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use crate::agreement::{Objects, at};
use crate::http;
use crate::stack::Stack;
use crate::until::until;

/// The page that a host port answers with, once it answers.
pub async fn page(host: &str, port: u16) -> Result<String> {
    let http = http::plain()?;
    until(&format!("a page answers on {host}:{port}"), Duration::from_secs(20), async || {
        let answer = http.get(format!("http://{host}:{port}/")).timeout(Duration::from_secs(2)).send().await;
        let Ok(answer) = answer else { return Ok(None) };
        Ok(answer.text().await.ok())
    })
    .await
}

/// Sends a datagram to a host port until it comes back.
pub async fn echo(host: &str, port: u16, datagram: &[u8]) -> Result<Vec<u8>> {
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect((host, port)).await?;
    until(&format!("a datagram comes back from {host}:{port}"), Duration::from_secs(20), async || {
        let mut buffer = vec![0; 2048];
        // Refused (ICMP) while nobody listens.
        if socket.send(datagram).await.is_err() {
            return Ok(None);
        }
        let answer = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await;
        let Ok(Ok(length)) = answer else { return Ok(None) };
        Ok(buffer.get(..length).map(<[u8]>::to_vec))
    })
    .await
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    // Makes sure that a TLS provider is installed.
    http::plain()?;
    let file = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
}

/// An administrator's view of the cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

impl Cluster {
    /// Connects, as the administrator.
    pub async fn connect(stack: &Stack) -> Result<Self> {
        let mut config = config(&stack.kubeconfig).await?;
        config.read_timeout = Some(Duration::from_secs(30));
        Ok(Self { client: Client::try_from(config)? })
    }

    /// A worker's client, which waits as long as an answer lasts and tries nothing again.
    pub async fn as_worker(stack: &Stack) -> Result<Client> {
        let mut config = config(stack.worker_kubeconfig().await?).await?;
        (config.read_timeout, config.default_retry) = (None, false);
        Ok(Client::try_from(config)?)
    }

    /// A client for what is asked seldom.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// An object as the API server prints it, by its collection's path and its name.
    pub async fn raw(&self, collection: &str, name: &str) -> Result<serde_json::Value> {
        let request = kube::core::Request::new(collection).get(name, &kube::api::GetParams::default())?;
        Ok(serde_json::from_str(&self.client.request_text(request).await?)?)
    }

    /// All objects of a collection, as the API server prints them.
    pub async fn list(&self, collection: &str) -> Result<Vec<serde_json::Value>> {
        let request = kube::core::Request::new(collection).list(&ListParams::default())?;
        let mut list: serde_json::Value = serde_json::from_str(&self.client.request_text(request).await?)?;
        Ok(serde_json::from_value(list.get_mut("items").context("items")?.take())?)
    }

    /// What there is of an order, by its namespace.
    pub async fn objects(&self, namespace: &str) -> Result<Objects> {
        let list =
            async |group: &str, plural: &str| self.list(&format!("/{group}/namespaces/{namespace}/{plural}")).await;
        let mut config_maps = list("api/v1", "configmaps").await?;
        config_maps.retain(|map| at(map, "/metadata/name") != "kube-root-ca.crt");
        let mut singles = list("apis/networking.k8s.io/v1", "networkpolicies").await?;
        singles.extend(list("api/v1", "resourcequotas").await?);
        singles.extend(list("api/v1", "serviceaccounts").await?);
        singles.retain(|object| at(object, "/metadata/name") != "default");
        Ok(Objects {
            singles,
            deployments: list("apis/apps/v1", "deployments").await?,
            pods: list("api/v1", "pods").await?,
            config_maps,
            secrets: list("api/v1", "secrets").await?,
        })
    }

    /// All pods of a namespace.
    pub async fn pods(&self, namespace: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(pods.list(&ListParams::default()).await?.items)
    }

    /// Makes a namespace that is nobody's order.
    pub async fn make_namespace(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        namespaces.patch(name, &PatchParams::apply("e2e"), &Patch::Apply(&namespace)).await?;
        // Pods are refused until the namespace has its service account.
        until("the namespace is complete", Duration::from_secs(20), async || {
            let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(self.client.clone(), name);
            Ok(accounts.get_opt("default").await?)
        })
        .await?;
        Ok(())
    }

    /// Makes a pod, from its JSON.
    pub async fn make_pod(&self, namespace: &str, pod: serde_json::Value) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        Ok(())
    }

    /// Deletes a pod at once.
    pub async fn delete_pod(&self, namespace: &str, name: &str) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// Has a namespace deleted, and does not wait.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Whether a namespace is there.
    pub async fn has_namespace(&self, name: &str) -> Result<bool> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        Ok(namespaces.get_opt(name).await?.is_some())
    }

    /// Keeps a namespace from ever being gone, until [`Cluster::release`].
    pub async fn hold(&self, namespace: &str) -> Result<()> {
        self.set_finalizers(namespace, &["e2e/held"]).await
    }

    /// Lets a namespace go.
    pub async fn release(&self, namespace: &str) -> Result<()> {
        self.set_finalizers(namespace, &[]).await
    }

    async fn set_finalizers(&self, namespace: &str, finalizers: &[&str]) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let metadata = json!({ "name": "held", "finalizers": finalizers });
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
        maps.patch("held", &PatchParams::apply("e2e"), &Patch::Apply(&map)).await?;
        Ok(())
    }

    /// Deletes the namespaces of all orders and of earlier tests, and waits until they are gone; and all fences.
    pub async fn remove_old(&self) -> Result<()> {
        let fences: Api<Lease> = Api::namespaced(self.client.clone(), "vkube-system");
        fences.delete_collection(&DeleteParams::default(), &ListParams::default().labels("vkube.dev/order")).await?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        until("the namespaces of earlier runs are gone", Duration::from_mins(2), async || {
            let mut left = 0;
            for namespace in namespaces.list_metadata(&ListParams::default()).await? {
                let name = namespace.metadata.name.unwrap_or_default();
                if name.starts_with("e2e-") || (name.starts_with("vkube-") && name != "vkube-system") {
                    left += 1;
                    self.release(&name).await.ok();
                    if namespace.metadata.deletion_timestamp.is_none() {
                        namespaces.delete(&name, &DeleteParams::default()).await.ok();
                    }
                }
            }
            Ok((left == 0).then_some(()))
        })
        .await
    }

    /// Pods and events of a namespace, for a person who looks for what went wrong.
    pub async fn describe(&self, namespace: &str) -> Result<String> {
        let mut text = String::new();
        for pod in self.pods(namespace).await.context("cannot list pods")? {
            let status = serde_json::to_string(&pod.status.unwrap_or_default())?;
            writeln!(text, "pod {}: {status}", pod.metadata.name.unwrap_or_default())?;
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        for event in events.list(&ListParams::default()).await.context("cannot list events")? {
            let object = event.involved_object.name.unwrap_or_default();
            let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
            writeln!(text, "event {object}: {reason}: {message}")?;
        }
        Ok(text)
    }
}
