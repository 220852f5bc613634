//! Who set which fields of an object, as server-side apply keeps book of it
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>): what somebody changed by hand shows
//! there, and there it is made ours again.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use common::name::JobId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value};

use crate::kubernetes::{ANNOTATION_JOB, FIELD_MANAGER};

/// Kubernetes' own programs: what they set is no change by hand.
const PROGRAMS: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kube-apiserver"];
/// What a platform may add to service accounts of its own accord.
const OF_PLATFORMS: [&str; 2] = ["f:secrets", "f:imagePullSecrets"];
/// The labels and annotations that are ours.
const OWN_KEYS: [&str; 2] = [OWN_NOTES, "f:app.kubernetes.io/"];
/// Our annotations that differ from job to job, some within one.
const OWN_NOTES: &str = "f:vkube.dev/";
/// What `kubectl rollout restart` sets: pods are the same after it.
const RESTARTED: [&str; 4] = ["f:template", "f:metadata", "f:annotations", "f:kubectl.kubernetes.io/restartedAt"];
/// The longest name of a manager that is kept.
const MAX_MANAGER: usize = 64;

/// Who set an object's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managers {
    /// The job that last wrote it.
    pub job: Option<JobId>,
    /// Tells which of its fields are ours.
    own_fields: u64,
    /// Tells which were ours when it was first seen as that job wrote it.
    first_own_fields: u64,
    /// Who else has set a field that matters.
    pub foreign: Option<String>,
}

impl Managers {
    /// Reads them out of an object's metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        let annotations = metadata.annotations.as_ref();
        let entries = metadata.managed_fields.as_deref().unwrap_or_default();
        let mut own: Vec<String> = entries.iter().filter(|entry| is_own(entry)).map(own_fields).collect();
        own.sort_unstable();
        let mut hasher = DefaultHasher::new();
        own.hash(&mut hasher);
        let foreign = entries.iter().find(|entry| is_foreign(entry));
        Self {
            job: annotations.and_then(|all| all.get(ANNOTATION_JOB)?.parse().ok()),
            own_fields: hasher.finish(),
            first_own_fields: hasher.finish(),
            foreign: foreign.map(|entry| manager(entry).chars().take(MAX_MANAGER).collect()),
        }
    }

    /// Remembers how the object was seen before.
    pub fn remember(&mut self, before: &Self) {
        if self.job == before.job {
            self.first_own_fields = before.first_own_fields;
        }
    }

    /// Whether a field of ours was changed or removed since the object was first seen as its job wrote it.
    pub fn lacks_field(&self) -> bool {
        self.own_fields != self.first_own_fields
    }
}

/// The book in which all fields that others have set are ours, so that an apply removes those that it does not name, as
/// client-go's `csaupgrade` does. None = nobody has set any.
pub(super) fn taken_over(entries: Vec<ManagedFieldsEntry>) -> Option<Vec<ManagedFieldsEntry>> {
    if !entries.iter().any(is_foreign) {
        return None;
    }
    let (ours, mut others): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| is_own(entry) || is_foreign(entry));
    let mut fields = Value::Object(Map::new());
    let api_version = ours.iter().find_map(|entry| entry.api_version.clone());
    for mut entry in ours {
        let mut taken = entry.fields_v1.take().map(|FieldsV1(fields)| fields).unwrap_or_default();
        if !is_own(&entry)
            && let Some(notes) = notes_of_others(&mut taken)
        {
            others.push(ManagedFieldsEntry { fields_v1: Some(FieldsV1(notes)), ..entry });
        }
        merge(&mut fields, taken);
    }
    others.push(ManagedFieldsEntry {
        manager: Some(FIELD_MANAGER.to_owned()),
        operation: Some("Apply".to_owned()),
        api_version,
        fields_type: Some("FieldsV1".to_owned()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    });
    Some(others)
}

