//! Kubernetes' own words as the worker uses them: kinds, labels, annotations and names, and an object ready to be written.
//! Both who builds objects and who writes them know these, and nothing of each other.

use std::collections::BTreeMap;

use common::name::{JobId, OrderId, Revision, Sequence};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The one field manager of all workers (server-side apply).
pub const FIELD_MANAGER: &str = "vkube-worker";
/// Label of everything that belongs to an order, its namespace and its fence included.
pub const LABEL_ORDER: &str = "vkube.dev/order";
/// Label: the application, which is the order.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Label: what it is part of, which is vkube.
pub const LABEL_PART_OF: &str = "app.kubernetes.io/part-of";
/// Label: which program looks after the object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Annotation: the sequence of the job that last wrote the object.
pub const ANNOTATION_SEQUENCE: &str = "vkube.dev/sequence";
/// Annotation: the revision that the object was written for.
pub const ANNOTATION_REVISION: &str = "vkube.dev/revision";
/// Annotation: the job that last wrote the object.
pub const ANNOTATION_JOB: &str = "vkube.dev/job";
/// Annotation: what the object says, as a hash; an object with the same one is not written again.
pub const ANNOTATION_CONTENT: &str = "vkube.dev/content";
/// Annotation of a Deployment: what its predecessor used and it does not, removed by the job that wrote it.
pub const ANNOTATION_REPLACED: &str = "vkube.dev/replaced";
/// Annotation of a Deployment: what its predecessors had replaced, and may not have removed.
pub const ANNOTATION_EARLIER: &str = "vkube.dev/replaced-earlier";

/// Annotation of a Deployment: all objects of the order beside it, a word each.
pub const ANNOTATION_OBJECTS: &str = "vkube.dev/objects";

/// The namespace of an order.
pub fn namespace_of(order: &OrderId) -> String {
    format!("vkube-{order}")
}

/// The order of a namespace, by its name alone.
pub fn order_of(namespace: &str) -> Option<OrderId> {
    namespace.strip_prefix("vkube-")?.parse().ok()
}

/// The kinds of objects that a worker writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Holds all else.
    Namespace,
    /// Without token.
    ServiceAccount,
    /// What the order paid for.
    ResourceQuota,
    /// Whom the pod may reach, and who it.
    NetworkPolicy,
    /// The order's volume.
    PersistentVolumeClaim,
    /// Files that the customer wrote.
    ConfigMap,
    /// Environment values and registry logins.
    Secret,
    /// The pod.
    Deployment,
    /// What an Ingress leads to.
    Service,
    /// The order's domains.
    Ingress,
    /// The order's fence, in the worker's own namespace.
    Lease,
}

impl Kind {
    /// The kinds of what is in an order's namespace beside its pods.
    pub const OF_ORDERS: [Self; 9] = [
        Self::ServiceAccount,
        Self::ResourceQuota,
        Self::NetworkPolicy,
        Self::PersistentVolumeClaim,
        Self::ConfigMap,
        Self::Secret,
        Self::Deployment,
        Self::Service,
        Self::Ingress,
    ];

    /// The kind as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ServiceAccount => "ServiceAccount",
            Self::ResourceQuota => "ResourceQuota",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::Ingress => "Ingress",
            Self::Lease => "Lease",
        }
    }

    /// The kind as a collection: its group (empty = core), all of which are of version `v1`, and its plural.
    fn collection(self) -> (&'static str, &'static str) {
        match self {
            Self::Namespace => ("", "namespaces"),
            Self::ServiceAccount => ("", "serviceaccounts"),
            Self::ResourceQuota => ("", "resourcequotas"),
            Self::NetworkPolicy => ("networking.k8s.io", "networkpolicies"),
            Self::PersistentVolumeClaim => ("", "persistentvolumeclaims"),
            Self::ConfigMap => ("", "configmaps"),
            Self::Secret => ("", "secrets"),
            Self::Deployment => ("apps", "deployments"),
            Self::Service => ("", "services"),
            Self::Ingress => ("networking.k8s.io", "ingresses"),
            Self::Lease => ("coordination.k8s.io", "leases"),
        }
    }

    /// The kind as a watch asks for it.
    pub fn resource(self) -> ApiResource {
        let (group, plural) = self.collection();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", self.as_str()), plural)
    }

    /// The path of the kind's collection: of a namespace, or of the cluster.
    pub fn path(self, namespace: &str) -> String {
        let (group, plural) = self.collection();
        let of_group = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
        match self {
            Self::Namespace => format!("{of_group}/{plural}"),
            _ => format!("{of_group}/namespaces/{namespace}/{plural}"),
        }
    }
}

