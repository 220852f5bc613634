//! Objects of orders that somebody deletes by hand, and a foreign pod or process of the node that takes a port.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use super::{Fault, Step};
use crate::agreement::at;
use crate::chaos::observe::order_of;
use crate::chaos::world::World;

/// Where foreign pods are.
const FOREIGN: &str = "e2e-foreign";

/// What is done.
#[derive(Debug, Clone, Copy)]
enum Deed {
    DeploymentDeleted,
    PodDeleted,
    ForeignPod,
    HostProcess,
}

/// A fault of the cluster's objects.
#[derive(Debug)]
struct ObjectFault {
    name: &'static str,
    deed: Deed,
    foreign: Option<String>,
    listening: Option<TcpListener>,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let faults = [
        ("deployment-deleted", Deed::DeploymentDeleted),
        ("pod-deleted", Deed::PodDeleted),
        ("foreign-pod", Deed::ForeignPod),
        ("host-process", Deed::HostProcess),
    ];
    let boxed = faults
        .into_iter()
        .map(|(name, deed)| -> Box<dyn Fault> { Box::new(ObjectFault { name, deed, foreign: None, listening: None }) });
    boxed.collect()
}

impl Fault for ObjectFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_by_hand(&self) -> bool {
        matches!(self.deed, Deed::DeploymentDeleted)
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(0..10_000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            match self.deed {
                Deed::DeploymentDeleted => {
                    let (namespace, name) = any(world, random, "/apis/apps/v1/deployments").await?;
                    let deployments: Api<Deployment> = Api::namespaced(world.cluster.client(), &namespace);
                    deployments.delete(&name, &DeleteParams::background()).await?;
                    Ok(name)
                }
                Deed::PodDeleted => {
                    let (namespace, name) = any(world, random, "/api/v1/pods").await?;
                    world.cluster.delete_pod(&namespace, &name).await?;
                    Ok(name)
                }
                Deed::ForeignPod => {
                    let port = *world.all_ports.choose(random).context("a port")?;
                    let name = format!("foreign-{port}-{:08x}", random.random::<u32>());
                    let ports = json!([{ "containerPort": 80, "hostPort": port }]);
                    let pod = json!({
                        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
                        "spec": {
                            "nodeSelector": { "region": world.system.region },
                            "terminationGracePeriodSeconds": 0,
                            "containers": [{ "name": "idle", "image": "pause:1", "ports": ports }]
                        }
                    });
                    world.cluster.make_namespace(FOREIGN).await?;
                    world.cluster.make_pod(FOREIGN, pod).await?;
                    self.foreign = Some(name);
                    Ok(format!("port {port}"))
                }
                Deed::HostProcess => {
                    // The node's network is this process's.
                    let port = *world.all_ports.choose(random).context("a port")?;
                    self.listening = Some(TcpListener::bind(("0.0.0.0", port))?);
                    Ok(format!("port {port}"))
                }
            }
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            self.listening = None;
            match self.foreign.take() {
                Some(name) => world.cluster.delete_pod(FOREIGN, &name).await,
                None => Ok(()),
            }
        }
        .boxed_local()
    }
}

/// Namespace and name of any object that vkube made of an order and that is not about to go.
pub(super) async fn any(world: &World, random: &mut StdRng, collection: &str) -> Result<(String, String)> {
    let mut found = Vec::new();
    for object in world.cluster.list(collection).await? {
        let text = |pointer: &str| at(&object, pointer).as_str().unwrap_or_default().to_owned();
        let is_going = !at(&object, "/metadata/deletionTimestamp").is_null();
        let is_ours = at(&object, "/metadata/labels/vkube.dev~1order").is_string();
        let has_order = order_of(&text("/metadata/namespace")).is_some();
        if has_order && (is_ours || collection.ends_with("/pods")) && !is_going {
            found.push((text("/metadata/namespace"), text("/metadata/name")));
        }
    }
    found.choose(random).cloned().context("no order has anything in the cluster")
}
