//! The objects of an order's domains: written after the pod's, and each time, so that the newest job is the one whose they are.
//! A job that was overtaken removes those that are its own: the newer one has written its own, or will, or wants none.

use common::failure::{Failure, Reason};
use common::ingress::{Exposure, Route, Tls};
use common::job::Target;
use common::name::Sequence;

use super::write::written_by;
use super::{AboutJob, OperationError, write};
use crate::cluster::classify::Disposition;
use crate::context::Context;
use crate::kubernetes::{Identity, Kind, Manifest, namespace_of};
use crate::manifests::{ISSUED_SECRET, SINGLE};

/// What domains need, in the order in which it is removed.
const KINDS: [Kind; 2] = [Kind::Ingress, Kind::Service];

/// Refuses what the region cannot do, before anything is written.
pub(super) fn check(context: &Context, target: &Target) -> Result<(), OperationError> {
    let is_issued = |route: &Route| route.tls == Tls::Issued;
    let asks = target.exposure.ingress().is_some_and(|ingress| ingress.domains.values().any(is_issued));
    if asks && context.pods.ingress.issuer.is_none() {
        let message = "the region issues no certificates; bind the domains without isLetsencrypt";
        return Err(OperationError::Refused(Failure::new(Reason::Refused, message)));
    }
    Ok(())
}

/// Makes the objects of the order's domains what they should be: written, or gone. Nothing is looked for of an order that
/// never had any.
pub(super) async fn apply(
    context: &Context,
    by: &Identity,
    exposure: &Exposure,
    manifests: &[Manifest],
) -> Result<(), OperationError> {
    match exposure {
        Exposure::Never => Ok(()),
        Exposure::Unbound => {
            remove(context, &by.namespace(), |written| written < by.sequence).await?;
            // What an issuer of certificates leaves behind.
            context.cluster.delete(Kind::Secret, &by.namespace(), ISSUED_SECRET, None).await?;
            Ok(())
        }
        Exposure::Bound(_) => {
            for manifest in manifests {
                // A newer job's own stay as they are; that job is noticed at the fence.
                write::write(&context.cluster, by, &by.namespace(), manifest, write::Known::Nothing).await?;
            }
            Ok(())
        }
    }
}

/// Removes what a job that was overtaken has written of the order's domains.
pub(super) async fn give_way(context: &Context, about: &AboutJob, exposure: &Exposure) -> Result<(), OperationError> {
    if exposure.ingress().is_none() {
        return Ok(());
    }
    remove(context, &namespace_of(&about.order), |written| written == about.sequence).await
}

/// Removes the objects whose writer is meant, in the version that was read: one that changes meanwhile is another job's by now.
async fn remove(context: &Context, namespace: &str, is_meant: impl Fn(Sequence) -> bool) -> Result<(), OperationError> {
    for kind in KINDS {
        let found = context.cluster.read(kind, namespace, SINGLE).await?;
        let Some(found) = found.filter(|found| written_by(found).is_none_or(&is_meant)) else { continue };
        match context.cluster.delete_read(kind, namespace, &found).await {
            Err(error) if error.disposition == Disposition::Changed => {}
            deleted => deleted?,
        }
    }
    Ok(())
}
