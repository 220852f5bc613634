//! The objects of orders beside their Deployments, as far as their metadata tells who changed them.

use std::collections::BTreeMap;

use kube::core::DynamicObject;

use super::managers::Managers;
use super::{Mirror, Seen};
use crate::kubernetes::Kind;

/// The kinds that are followed: not Secrets, which workers may not list.
pub const KINDS: [Kind; 7] = [
    Kind::ServiceAccount,
    Kind::ResourceQuota,
    Kind::NetworkPolicy,
    Kind::PersistentVolumeClaim,
    Kind::ConfigMap,
    Kind::Service,
    Kind::Ingress,
];

impl Seen for Managers {
    fn from_object(object: DynamicObject) -> Self {
        Self::of(&object.metadata)
    }

    fn after(&mut self, before: &Self) {
        self.remember(before);
    }
}

/// A mirror of each kind.
pub type Objects = BTreeMap<Kind, Mirror<Managers>>;

/// Mirrors of all kinds, empty as yet.
pub fn mirrors() -> Objects {
    KINDS.into_iter().map(|kind| (kind, Mirror::default())).collect()
}
