//! What a job does when it finds that a newer one has begun: nothing that it made may stand against the newer one
//! (`design.md` §4.5).

use common::name::Revision;

use super::write::written_by;
use super::{AboutJob, OperationError, leftovers};
use crate::cluster::Object;
use crate::cluster::fence::Fence;
use crate::context::Context;
use crate::kubernetes::{ANNOTATION_JOB, Kind, LABEL_ORDER, Manifest, namespace_of};

/// Removes what a job that was overtaken has made, and what it had still to remove; answers that it was overtaken, and
/// whether its Deployment stands.
pub(super) async fn give_way(
    context: &Context,
    about: &AboutJob,
    revision: Revision,
    contents: &[Manifest],
    fence: &Fence,
) -> Result<OperationError, OperationError> {
    let by = fence.sequence;
    if fence.deleted.is_some_and(|deleted| deleted > about.sequence) {
        remove_condemned(context, about, fence).await?;
    }
    let Some(newer) = fence.revision else { return Ok(OperationError::Superseded { by }) };
    let deployment = remove_contents(context, about, if newer == revision { &[] } else { contents }).await?;
    Ok(if deployment.is_some_and(|deployment| is_written_by(&deployment, about)) {
        OperationError::Overtaken { by }
    } else {
        OperationError::Superseded { by }
    })
}

/// Whether it was this job that last wrote the object.
pub(super) fn is_written_by(object: &Object, about: &AboutJob) -> bool {
    object.annotation(ANNOTATION_JOB) == Some(about.id.to_string().as_str())
}

/// Removes these config maps and Secrets, unless the order's Deployment, which is given back, uses them.
pub(super) async fn remove_contents(
    context: &Context,
    about: &AboutJob,
    contents: &[Manifest],
) -> Result<Option<Object>, OperationError> {
    let namespace = namespace_of(&about.order);
    let deployment = context.cluster.read(Kind::Deployment, &namespace, about.order.as_str()).await?;
    let contents = contents.iter().map(|manifest| (manifest.kind, manifest.name.clone()));
    leftovers::remove_all(&context.cluster, &namespace, deployment.as_ref(), contents, about.sequence).await?;
    Ok(deployment)
}

/// Removes the order's namespace if a job older than the order's last delete made it. A namespace made by a newer one
/// says so from the moment it is there, and the uid makes sure that it is the one that was read.
async fn remove_condemned(context: &Context, about: &AboutJob, fence: &Fence) -> Result<(), OperationError> {
    let name = namespace_of(&about.order);
    let Some(found) = context.cluster.read(Kind::Namespace, &name, &name).await? else { return Ok(()) };
    let ours = found.label(LABEL_ORDER) == Some(about.order.as_str());
    let condemned = fence.deleted.is_some_and(|deleted| written_by(&found).is_none_or(|made| made < deleted));
    if ours && condemned && !found.is_terminating() {
        context.cluster.delete(Kind::Namespace, &name, &name, Some(found.uid())).await?;
    }
    Ok(())
}
