//! `status`: the order's pod as Kubernetes prints it, from the worker's own watch. Costs no request; one while the order
//! has no pod.

use common::name::{OrderId, Revision};
use common::read::{Status, StatusQuery};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{Operation, OperationError, RetryCause, not_deployed, pod_of};
use crate::cluster::{Mirror, Object, PodSeen};
use crate::context::Context;
use crate::kubernetes::{ANNOTATION_REVISION, Kind, namespace_of};

impl Operation for StatusQuery {
    type About = OrderId;
    type Output = Vec<u8>;

    async fn run(&self, context: &Context, order: &OrderId) -> Result<Vec<u8>, OperationError> {
        let status = if let Some(pod) = pod_of(&context.mirrors, order)? {
            of_pod(&pod, self.revision, &context.mirrors.pods)
        } else {
            let found = context.cluster.read(Kind::Deployment, &namespace_of(order), order.as_str()).await?;
            of_deployment(&found.ok_or_else(not_deployed)?, self.revision)
        };
        status.and_then(|status| serde_json::to_vec(&status).ok()).ok_or(OperationError::Retry(RetryCause::Blind))
    }
}

fn of_pod(pod: &PodSeen, wanted: Revision, mirror: &Mirror<PodSeen>) -> Option<Status> {
    let raw = pod.raw.as_ref()?;
    Some(Status {
        name: pod.name.clone(),
        pod_status: raw.status.clone(),
        pod_spec: raw.spec.clone(),
        annotations: raw.annotations.clone(),
        observed_at: mirror.heard().to_string(),
        stale: pod.revision.is_none_or(|shown| shown < wanted) || !mirror.is_live(),
    })
}

fn of_deployment(deployment: &Object, wanted: Revision) -> Option<Status> {
    let part = |pointer: &str| match deployment.0.pointer(pointer) {
        Some(part) => to_raw_value(part),
        None => to_raw_value(&Value::Object(serde_json::Map::new())),
    };
    let shown = deployment.annotation(ANNOTATION_REVISION).and_then(|text| text.parse::<Revision>().ok());
    Some(Status {
        name: deployment.name().to_owned(),
        pod_status: RawValue::from_string("{}".to_owned()).ok()?,
        pod_spec: part("/spec/template/spec").ok()?,
        annotations: part("/spec/template/metadata/annotations").ok()?,
        observed_at: jiff::Timestamp::now().to_string(),
        stale: shown.is_none_or(|shown| shown < wanted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Mirrors;
    use crate::kubernetes::LABEL_ORDER;
    use kube::core::DynamicObject;
    use serde_json::json;

    #[test]
    fn a_pod_that_ended_stands_for_its_order_unless_that_is_stopped() {
        let object = |kind: &str, part: &str, value: &Value| {
            let meta = json!({ "name": "a", "namespace": "vkube-a", "labels": { LABEL_ORDER: "a" } });
            let object = json!({ "apiVersion": "v1", "kind": kind, "metadata": meta, part: value });
            serde_json::from_value::<DynamicObject>(object).unwrap()
        };
        for (case, phase, deployments, expected) in [
            ("runs", "Running", vec![1], true),
            ("evicted, to be replaced", "Failed", vec![1], true),
            ("evicted, and stopped since", "Failed", vec![0], false),
            ("ending", "Running", vec![0], true),
            ("no Deployment seen", "Failed", vec![], true),
        ] {
            let mirrors = Mirrors::default();
            mirrors.pods.show(vec![object("Pod", "status", &json!({ "phase": phase }))]);
            let shown =
                deployments.iter().map(|replicas| object("Deployment", "spec", &json!({ "replicas": replicas })));
            mirrors.deployments.show(shown.collect());
            let pod = pod_of(&mirrors, &"a".parse().unwrap()).unwrap();
            assert_eq!(pod.is_some(), expected, "{case}");
        }
    }

    #[test]
    fn without_a_pod_the_template_is_shown() {
        let deployment = json!({ "metadata": { "name": "a", "annotations": { ANNOTATION_REVISION: "2" } },
            "spec": { "template": { "metadata": { "annotations": { "b": "c" } }, "spec": { "dnsPolicy": "Default" } } } });
        let deployment = Object(deployment);
        for (case, wanted, stale) in [("as deployed", 2, false), ("newer accepted", 3, true)] {
            let status = of_deployment(&deployment, Revision::try_from(wanted).unwrap()).unwrap();
            assert_eq!((status.pod_status.get(), status.stale), ("{}", stale), "{case}");
            assert_eq!(status.pod_spec.get(), r#"{"dnsPolicy":"Default"}"#);
            assert_eq!(status.annotations.get(), r#"{"b":"c"}"#);
        }
    }
}
