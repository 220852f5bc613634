//! Writes the objects of a revision: what is not yet as it should be, what must be the newest job's own, and nothing over what a
//! newer job wrote.

use common::fail_point::FailPoint;
use common::name::Sequence;
use futures::future::try_join_all;

use super::{OperationError, RetryCause, leftovers};
use crate::cluster::classify::Disposition;
use crate::cluster::fence::Fence;
use crate::cluster::{Cluster, Expect, Object};
use crate::kubernetes::{ANNOTATION_CONTENT, ANNOTATION_SEQUENCE, Identity, Kind, LABEL_ORDER, Manifest};
use crate::manifests::Manifests;

/// How often an object may change between being read and being written.
const TRIES: usize = 4;

/// What became of the order's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namespace {
    /// Just made: nothing is in it.
    Fresh,
    /// It was there.
    Known,
}

/// The sequence of the job that wrote an object.
pub(super) fn written_by(object: &Object) -> Option<Sequence> {
    object.annotation(ANNOTATION_SEQUENCE)?.parse().ok()
}

/// What is known of an object before it is written.
#[derive(Debug)]
pub(super) enum Known {
    /// It has to be read.
    Nothing,
    /// It was read; none = it is not there.
    Read(Option<Object>),
}

/// Sees to it that the order's namespace is there, and is not one that a delete has condemned.
pub(super) async fn namespace(
    cluster: &Cluster,
    by: &Identity,
    manifest: &Manifest,
    fence: &Fence,
) -> Result<Namespace, OperationError> {
    let name = by.namespace();
    let mut expect_none = fence.fresh;
    for _ in 0..TRIES {
        let found = if expect_none { None } else { cluster.read(Kind::Namespace, &name, &name).await? };
        let Some(found) = found else {
            expect_none = false;
            match cluster.create(Kind::Namespace, &name, &manifest.body).await {
                Ok(_) => return Ok(Namespace::Fresh),
                Err(error) if error.disposition == Disposition::Exists => continue,
                Err(error) => return Err(error.into()),
            }
        };
        if found.label(LABEL_ORDER) != Some(by.order.as_str()) {
            tracing::error!(namespace = name, "a namespace of an order's name is not the order's");
            let message = "the region cannot run this order; please tell its operator";
            return Err(OperationError::Refused(common::failure::Failure::new(
                common::failure::Reason::Internal,
                message,
            )));
        }
        let condemned = fence.deleted.is_some_and(|deleted| written_by(&found).is_none_or(|made| made < deleted));
        if condemned && !found.is_terminating() {
            cluster.delete(Kind::Namespace, &name, &name, Some(found.uid())).await?;
        }
        if condemned || found.is_terminating() {
            return Err(OperationError::Retry(RetryCause::NamespaceTerminating));
        }
        return Ok(Namespace::Known);
    }
    Err(OperationError::Retry(RetryCause::Contended))
}

/// What writing one object came to.
#[derive(Debug)]
pub(super) enum Written {
    /// It is now, or was already, as it should be.
    Done(Object),
    /// A newer job wrote it.
    Newer,
}

/// Whether a newer job was found at work, or the Deployment that the order has now.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All is written.
    Done(Object),
    /// A newer job has written some of it.
    Overtaken,
}

/// Writes all objects: what lasts and what the pod uses at once, then the Deployment, which makes the pod. The policy comes
/// before a first Deployment, so that no pod is ever without one, and after any other, so that one which is refused leaves
/// the pod before it as reachable as it was.
pub(super) async fn objects(
    cluster: &Cluster,
    by: &Identity,
    manifests: &Manifests,
    state: Namespace,
    fence: &Fence,
) -> Result<Outcome, OperationError> {
    let namespace = by.namespace();
    let early = manifests.lasting.iter().chain((state == Namespace::Fresh).then_some(&manifests.policy));
    let early = early.map(|manifest| {
        let known = match state {
            Namespace::Fresh => Known::Read(None),
            Namespace::Known => Known::Nothing,
        };
        write(cluster, by, &namespace, manifest, known)
    });
    let current = async {
        match state {
            Namespace::Fresh => Ok(None),
            Namespace::Known => cluster.read(Kind::Deployment, &namespace, &manifests.deployment.name).await,
        }
    };
    let (early, current) = futures::join!(try_join_all(early), current);
    let current = current?;
    if early?.iter().any(|written| matches!(written, Written::Newer)) {
        return Ok(Outcome::Overtaken);
    }
    if current.as_ref().and_then(written_by).is_some_and(|sequence| sequence > by.sequence) {
        return Ok(Outcome::Overtaken);
    }
    if current.is_none() && state == Namespace::Known {
        write(cluster, by, &namespace, &manifests.policy, Known::Nothing).await?;
    }
    let is_first = current.is_none();
    let Written::Done(deployment) = deployment(cluster, by, manifests, current, fence).await? else {
        return Ok(Outcome::Overtaken);
    };
    FailPoint::DeploymentWritten.reached();
    if !is_first {
        write(cluster, by, &namespace, &manifests.policy, Known::Nothing).await?;
    }
    Ok(Outcome::Done(deployment))
}

