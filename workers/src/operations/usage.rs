//! `usage`: what the order's pod uses, from the kubelet of its node. Costs the apiserver no request; one while the order
//! has no pod, or the kubelet does not answer.

use std::net::IpAddr;

use common::failure::{Failure, Reason};
use common::name::{ContainerName, OrderId};
use common::quantity::Memory;
use common::usage::{MemoryUsage, Usage, UsageQuery};
use serde::Deserialize;

use super::{Operation, OperationError, RetryCause, not_deployed, pod_of};
use crate::cluster::{PodSeen, PodUsage};
use crate::context::Context;
use crate::kubernetes::{Kind, namespace_of};

/// A pod's spec, or its template's, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Spec {
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    resources: Resources,
}

#[derive(Debug, Default, Deserialize)]
struct Resources {
    #[serde(default)]
    limits: Limits,
}

#[derive(Debug, Default, Deserialize)]
struct Limits {
    memory: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(rename = "hostIP")]
    host_ip: Option<IpAddr>,
}

impl Operation for UsageQuery {
    type About = OrderId;
    type Output = Vec<u8>;

    async fn run(&self, context: &Context, order: &OrderId) -> Result<Vec<u8>, OperationError> {
        let namespace = namespace_of(order);
        let pod = pod_of(&context.mirrors, order)?;
        let spec = if let Some(pod) = &pod {
            pod.raw.as_ref().and_then(|raw| serde_json::from_str(raw.spec.get()).ok())
        } else {
            let found = context.cluster.read(Kind::Deployment, &namespace, order.as_str()).await?;
            let found = found.ok_or_else(not_deployed)?;
            found.0.pointer("/spec/template/spec").and_then(|spec| Spec::deserialize(spec).ok())
        };
        let spec: Spec = spec.ok_or(OperationError::Retry(RetryCause::Blind))?;
        let chosen = chosen(&spec, &self.containers)?;
        let used = match pod.as_deref().and_then(|pod| Some((pod, node(pod)?))) {
            Some((pod, node)) => context.cluster.usage(node, &namespace, &pod.name).await,
            None => PodUsage::default(),
        };
        serde_json::to_vec(&usage(&chosen, &used)).map_err(|_| OperationError::Retry(RetryCause::Blind))
    }
}

/// The address of the pod's node, once its kubelet has the pod in hand.
fn node(pod: &PodSeen) -> Option<IpAddr> {
    serde_json::from_str::<Status>(pod.raw.as_ref()?.status.get()).ok()?.host_ip
}

/// The containers that are meant: those named, else all.
fn chosen<'a>(spec: &'a Spec, named: &[ContainerName]) -> Result<Vec<&'a Container>, OperationError> {
    let is_there = |name: &str| spec.containers.iter().any(|container| container.name == name);
    if let Some(unknown) = named.iter().find(|name| !is_there(name.as_str())) {
        let there: Vec<_> = spec.containers.iter().map(|container| container.name.as_str()).collect();
        let message = format!("there is no container {unknown}; the pod has {}", there.join(", "));
        return Err(OperationError::Refused(Failure::new(Reason::ContainerUnknown, message)));
    }
    let is_meant = |name: &str| named.is_empty() || named.iter().any(|meant| meant.as_str() == name);
    Ok(spec.containers.iter().filter(|container| is_meant(&container.name)).collect())
}

fn usage(chosen: &[&Container], used: &PodUsage) -> Usage {
    let of = |container: &Container| used.containers.get(&container.name).copied().unwrap_or_default();
    let limit = |container: &Container| {
        let memory = Memory::try_from(container.resources.limits.memory.clone()?).ok()?;
        Some(memory.bytes())
    };
    let memory = |c: &Container| MemoryUsage { value: of(c).memory, limit_value: limit(c) };
    Usage {
        cpu: chosen.iter().map(|c| (c.name.clone(), of(c).cores)).collect(),
        memory: chosen.iter().map(|c| (c.name.clone(), memory(c))).collect(),
        network_download: used.download,
        network_upload: used.upload,
        storage: used.storage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ContainerUsage;
    use serde_json::json;

    fn spec() -> Spec {
        let limits = |memory: &str| json!({ "limits": { "memory": memory } });
        let containers = json!([{ "name": "web", "resources": limits("64Mi") }, { "name": "side" }]);
        serde_json::from_value(json!({ "containers": containers })).unwrap()
    }

    #[test]
    fn every_container_asked_for_is_there_even_if_nothing_is_known_of_it() {
        let web = ContainerUsage { cores: Some(0.5), memory: Some(1000) };
        let used = PodUsage { containers: [("web".to_owned(), web)].into(), upload: Some(8), ..PodUsage::default() };
        let spec = spec();
        let usage = serde_json::to_value(usage(&chosen(&spec, &[]).unwrap(), &used)).unwrap();
        let memory = json!({ "web": { "value": 1000, "limitValue": 67_108_864 },
            "side": { "value": null, "limitValue": null } });
        assert_eq!(
            usage,
            json!({ "cpu": { "web": 0.5, "side": null }, "memory": memory, "networkDownload": null,
            "networkUpload": 8, "storage": null })
        );
    }

    #[test]
    fn containers_are_chosen_by_name() {
        for (case, named, expected) in [
            ("none named", &[][..], Ok(vec!["web", "side"])),
            ("one", &["side"], Ok(vec!["side"])),
            ("one twice, another", &["side", "web", "side"], Ok(vec!["web", "side"])),
            ("unknown", &["web", "db"], Err("there is no container db; the pod has web, side")),
        ] {
            let named: Vec<ContainerName> = named.iter().map(|name| name.parse().unwrap()).collect();
            match (chosen(&spec(), &named), expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), expected, "{case}");
                }
                (Err(OperationError::Refused(failure)), Err(message)) => {
                    assert_eq!((failure.reason, failure.message.as_str()), (Reason::ContainerUnknown, message));
                }
                other => panic!("{case}: {other:?}"),
            }
        }
    }
}
