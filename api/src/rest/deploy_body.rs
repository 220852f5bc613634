//! The documented form of the deploy body and its answer (`wire.md` §4). [`crate::app::pod_request`] reads the body itself;
//! a test there and the tests of the OpenAPI document keep the two alike.

use std::collections::BTreeMap;

use common::pod::Pod;
use common::port::PortNumber;
use poem_openapi::Object;
use poem_openapi::types::{Any, Example};

use super::param::Nullable;
use crate::store::jobs::Job;

/// What to run.
#[derive(Object)]
#[oai(rename = "Deploy", rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(super) struct DeployBody {
    /// Where; may be left out once the order has a region.
    node_selector: Option<NodeSelector>,
    /// At least one, at most one for each unit of the order.
    containers: Vec<ContainerBody>,
    /// Absent, or as long as `containers`: the logins of private registries.
    pvt_login: Option<Vec<LoginBody>>,
    /// Sent by very old clients, and ignored.
    name: Option<String>,
}

/// Where a pod runs.
#[derive(Object)]
struct NodeSelector {
    /// The region.
    region: String,
}

/// One container.
#[derive(Object, Default)]
#[oai(rename = "Container", rename_all = "camelCase", skip_serializing_if_is_none)]
struct ContainerBody {
    /// A DNS label, unique in the pod; not `error` or `message`, which clients take for failures.
    name: String,
    /// The image, such as `nginx` or `registry.example.com/team/app:1.0`.
    image_name: String,
    /// How much memory; or give `resourceUnit`.
    resource: Option<ResourceBody>,
    /// Memory in units of 1 Gi; or give `resource.memory`.
    resource_unit: Option<u32>,
    /// What it listens on.
    ports: Option<Vec<PortBody>>,
    /// Environment variables.
    envs: Option<Vec<VariableBody>>,
    /// Replaces the image's entrypoint: a list, or one word a line.
    command: Option<Any<serde_json::Value>>,
    /// Replaces the image's arguments: a list, or one word a line.
    args: Option<Any<serde_json::Value>>,
    /// Where the order's volume is mounted.
    mount_path: Option<String>,
    /// The full path of one file in the container.
    config_mount_path: Option<String>,
    /// That file's content.
    config: Option<String>,
    /// The same in another form: the path of one file, and its content.
    config_map: Option<BTreeMap<String, String>>,
    /// Sent by existing clients, and empty.
    exposed_ports: Option<Vec<Any<serde_json::Value>>>,
}

/// How much a container gets.
#[derive(Object)]
#[oai(rename = "Resource")]
struct ResourceBody {
    /// Memory in Mi or Gi: `100Mi`, `2Gi`.
    memory: String,
}

/// A port.
#[derive(Object)]
#[oai(rename = "Port", rename_all = "camelCase", skip_serializing_if_is_none)]
struct PortBody {
    /// Inside the container.
    container_port: u16,
    /// On the host; only in orders with `User Specified Service Port`.
    host_port: Option<u16>,
    /// `TCP` (default) or `UDP`.
    protocol: Option<String>,
}

/// An environment variable.
#[derive(Object)]
#[oai(rename = "Variable")]
struct VariableBody {
    /// `[-._a-zA-Z][-._a-zA-Z0-9]*`.
    name: String,
    /// Its value.
    value: String,
}

/// A login at a registry; both empty for a public image.
#[derive(Object)]
#[oai(rename = "Login")]
struct LoginBody {
    /// The user's name.
    username: String,
    /// The user's password. Never shown again.
    password: String,
}

impl Example for DeployBody {
    /// The guide's own.
    fn example() -> Self {
        Self {
            node_selector: Some(NodeSelector { region: "ausrine".to_owned() }),
            containers: vec![ContainerBody {
                name: "container1".to_owned(),
                image_name: "nginx".to_owned(),
                resource: Some(ResourceBody { memory: "100Mi".to_owned() }),
                ports: Some(vec![PortBody { container_port: 80, host_port: Some(2999), protocol: None }]),
                ..ContainerBody::default()
            }],
            pvt_login: None,
            name: None,
        }
    }
}

/// A deploy that is done.
#[derive(Object)]
#[oai(rename_all = "camelCase", example)]
pub(super) struct Deployed {
    /// The job that did it.
    id: String,
    /// The order.
    order_id: String,
    /// The revision that runs.
    revision: u64,
    /// Always `Deployed`.
    status: String,
    /// Every port of the pod.
    ports: Vec<DeployedPort>,
}

/// A port of the pod.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct DeployedPort {
    /// The container that listens on it.
    container: String,
    /// Inside the container.
    container_port: u16,
    /// On the host; `null` = reachable inside the pod only.
    host_port: Nullable<u16>,
    /// `TCP` or `UDP`.
    protocol: String,
}

impl Deployed {
    /// The answer to a deploy that succeeded.
    pub(super) fn new(job: &Job, pod: &Pod) -> Self {
        let ports = pod.containers.iter().flat_map(|container| {
            container.ports.iter().map(|port| DeployedPort {
                container: container.name.to_string(),
                container_port: port.container_port.get(),
                host_port: Nullable(port.host_port.map(PortNumber::get)),
                protocol: port.protocol.to_string(),
            })
        });
        Self {
            id: job.id.to_string(),
            order_id: job.order.to_string(),
            revision: job.revision.map_or(0, common::name::Revision::get),
            status: "Deployed".to_owned(),
            ports: ports.collect(),
        }
    }
}

impl Example for Deployed {
    fn example() -> Self {
        Self {
            id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
            order_id: "71b60598-e176-4357-95b0-0e75e586363a".to_owned(),
            revision: 1,
            status: "Deployed".to_owned(),
            ports: vec![DeployedPort {
                container: "container1".to_owned(),
                container_port: 80,
                host_port: Nullable(Some(2999)),
                protocol: "TCP".to_owned(),
            }],
        }
    }
}
