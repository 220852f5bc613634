//! What a Deployment's predecessors used and it does not: config maps and Secrets of older revisions. Workers may not list
//! Secrets, so each Deployment carries a note of what it uses, and of what it replaces.
//!
//! Every job's apply changes the version of what it applies, and what is removed is removed in the version that was noted:
//! what a newer job of the same revision has applied since stays. So does what an older one of it applied after the note was
//! written: it lies unused until the order is deleted.

use std::collections::BTreeSet;

use common::name::Revision;
use futures::future::try_join_all;

use super::OperationError;
use crate::cluster::{Cluster, Object};
use crate::kubernetes::{ANNOTATION_EARLIER, ANNOTATION_REPLACED, ANNOTATION_USES, Kind, Manifest};
use crate::manifests::{is_of, references};

/// How many objects of earlier predecessors are remembered.
const MAX_EARLIER: usize = 32;

/// A config map or a Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Content {
    kind: Kind,
    name: String,
    /// What its apply answered; none = it is not known whether and when it was applied.
    pub(super) version: Option<String>,
}

impl Content {
    fn is(&self, other: &Self) -> bool {
        (self.kind, &self.name) == (other.kind, &other.name)
    }
}

/// What a job is about to apply, or may have applied in an attempt before.
pub(super) fn not_applied(manifests: &[Manifest]) -> Vec<Content> {
    let content = |manifest: &Manifest| Content { kind: manifest.kind, name: manifest.name.clone(), version: None };
    manifests.iter().map(content).collect()
}

/// What the Deployment's template uses, in the versions that the Deployment notes.
pub(super) fn used_by(deployment: &Object) -> Vec<Content> {
    let noted = noted(deployment, ANNOTATION_USES);
    let used = references(&deployment.0).into_iter().map(|(kind, name)| Content { kind, name, version: None });
    used.map(|content| noted.iter().find(|noted| noted.is(&content)).cloned().unwrap_or(content)).collect()
}

/// The Deployment with a note of what it uses; of what it replaces, for the job that writes it; and of what its predecessor
/// replaced: the predecessor's job may have crashed before it removed that, and finds it here when it runs again.
pub(super) fn noting(before: Option<&Object>, manifest: &Manifest, uses: &[Content]) -> Manifest {
    let (mut replaced, mut earlier) = (Vec::new(), Vec::new());
    if let Some(before) = before {
        replaced = used_by(before);
        replaced.retain(|content| !uses.iter().any(|used| used.is(content)));
        earlier = noted(before, ANNOTATION_REPLACED);
        earlier.extend(noted(before, ANNOTATION_EARLIER));
        earlier.retain(|content| !uses.iter().chain(&replaced).any(|known| known.is(content)));
        earlier.truncate(MAX_EARLIER);
    }
    let mut noting = manifest.clone();
    for (key, contents) in [(ANNOTATION_USES, uses), (ANNOTATION_REPLACED, &replaced), (ANNOTATION_EARLIER, &earlier)] {
        if !contents.is_empty() {
            noting = noting.annotated(key, &print(contents));
        }
    }
    noting
}

/// Removes what the Deployment replaced. The job that wrote it does so.
pub(super) async fn remove_replaced(
    cluster: &Cluster,
    namespace: &str,
    deployment: &Object,
) -> Result<(), OperationError> {
    remove_unused(cluster, namespace, Some(deployment), noted(deployment, ANNOTATION_REPLACED)).await
}

/// Removes these contents, and all that the Deployment notes, except what it uses. A job that was overtaken does so: it may
/// have removed nothing of what it replaced. Where the Deployment still uses something, the newer job finds it there when
/// it writes its own, and removes it.
///
/// Contents of the revision that a cancel has gone back to are spared where their version is not known, as that cancel may
/// have applied them, and removes them should it be overtaken. What is left to chance: a cancel that begins just now.
pub(super) async fn remove_all(
    cluster: &Cluster,
    namespace: &str,
    deployment: Option<&Object>,
    contents: &[Content],
    spared: Option<Revision>,
) -> Result<(), OperationError> {
    let notes = deployment.into_iter().flat_map(|deployment| {
        [ANNOTATION_REPLACED, ANNOTATION_EARLIER].into_iter().flat_map(|note| noted(deployment, note))
    });
    let mut all: BTreeSet<_> = contents.iter().cloned().chain(notes).collect();
    all.retain(|content| content.version.is_some() || !spared.is_some_and(|revision| is_of(&content.name, revision)));
    remove_unused(cluster, namespace, deployment, all).await
}

