//! The small objects around the pod: namespace, service account, quota, volume, config files.

use std::collections::BTreeMap;

use common::pod::Pod;
use common::quantity::Units;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, PersistentVolumeClaimSpec, ResourceQuota, ResourceQuotaSpec,
    ServiceAccount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::kubernetes::{Identity, Kind, Manifest};

/// The name of each object of which an order has one.
pub const SINGLE: &str = "pod";
/// The name of the order's volume claim.
pub(super) const VOLUME: &str = "data";

/// The ConfigMap of a revision.
pub(super) fn config_name(by: &Identity) -> String {
    format!("config-r{}", by.revision)
}

/// The order's namespace. Pod Security `baseline` forbids every host port, so `privileged` is enforced: what the order's
/// pod may do is bounded by how it is built alone. `warn` and `audit` still tell what a pod asks for.
pub(super) fn namespace(by: &Identity) -> Manifest {
    let levels = [("enforce", "privileged"), ("warn", "restricted"), ("audit", "restricted")];
    let labels = levels.map(|(mode, level)| (format!("pod-security.kubernetes.io/{mode}"), level.to_owned()));
    let metadata = ObjectMeta { labels: Some(BTreeMap::from(labels)), ..ObjectMeta::default() };
    Manifest::new(Kind::Namespace, by.namespace(), &Namespace { metadata, ..Namespace::default() }, by)
}

/// Who the pod is to the apiserver: nobody in particular, without a token.
pub(super) fn service_account(by: &Identity) -> Manifest {
    let account = ServiceAccount { automount_service_account_token: Some(false), ..ServiceAccount::default() };
    Manifest::new(Kind::ServiceAccount, SINGLE, &account, by)
}

/// What the order paid for. Only pods are counted: what counts other objects too would refuse them until its first count
/// is done.
pub(super) fn resource_quota(by: &Identity, units: Units) -> Manifest {
    // Each container's CPU is rounded up, so a pod may ask for one thousandth more for each of them.
    let cpu = units.cpu_millis() + u64::from(units.get());
    let hard = [
        ("pods", "2".to_owned()),
        ("requests.cpu", format!("{cpu}m")),
        ("requests.memory", units.memory().to_string()),
        ("limits.memory", units.memory().to_string()),
    ];
    let hard = hard.map(|(resource, amount)| (resource.to_owned(), Quantity(amount)));
    let spec = ResourceQuotaSpec { hard: Some(BTreeMap::from(hard)), ..ResourceQuotaSpec::default() };
    let quota = ResourceQuota { spec: Some(spec), ..ResourceQuota::default() };
    Manifest::new(Kind::ResourceQuota, SINGLE, &quota, by)
}

/// The order's volume, which outlives its revisions. It is made once and never changed: few storage classes can.
pub(super) fn volume_claim(by: &Identity, units: Units, storage_class: Option<&str>) -> Manifest {
    let size = Quantity(format!("{}Gi", units.volume_gi()));
    let requests = Some(BTreeMap::from([("storage".to_owned(), size)]));
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        resources: Some(VolumeResourceRequirements { requests, ..VolumeResourceRequirements::default() }),
        storage_class_name: storage_class.map(str::to_owned),
        ..PersistentVolumeClaimSpec::default()
    };
    let claim = PersistentVolumeClaim { spec: Some(spec), ..PersistentVolumeClaim::default() };
    Manifest::new(Kind::PersistentVolumeClaim, VOLUME, &claim, by)
}

/// The files that the customer wrote, one key a container.
pub(super) fn config_files(by: &Identity, pod: &Pod) -> Option<Manifest> {
    let file = |container: &common::pod::Container| {
        Some((container.name.to_string(), container.config.as_ref()?.content.clone()))
    };
    let files: BTreeMap<String, String> = pod.containers.iter().filter_map(file).collect();
    if files.is_empty() {
        return None;
    }
    let map = ConfigMap { data: Some(files), immutable: Some(true), ..ConfigMap::default() };
    Some(Manifest::new(Kind::ConfigMap, config_name(by), &map, by))
}
