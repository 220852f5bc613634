//! `log`: the end of a container's log, as it is. Costs one request.

use common::failure::{Failure, Reason};
use common::name::{ContainerName, OrderId};
use common::read::LogQuery;

use super::{Operation, OperationError, not_deployed, pod_of};
use crate::cluster::{ContainerSeen, PodSeen};
use crate::context::Context;
use crate::kubernetes::namespace_of;

impl Operation for LogQuery {
    type About = OrderId;
    type Output = Vec<u8>;

    async fn run(&self, context: &Context, order: &OrderId) -> Result<Vec<u8>, OperationError> {
        let namespace = namespace_of(order);
        let Some(pod) = pod_of(&context.mirrors, order)? else {
            return Err(no_pod(context, &namespace));
        };
        let container = container(&pod, self.container.as_ref())?;
        if pod.node.is_none() {
            // The apiserver would answer with an empty log.
            return Err(unavailable(&why_no_log(container, self.previous)));
        }
        match context.cluster.log(&namespace, &pod.name, &container.name, self).await {
            Ok(log) => Ok(log.bytes),
            Err(error) if error.is_of_no_log() => Err(unavailable(&why_no_log(container, self.previous))),
            Err(error) => Err(error.into()),
        }
    }
}

/// The container that is meant: the one named, else the only one.
pub(super) fn container<'a>(
    pod: &'a PodSeen,
    wanted: Option<&ContainerName>,
) -> Result<&'a ContainerSeen, OperationError> {
    let found = match (wanted, pod.containers.as_slice()) {
        (Some(name), all) => all.iter().find(|container| container.name == name.as_str()),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    found.ok_or_else(|| {
        let names: Vec<_> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        let message = match wanted {
            Some(name) => format!("there is no container {name}; the pod has {}", names.join(", ")),
            None => format!("the pod has several containers, name one of them: {}", names.join(", ")),
        };
        OperationError::Refused(Failure::new(Reason::ContainerUnknown, message))
    })
}

/// Why a container has no log to show.
pub(super) fn why_no_log(container: &ContainerSeen, previous: bool) -> String {
    let name = &container.name;
    if previous {
        return format!("container {name} was not started before, so it has no earlier log");
    }
    match container.waiting.as_ref().map(|waiting| waiting.reason.as_str()) {
        Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName") => {
            format!("container {name} has no log: its image cannot be pulled; see the pod's status")
        }
        Some(reason) if !reason.is_empty() => format!("container {name} has no log yet: it is waiting ({reason})"),
        _ => format!("container {name} has no log yet; try again in a moment"),
    }
}

/// What is said while there is no pod.
pub(super) fn no_pod(context: &Context, namespace: &str) -> OperationError {
    let deployments = context.mirrors.deployments.of(namespace);
    if deployments.is_empty() {
        return not_deployed();
    }
    unavailable(if deployments.iter().all(|deployment| deployment.wanted == 0) {
        "the order is stopped, so it has no log; start it first"
    } else {
        "the pod has not been made yet; try again in a moment"
    })
}

pub(super) fn unavailable(message: &str) -> OperationError {
    OperationError::Refused(Failure::new(Reason::LogUnavailable, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Seen as _;
    use serde_json::json;

    fn pod(names: &[&str]) -> PodSeen {
        let containers: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": { "containers": containers } });
        PodSeen::from_object(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_container_is_named_where_there_are_several() {
        for (case, names, named, expected) in [
            ("the only one", &["web"][..], None, Ok("web")),
            ("one of two", &["web", "side"], Some("side"), Ok("side")),
            ("none of two", &["web", "side"], None, Err("the pod has several containers, name one of them: web, side")),
            ("unknown", &["web"], Some("db"), Err("there is no container db; the pod has web")),
        ] {
            let pod = pod(names);
            let named = named.map(|name| name.parse().unwrap());
            let found = container(&pod, named.as_ref()).map(|container| container.name.as_str());
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{case}"),
                (Err(OperationError::Refused(failure)), Err(message)) => {
                    assert_eq!((failure.reason, failure.message.as_str()), (Reason::ContainerUnknown, message));
                }
                other => panic!("{case}: {other:?}"),
            }
        }
    }
}
