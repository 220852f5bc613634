//! An object as the apiserver printed it: JSON, so that nothing younger than this program is dropped.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use super::managers::Managers;

/// One object of the cluster.
#[derive(Clone)]
pub struct Object(pub Value);

impl std::fmt::Debug for Object {
    /// Never the body: it may be a Secret's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Object({} {})", self.text("/kind").unwrap_or_default(), self.name())
    }
}

impl Object {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer)?.as_str()
    }

    fn entry(&self, map: &str, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get(map)?.get(key)?.as_str()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    /// Tells it from a namesake made later.
    pub fn uid(&self) -> &str {
        self.text("/metadata/uid").unwrap_or_default()
    }

    /// Changes with every write.
    pub fn resource_version(&self) -> &str {
        self.text("/metadata/resourceVersion").unwrap_or_default()
    }

    /// Changes with every write to its spec.
    pub fn generation(&self) -> i64 {
        self.0.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default()
    }

    /// Whether it is about to be gone.
    pub fn is_terminating(&self) -> bool {
        self.text("/metadata/deletionTimestamp").is_some()
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.entry("annotations", key)
    }

    /// Who set its fields.
    pub fn managers(&self) -> Managers {
        let metadata = self.0.get("metadata").cloned();
        Managers::of(&metadata.and_then(|metadata| serde_json::from_value(metadata).ok()).unwrap_or_default())
    }

    /// Who set which of its fields.
    pub fn managed_fields(&self) -> Vec<ManagedFieldsEntry> {
        let entries = self.0.pointer("/metadata/managedFields").cloned();
        entries.and_then(|entries| serde_json::from_value(entries).ok()).unwrap_or_default()
    }

    /// A label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.entry("labels", key)
    }
}