/// Takes out of the fields that somebody set those of the metadata which are not ours: their labels, annotations and finalizers.
fn notes_of_others(fields: &mut Value) -> Option<Value> {
    let metadata = fields.get_mut("f:metadata")?.as_object_mut()?;
    let mut notes = Map::new();
    for (key, values) in std::mem::take(metadata) {
        let is_map = key == "f:labels" || key == "f:annotations";
        let (own, other): (Map<_, _>, Map<_, _>) = match values {
            Value::Object(values) if is_map => values.into_iter().partition(|(key, _)| is_own_key(key)),
            values => {
                notes.insert(key, values);
                continue;
            }
        };
        if !own.is_empty() {
            metadata.insert(key.clone(), Value::Object(own));
        }
        if other.keys().any(|key| key != ".") {
            notes.insert(key, Value::Object(other));
        }
    }
    (!notes.is_empty()).then(|| Value::Object(Map::from_iter([("f:metadata".to_owned(), Value::Object(notes))])))
}

fn manager(entry: &ManagedFieldsEntry) -> &str {
    entry.manager.as_deref().unwrap_or_default()
}

fn is_own(entry: &ManagedFieldsEntry) -> bool {
    manager(entry) == FIELD_MANAGER
}

/// Whether it is somebody's change of what the object says.
fn is_foreign(entry: &ManagedFieldsEntry) -> bool {
    let is_known = is_own(entry) || PROGRAMS.contains(&manager(entry));
    let matters = |(key, value): (&String, &Value)| match key.as_str() {
        "f:status" => false,
        "f:metadata" => keys(value, "f:labels").chain(keys(value, "f:annotations")).any(|key| is_own_key(key)),
        "f:spec" => !is_restart(value),
        key => !OF_PLATFORMS.contains(&key),
    };
    !is_known && entry.subresource.as_deref() != Some("status") && fields(entry).is_some_and(|f| f.iter().any(matters))
}

/// Whether nothing is set in a specification but when its pods were last restarted.
fn is_restart(spec: &Value) -> bool {
    let only = |fields: &Value, wanted: &str| {
        let fields = fields.as_object()?;
        let is_alone = fields.keys().all(|key| key == "." || key == wanted);
        fields.get(wanted).filter(|_| is_alone).cloned()
    };
    RESTARTED.iter().try_fold(spec.clone(), |fields, wanted| only(&fields, wanted)).is_some()
}

/// Our fields as text, but for our notes.
fn own_fields(entry: &ManagedFieldsEntry) -> String {
    let Some(mut fields) = fields(entry).cloned() else { return String::new() };
    let annotations = fields.get_mut("f:metadata").and_then(|metadata| metadata.get_mut("f:annotations"));
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !key.starts_with(OWN_NOTES));
    }
    Value::Object(fields).to_string()
}

fn fields(entry: &ManagedFieldsEntry) -> Option<&Map<String, Value>> {
    entry.fields_v1.as_ref()?.0.as_object()
}

fn keys<'a>(metadata: &'a Value, map: &str) -> impl Iterator<Item = &'a String> {
    metadata.get(map).and_then(Value::as_object).into_iter().flat_map(Map::keys)
}

fn is_own_key(key: &str) -> bool {
    OWN_KEYS.iter().any(|own| key.starts_with(own))
}