/// An object in an order's namespace.
pub type ObjectName = (Kind, String);

/// Objects as an annotation names them: a word each, `ConfigMap/config-r1`.
pub fn print_names(names: impl IntoIterator<Item = ObjectName>) -> String {
    let words = names.into_iter().map(|(kind, name)| format!("{}/{name}", kind.as_str()));
    words.collect::<Vec<_>>().join(" ")
}

/// The objects that an annotation names.
pub fn read_names(words: &str) -> Vec<ObjectName> {
    let read = |word: &str| {
        let (kind, name) = word.split_once('/')?;
        let kind = Kind::OF_ORDERS.into_iter().find(|known| known.as_str() == kind)?;
        Some((kind, name.to_owned()))
    };
    words.split_whitespace().filter_map(read).collect()
}

/// Which change of which order an object is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose object it is.
    pub order: OrderId,
    /// The job's place among the order's jobs.
    pub sequence: Sequence,
    /// The revision that is made.
    pub revision: Revision,
    /// The job that makes it.
    pub job: JobId,
    /// Whether everything is written, also what seems to be as it should.
    pub repairs: bool,
}

impl Identity {
    /// The order's namespace.
    pub fn namespace(&self) -> String {
        namespace_of(&self.order)
    }
}

/// One object, ready to be written.
#[derive(Clone)]
pub struct Manifest {
    /// The whole object.
    pub body: Value,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The hash of what it says, which is also one of its annotations.
    pub content: String,
}

impl std::fmt::Debug for Manifest {
    /// Never the body: a Secret is a manifest too.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manifest({} {})", self.kind.as_str(), self.name)
    }
}

impl Manifest {
    /// Names and labels an object, and annotates it with who wrote it and what it says. Secrets carry no hash of their
    /// contents: their names carry the revision.
    pub fn new(kind: Kind, name: impl Into<String>, object: &impl Serialize, by: &Identity) -> Self {
        let name = name.into();
        let mut body = serde_json::to_value(object).unwrap_or_default();
        let content = match kind {
            Kind::Secret => String::new(),
            _ => content_hash(&body),
        };
        let mut annotations = BTreeMap::from([
            (ANNOTATION_SEQUENCE, by.sequence.to_string()),
            (ANNOTATION_REVISION, by.revision.to_string()),
            (ANNOTATION_JOB, by.job.to_string()),
        ]);
        if kind != Kind::Secret {
            annotations.insert(ANNOTATION_CONTENT, content.clone());
        }
        let order = by.order.as_str();
        let labels =
            [(LABEL_ORDER, order), (LABEL_NAME, order), (LABEL_PART_OF, "vkube"), (LABEL_MANAGED_BY, FIELD_MANAGER)];
        let mut labels: serde_json::Map<_, _> = labels.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        if let Some(Value::Object(own)) = body.pointer("/metadata/labels") {
            labels.extend(own.clone());
        }
        let metadata = serde_json::json!({ "name": name, "labels": labels, "annotations": annotations });
        if let Some(body) = body.as_object_mut() {
            body.insert("metadata".to_owned(), metadata);
        }
        Self { body, kind, name, content }
    }

    /// The object, to be written only over the version that was read.
    #[must_use]
    pub fn at_version(&self, version: &str) -> Self {
        self.with("/metadata", "resourceVersion", version)
    }

    /// The object with one more annotation, which is no part of what it says.
    #[must_use]
    pub fn annotated(&self, key: &str, value: &str) -> Self {
        self.with("/metadata/annotations", key, value)
    }

    fn with(&self, pointer: &str, key: &str, value: &str) -> Self {
        let mut manifest = self.clone();
        if let Some(map) = manifest.body.pointer_mut(pointer).and_then(Value::as_object_mut) {
            map.insert(key.to_owned(), value.into());
        }
        manifest
    }
}

/// SHA-256 of an object's JSON; keys are sorted, so equal contents have equal hashes.
fn content_hash(body: &Value) -> String {
    let digest = Sha256::digest(body.to_string().as_bytes());
    hex::encode(digest.get(..16).unwrap_or_default())
}
