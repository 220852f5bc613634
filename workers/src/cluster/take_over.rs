//! Makes ours what somebody set of an object by hand, so that writing it removes what it should not have.

use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::json;

use super::managers::taken_over;
use super::{Cluster, ClusterError, Object};
use crate::kubernetes::{ANNOTATION_CONTENT, FIELD_MANAGER, Kind};

impl Cluster {
    /// Takes over the fields of an object as it was read; answers the object as it is then. One request, none where nobody
    /// set any.
    ///
    /// # Errors
    /// When the call fails, or the object has changed since.
    pub async fn take_over(&self, kind: Kind, namespace: &str, read: &Object) -> Result<Object, ClusterError> {
        let Some(managers) = taken_over(read.managed_fields()) else { return Ok(read.clone()) };
        let what = format!("take over {} {}", kind.as_str(), read.name());
        // Who finds it so, as nobody came to write it, finds that it does not say what it should.
        let annotations = json!({ ANNOTATION_CONTENT: null });
        let metadata = json!({ "managedFields": managers, "annotations": annotations,
            "resourceVersion": read.resource_version() });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = Request::new(kind.path(namespace)).patch_metadata(read.name(), &params, &patch);
        self.object(&what, request).await
    }
}