/// Writes the Deployment, and before it what it uses. Where it says what it should, all that it
/// uses is there: it was written after it.
async fn deployment(
    cluster: &Cluster,
    by: &Identity,
    manifests: &Manifests,
    mut current: Option<Object>,
    fence: &Fence,
) -> Result<Written, OperationError> {
    let (namespace, manifest) = (by.namespace(), &manifests.deployment);
    for _ in 0..TRIES {
        let standing = current.as_ref().map(|found| standing(found, by, manifest)).transpose()?;
        match standing {
            Some(Standing::Done(written)) => return Ok(written),
            Some(Standing::OfAnother) => {}
            Some(Standing::Different) | None => {
                let contents = manifests.contents.iter();
                try_join_all(contents.map(|manifest| content(cluster, by, &namespace, manifest))).await?;
                FailPoint::ContentsWritten.reached();
            }
        }
        let noting = match &current {
            Some(before) => leftovers::noting(before, manifest),
            None => leftovers::noting_lost(fence, manifest),
        };
        if let Some(deployment) = apply(cluster, by, &namespace, &noting, current.as_ref()).await? {
            return Ok(Written::Done(deployment));
        }
        // Whoever changed it may have removed what it does not use.
        current = cluster.read(Kind::Deployment, &namespace, &manifest.name).await?;
    }
    Err(OperationError::Retry(RetryCause::Contended))
}

/// How an object that was found compares with what it should be.
#[derive(Debug)]
enum Standing {
    /// There is nothing to do.
    Done(Written),
    /// It says what it should, but an older job wrote it.
    OfAnother,
    /// It says something else.
    Different,
}

/// Compares an object with what it should be. What differs from revision to revision must be this job's own, too: an older
/// job that slept since it read the object would write over it, and cannot once its version has changed.
fn standing(found: &Object, by: &Identity, manifest: &Manifest) -> Result<Standing, OperationError> {
    if found.is_terminating() {
        return Err(OperationError::Retry(RetryCause::NamespaceTerminating));
    }
    let writer = written_by(found);
    if writer.is_some_and(|sequence| sequence > by.sequence) {
        return Ok(Standing::Done(Written::Newer));
    }
    // What somebody changed by hand goes on saying that it is as it should be.
    let says_it = !by.repairs && found.annotation(ANNOTATION_CONTENT) == Some(manifest.content.as_str());
    let is_own = writer == Some(by.sequence);
    let is_enough = match manifest.kind {
        // A claim's size and class can hardly ever be changed, and its data is the customer's.
        Kind::PersistentVolumeClaim => true,
        _ if by.repairs => is_own,
        Kind::Deployment | Kind::NetworkPolicy | Kind::Service | Kind::Ingress => says_it && is_own,
        _ => says_it,
    };
    Ok(match (is_enough, says_it) {
        (true, _) => Standing::Done(Written::Done(found.clone())),
        (false, true) => Standing::OfAnother,
        (false, false) => Standing::Different,
    })
}

/// Writes one object if it is not as it should be.
pub(super) async fn write(
    cluster: &Cluster,
    by: &Identity,
    namespace: &str,
    manifest: &Manifest,
    mut known: Known,
) -> Result<Written, OperationError> {
    for _ in 0..TRIES {
        let found = match std::mem::replace(&mut known, Known::Nothing) {
            Known::Read(found) => found,
            Known::Nothing => cluster.read(manifest.kind, namespace, &manifest.name).await?,
        };
        if let Some(found) = &found
            && let Standing::Done(written) = standing(found, by, manifest)?
        {
            return Ok(written);
        }
        if let Some(object) = apply(cluster, by, namespace, manifest, found.as_ref()).await? {
            return Ok(Written::Done(object));
        }
    }
    Err(OperationError::Retry(RetryCause::Contended))
}

/// Writes a config map or a Secret, whose name says what is in it. One that somebody put in its place could not be changed: it
/// goes first.
async fn content(cluster: &Cluster, by: &Identity, namespace: &str, manifest: &Manifest) -> Result<(), OperationError> {
    if by.repairs
        && let Some(found) = cluster.metadata(manifest.kind, namespace, &manifest.name).await?
        && found.managers().foreign.is_some()
    {
        cluster.delete_read(manifest.kind, namespace, &found).await?;
    }
    cluster.apply(namespace, manifest, &Expect::Anything).await?;
    Ok(())
}

/// Applies an object over what was found; none = it has changed since.
async fn apply(
    cluster: &Cluster,
    by: &Identity,
    namespace: &str,
    manifest: &Manifest,
    found: Option<&Object>,
) -> Result<Option<Object>, OperationError> {
    let applied = async {
        let expect = match found {
            None => Expect::Absent,
            Some(found) if by.repairs => {
                let ours = cluster.take_over(manifest.kind, namespace, found).await?;
                Expect::Version(ours.resource_version().to_owned())
            }
            Some(found) => Expect::Version(found.resource_version().to_owned()),
        };
        cluster.apply(namespace, manifest, &expect).await
    };
    match applied.await {
        Ok(object) => Ok(Some(object)),
        Err(error) if matches!(error.disposition, Disposition::Changed | Disposition::Exists) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