/// Adds one set of fields to another.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        for (key, value) in from {
            merge(into.entry(key).or_insert_with(|| Value::Object(Map::new())), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, subresource: Option<&str>, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            api_version: Some("apps/v1".to_owned()),
            subresource: subresource.map(str::to_owned),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    fn managers(entries: &[ManagedFieldsEntry]) -> Managers {
        Managers::of(&ObjectMeta { managed_fields: Some(entries.to_vec()), ..ObjectMeta::default() })
    }

    fn ours() -> ManagedFieldsEntry {
        let fields = json!({ "f:metadata": { "f:labels": { "f:vkube.dev/order": {} }, "f:annotations": { "f:a": {} } },
            "f:spec": { "f:replicas": {}, "f:template": {} } });
        entry(FIELD_MANAGER, "Apply", None, fields)
    }

    #[test]
    fn only_what_somebody_set_of_what_an_object_says_counts_as_changed() {
        let spec = json!({ "f:spec": { "f:replicas": {} } });
        for (case, other, foreign) in [
            ("kubectl edit", entry("kubectl-edit", "Update", None, spec.clone()), Some("kubectl-edit")),
            ("kubectl scale", entry("kubectl", "Update", Some("scale"), spec.clone()), Some("kubectl")),
            ("an apply of another", entry("argocd", "Apply", None, spec.clone()), Some("argocd")),
            ("the controller", entry("kube-controller-manager", "Update", None, spec.clone()), None),
            ("a status", entry("operator", "Update", Some("status"), json!({ "f:status": {} })), None),
            (
                "a note",
                entry("rancher", "Update", None, json!({ "f:metadata": { "f:annotations": { "f:x/y": {} } } })),
                None,
            ),
            (
                "our label",
                entry("k", "Update", None, json!({ "f:metadata": { "f:labels": { "f:vkube.dev/order": {} } } })),
                Some("k"),
            ),
            (
                "kubectl rollout restart",
                entry(
                    "kubectl-rollout",
                    "Update",
                    None,
                    json!({ "f:spec": { "f:template": { "f:metadata": {
                    "f:annotations": { ".": {}, "f:kubectl.kubernetes.io/restartedAt": {} } } } } }),
                ),
                None,
            ),
            (
                "another note of pods",
                entry(
                    "k",
                    "Update",
                    None,
                    json!({ "f:spec": { "f:template": { "f:metadata": {
                    "f:annotations": { "f:kubectl.kubernetes.io/restartedAt": {}, "f:x/y": {} } } } } }),
                ),
                Some("k"),
            ),
            ("a platform's login", entry("openshift", "Update", None, json!({ "f:imagePullSecrets": {} })), None),
        ] {
            assert_eq!(managers(&[ours(), other]).foreign.as_deref(), foreign, "{case}");
        }
    }

    #[test]
    fn a_field_that_is_no_more_ours_shows_and_a_note_of_ours_does_not() {
        let (mut lost, mut noted) = (ours(), ours());
        lost.fields_v1.as_mut().unwrap().0["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        noted.fields_v1.as_mut().unwrap().0["f:metadata"]["f:annotations"]["f:vkube.dev/job"] = json!({});
        let mut unset = ours();
        unset.fields_v1.as_mut().unwrap().0["f:metadata"]["f:annotations"].as_object_mut().unwrap().remove("f:a");
        let before = managers(&[ours()]);
        let later = |entry: ManagedFieldsEntry| {
            let mut managers = managers(&[entry]);
            managers.remember(&before);
            managers
        };
        assert!(later(lost.clone()).lacks_field() && !managers(&[lost]).lacks_field());
        assert!(!later(noted).lacks_field() && later(unset).lacks_field());
    }

    #[test]
    fn what_others_set_becomes_ours_and_what_programs_set_stays_theirs() {
        let status = entry("kube-controller-manager", "Update", Some("status"), json!({ "f:status": {} }));
        assert_eq!(taken_over(vec![ours(), status.clone()]), None);
        let theirs = json!({ "f:metadata": { "f:annotations": { "f:x/y": {} }, "f:finalizers": { "v:\"x/y\"": {} } } });
        let mut fields = json!({ "f:spec": { "f:template": { "f:x": {} }, "f:y": {} } });
        fields["f:metadata"] = theirs["f:metadata"].clone();
        fields["f:metadata"]["f:labels"] = json!({ "f:vkube.dev/region": {} });
        let edit = entry("kubectl-edit", "Update", None, fields);
        let made = entry(FIELD_MANAGER, "Update", None, json!({ "f:data": {} }));
        let all = taken_over(vec![ours(), edit, made, status.clone()]).unwrap();
        let mut expected = ours().fields_v1.unwrap().0;
        expected["f:spec"] = json!({ "f:replicas": {}, "f:template": { "f:x": {} }, "f:y": {} });
        expected["f:data"] = json!({});
        expected["f:metadata"]["f:labels"]["f:vkube.dev/region"] = json!({});
        let left = entry("kubectl-edit", "Update", None, theirs);
        let own = ManagedFieldsEntry { fields_type: Some("FieldsV1".to_owned()), ..ours() };
        assert_eq!(all, [status, left, ManagedFieldsEntry { fields_v1: Some(FieldsV1(expected)), ..own }]);
    }
}