async fn remove_unused(
    cluster: &Cluster,
    namespace: &str,
    deployment: Option<&Object>,
    contents: impl IntoIterator<Item = Content>,
) -> Result<(), OperationError> {
    let used = deployment.map(used_by).unwrap_or_default();
    let unused = contents.into_iter().filter(|content| !used.iter().any(|used| used.is(content)));
    let removals = unused.map(|Content { kind, name, version }| async move {
        match version {
            Some(version) => cluster.delete_version(kind, namespace, &name, &version).await,
            None => cluster.delete(kind, namespace, &name, None).await,
        }
    });
    try_join_all(removals).await?;
    Ok(())
}

/// `<kind>/<name>@<version>`, without the last part where it is not known.
fn print(contents: &[Content]) -> String {
    let word = |content: &Content| {
        let version = content.version.as_deref().map(|version| format!("@{version}")).unwrap_or_default();
        format!("{}/{}{version}", content.kind.as_str(), content.name)
    };
    contents.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn noted(deployment: &Object, note: &str) -> Vec<Content> {
    let words = deployment.annotation(note).unwrap_or_default().split_whitespace();
    let read = |word: &str| {
        let (kind, rest) = word.split_once('/')?;
        let kind = [Kind::Secret, Kind::ConfigMap].into_iter().find(|known| known.as_str() == kind)?;
        let (name, version) = match rest.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (rest, None),
        };
        Some(Content { kind, name: name.to_owned(), version })
    };
    words.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A Deployment whose pod uses these config maps, with these annotations.
    fn deployment(uses: &[&str], annotations: &[(&str, &str)]) -> Object {
        let volumes: Vec<_> = uses.iter().map(|name| json!({ "configMap": { "name": name } })).collect();
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        Object(json!({ "metadata": { "annotations": annotations },
            "spec": { "template": { "spec": { "volumes": volumes } } } }))
    }

    #[test]
    fn a_deployment_notes_what_it_uses_and_what_it_and_its_predecessors_replaced() {
        let before = [
            ("first", None, "a@3", [Some("a@3"), None, None]),
            ("written again", Some((&["a"][..], "a@3", "b@2", "c@1")), "a@3", [Some("a@3"), None, Some("b@2 c@1")]),
            ("another", Some((&["b"][..], "b@2", "", "")), "a@3", [Some("a@3"), Some("b@2"), None]),
            ("by an older worker", Some((&["b"][..], "", "c", "")), "a@3", [Some("a@3"), Some("b"), Some("c")]),
            ("back again", Some((&["b"][..], "b@2", "a@1", "c@1")), "a@3", [Some("a@3"), Some("b@2"), Some("c@1")]),
        ];
        let spelled =
            |note: &str| note.split_whitespace().map(|word| format!("ConfigMap/{word}")).collect::<Vec<_>>().join(" ");
        for (case, before, uses, expected) in before {
            let before = before.map(|(pod, uses, replaced, earlier)| {
                let notes = [(ANNOTATION_USES, uses), (ANNOTATION_REPLACED, replaced), (ANNOTATION_EARLIER, earlier)];
                let notes = notes.map(|(key, note)| (key, spelled(note)));
                deployment(pod, &notes.each_ref().map(|(key, note)| (*key, note.as_str())))
            });
            let uses = noted(&deployment(&[], &[(ANNOTATION_USES, &spelled(uses))]), ANNOTATION_USES);
            let body = deployment(&["a"], &[]).0;
            let manifest = Manifest { body, kind: Kind::Deployment, name: "d".to_owned(), content: String::new() };
            let written = Object(noting(before.as_ref(), &manifest, &uses).body);
            let notes = [ANNOTATION_USES, ANNOTATION_REPLACED, ANNOTATION_EARLIER].map(|key| written.annotation(key));
            assert_eq!(notes.map(|note| note.map(str::to_owned)), expected.map(|note| note.map(spelled)), "{case}");
        }
    }
}
