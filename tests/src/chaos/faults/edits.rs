//! Objects of orders that somebody changes or deletes by hand, and that must be put right without a person.

use std::time::Duration;

use futures::FutureExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::objects::any;
use super::{Fault, Step};
use crate::chaos::world::World;

/// What somebody does to an object: of which kind, and the change; none = it is deleted.
#[derive(Debug)]
struct Edit {
    name: &'static str,
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    change: Option<fn() -> Value>,
}

/// As `kubectl scale` does it.
fn stopped() -> Value {
    json!({ "spec": { "replicas": 0 } })
}

/// As `kubectl edit` does it.
fn other_image() -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "web", "image": "pause:1", "env": [{ "name": "FOREIGN", "value": "1" }] }] } } } })
}

fn larger_quota() -> Value {
    json!({ "spec": { "hard": { "pods": "9" } } })
}

fn with_token() -> Value {
    json!({ "automountServiceAccountToken": true })
}

const EDITS: [Edit; 7] = [
    Edit { name: "deployment-scaled", group: "apps", kind: "Deployment", plural: "deployments", change: Some(stopped) },
    Edit {
        name: "deployment-edited",
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        change: Some(other_image),
    },
    Edit {
        name: "quota-edited",
        group: "",
        kind: "ResourceQuota",
        plural: "resourcequotas",
        change: Some(larger_quota),
    },
    Edit {
        name: "account-edited",
        group: "",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        change: Some(with_token),
    },
    Edit {
        name: "policy-deleted",
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        change: None,
    },
    Edit { name: "config-deleted", group: "", kind: "ConfigMap", plural: "configmaps", change: None },
    Edit { name: "secret-deleted", group: "", kind: "Secret", plural: "secrets", change: None },
];

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    EDITS.into_iter().map(|edit| -> Box<dyn Fault> { Box::new(edit) }).collect()
}

impl Fault for Edit {
    fn is_by_hand(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(0..20_000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let of_group =
                if self.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/v1", self.group) };
            let (namespace, name) = any(world, random, &format!("{of_group}/{}", self.plural)).await?;
            let gvk = GroupVersionKind::gvk(self.group, "v1", self.kind);
            let resource = ApiResource::from_gvk_with_plural(&gvk, self.plural);
            let api: Api<DynamicObject> = Api::namespaced_with(world.cluster.client(), &namespace, &resource);
            match self.change {
                Some(change) => {
                    let params =
                        PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
                    api.patch(&name, &params, &Patch::Strategic(change())).await?;
                }
                None => {
                    api.delete(&name, &DeleteParams::background()).await?;
                }
            }
            Ok(format!("{namespace}/{name}"))
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, _: &'a mut World) -> Step<'a, ()> {
        async { Ok(()) }.boxed_local()
    }
}
