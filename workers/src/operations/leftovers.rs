//! What a Deployment's predecessors used and it does not: config maps and Secrets of older revisions. Workers may not list
//! Secrets, so each Deployment carries a note of them, and the fence another.
//!
//! Every job's apply stamps its sequence on what it applies, and a job removes only what no newer one has stamped, in the
//! version that it looked at: what a newer job went back to stays, however long an older one slept.

use std::collections::BTreeSet;

use common::name::Sequence;
use futures::future::try_join_all;

use super::write::written_by;
use super::{OperationError, RetryCause};
use crate::cluster::classify::Disposition;
use crate::cluster::fence::Fence;
use crate::cluster::{Cluster, Object};
use crate::kubernetes::{ANNOTATION_EARLIER, ANNOTATION_REPLACED, Kind, Manifest, ObjectName, print_names, read_names};
use crate::manifests::references;

/// How often an object may change between being looked at and being removed.
const TRIES: usize = 4;
/// How many objects of earlier predecessors are remembered.
const MAX_EARLIER: usize = 32;

/// The Deployment with a note of what it replaces, for the job that writes it, and of what its predecessor replaced: the
/// predecessor's job may have crashed before it removed that, and finds it here when it runs again.
pub(super) fn noting(before: &Object, manifest: &Manifest) -> Manifest {
    let uses = references(&manifest.body);
    let replaced: Vec<_> = references(&before.0).difference(&uses).cloned().collect();
    let mut earlier = noted(before, ANNOTATION_REPLACED);
    earlier.extend(noted(before, ANNOTATION_EARLIER));
    earlier.retain(|content| !uses.contains(content) && !replaced.contains(content));
    earlier.truncate(MAX_EARLIER);
    let mut noting = manifest.clone();
    for (key, contents) in [(ANNOTATION_REPLACED, replaced), (ANNOTATION_EARLIER, earlier)] {
        if !contents.is_empty() {
            noting = noting.annotated(key, &print_names(contents));
        }
    }
    noting
}

/// The same for a Deployment that is not there though it was: somebody deleted it, and what it used is at the fence.
pub(super) fn noting_lost(fence: &Fence, manifest: &Manifest) -> Manifest {
    let uses = references(&manifest.body);
    let mut replaced = contents(&fence.contents);
    replaced.retain(|content| !uses.contains(content));
    if replaced.is_empty() {
        manifest.clone()
    } else {
        manifest.clone().annotated(ANNOTATION_REPLACED, &print_names(replaced))
    }
}

/// The contents of a job's target, a word each, for its fence.
pub(super) fn words(contents: &[Manifest]) -> String {
    print_names(contents.iter().map(|manifest| (manifest.kind, manifest.name.clone())))
}

/// Removes what the Deployment replaced. The job that wrote it does so.
pub(super) async fn remove_replaced(
    cluster: &Cluster,
    namespace: &str,
    deployment: &Object,
    by: Sequence,
) -> Result<(), OperationError> {
    remove_unused(cluster, namespace, Some(deployment), noted(deployment, ANNOTATION_REPLACED), by).await
}

/// Removes these contents, and all that the Deployment notes, except what it uses. A job that was overtaken does so: it may
/// have removed nothing of what it replaced. Where the Deployment still uses something, the newer job finds it there when
/// it writes its own, and removes it.
pub(super) async fn remove_all(
    cluster: &Cluster,
    namespace: &str,
    deployment: Option<&Object>,
    contents: impl IntoIterator<Item = ObjectName>,
    by: Sequence,
) -> Result<(), OperationError> {
    let notes = deployment.into_iter().flat_map(|deployment| {
        [ANNOTATION_REPLACED, ANNOTATION_EARLIER].into_iter().flat_map(|note| noted(deployment, note))
    });
    let all: BTreeSet<_> = contents.into_iter().chain(notes).collect();
    remove_unused(cluster, namespace, deployment, all.into_iter().collect(), by).await
}

async fn remove_unused(
    cluster: &Cluster,
    namespace: &str,
    deployment: Option<&Object>,
    mut contents: Vec<ObjectName>,
    by: Sequence,
) -> Result<(), OperationError> {
    let used = deployment.map(|deployment| references(&deployment.0)).unwrap_or_default();
    contents.retain(|content| !used.contains(content));
    try_join_all(contents.iter().map(|content| remove(cluster, namespace, content, by))).await?;
    Ok(())
}

/// Removes one of them, unless a job newer than this one has applied it.
async fn remove(
    cluster: &Cluster,
    namespace: &str,
    (kind, name): &ObjectName,
    by: Sequence,
) -> Result<(), OperationError> {
    for _ in 0..TRIES {
        let Some(found) = cluster.metadata(*kind, namespace, name).await? else { return Ok(()) };
        if written_by(&found).is_some_and(|writer| writer > by) {
            return Ok(());
        }
        match cluster.delete_read(*kind, namespace, &found).await {
            Err(error) if error.disposition == Disposition::Changed => {}
            removed => return Ok(removed?),
        }
    }
    Err(OperationError::Retry(RetryCause::Contended))
}

fn noted(deployment: &Object, note: &str) -> Vec<ObjectName> {
    contents(deployment.annotation(note).unwrap_or_default())
}

/// The config maps and Secrets that a note names; nothing else is ever removed for it.
fn contents(note: &str) -> Vec<ObjectName> {
    let names = read_names(note).into_iter();
    names.filter(|(kind, _)| matches!(kind, Kind::Secret | Kind::ConfigMap)).collect()
}
