//! From a revision to the Kubernetes objects of one order (`design.md` §7). Pure: nothing here talks to a cluster, and
//! the same revision always gives the same objects.

mod deployment;
mod ingress;
mod network;
mod objects;
mod secrets;

use common::job::Target;
use common::name::RegionCode;
use common::pod::Storage;
use common::sealed::{KeyRing, SealError};

pub use deployment::references;
pub use ingress::ISSUED_SECRET;
pub use objects::SINGLE;

use crate::kubernetes::{ANNOTATION_OBJECTS, Identity, Manifest, print_names};
use crate::settings::PodSettings;

/// All objects of one revision, in the order in which they are written.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// First, and by creation only: a worker may not change namespaces.
    pub namespace: Manifest,
    /// What lasts from revision to revision.
    pub lasting: Vec<Manifest>,
    /// Who may reach the pod: of this revision, but of one name for all.
    pub policy: Manifest,
    /// What only this revision's pod uses.
    pub contents: Vec<Manifest>,
    /// It makes the pod.
    pub deployment: Manifest,
    /// What its domains need; empty = no domain is bound.
    pub exposure: Vec<Manifest>,
}

impl Manifests {
    /// Builds the objects of a revision. Sealed values are opened here and live on in Secrets alone.
    ///
    /// # Errors
    /// When a sealed value does not open with the region's keys.
    pub fn build(
        by: &Identity,
        target: &Target,
        region: &RegionCode,
        settings: &PodSettings,
        keys: &KeyRing,
    ) -> Result<Self, SealError> {
        let pod = &target.pod;
        let mut lasting = vec![objects::service_account(by), objects::resource_quota(by, pod.units)];
        if pod.storage == Storage::Persistent {
            lasting.push(objects::volume_claim(by, pod.units, settings.storage_class.as_deref()));
        }
        let mut contents = secrets::registry_logins(by, pod, keys)?;
        contents.extend(objects::config_files(by, pod));
        contents.extend(secrets::environment(by, pod, keys)?);
        let namespace = objects::namespace(by);
        let policy = network::network_policy(by, target, &settings.egress_deny);
        let exposure = match target.exposure.ingress() {
            Some(ingress) => ingress::exposure(by, ingress, &settings.ingress),
            None => Vec::new(),
        };
        let others = lasting.iter().chain([&policy]).chain(&contents).chain(&exposure);
        let others = print_names(others.map(|manifest| (manifest.kind, manifest.name.clone())));
        let deployment = deployment::deployment(by, target, region, settings).annotated(ANNOTATION_OBJECTS, &others);
        Ok(Self { namespace, lasting, policy, contents, deployment, exposure })
    }
}

#[cfg(test)]
mod tests;
