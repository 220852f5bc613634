//! `deploy`, `restart`, `stop`, `start`, `cancel`, `repair`: the region becomes equal to the order's target. The verb is what was asked;
//! what is done is the same, so that no job can undo what a newer one was asked for.
//!
//! Requests of a first deploy: fence read and made, namespace made, one write an object, fence read. Of a later one: fence
//! read and moved, one read each for the namespace, the lasting objects, the Deployment and the policy, one write for the
//! Deployment, the policy and each other object that changes, fence read, one look and one delete for each config map and Secret of
//! the revision before. A repair writes every object: one read and one write each, one write more where somebody has set fields.

use common::fail_point::FailPoint;
use common::failure::{Failure, Reason};
use common::ingress::Exposure;
use common::job::{Target, Verb};

use super::overtaken::{give_way, is_written_by, remove_contents};
use super::rollout;
use super::write::{self, Outcome};
use super::{AboutJob, Operation, OperationError, RetryCause, expose, leftovers};
use crate::cluster::fence::{Fence, Mark};
use crate::context::Context;
use crate::kubernetes::{Identity, Manifest};
use crate::manifests::Manifests;

impl Operation for Target {
    type About = AboutJob;
    type Output = ();

    async fn run(&self, context: &Context, about: &AboutJob) -> Result<(), OperationError> {
        let by = Identity {
            order: about.order.clone(),
            sequence: about.sequence,
            revision: self.revision,
            job: about.id,
            repairs: about.verb == Verb::Repair,
        };
        let manifests = Manifests::build(&by, self, &context.region, &context.pods, &context.keys);
        let manifests = manifests.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a sealed value of the revision does not open");
            let message = "the region can no longer read this revision's secrets; please deploy it again";
            OperationError::Refused(Failure::new(Reason::Internal, message))
        })?;
        if about.verb == Verb::Expose {
            expose::check(context, self)?;
        }
        let mark = Mark {
            sequence: about.sequence,
            verb: about.verb,
            revision: Some(self.revision),
            job: about.id,
            contents: leftovers::words(&manifests.contents),
        };
        let fence = context.fences.begin(&context.cluster, &about.order, &mark).await?;
        let contents = manifests.contents.as_slice();
        if fence.sequence > about.sequence {
            return Err(yield_to(context, about, self, contents, &fence).await?);
        }
        if let Some(failure) = fence.refused {
            return Err(OperationError::Refused(failure));
        }
        let written = write_all(context, &by, &manifests, &self.exposure, &fence).await;
        // Whatever became of the objects: a job that was overtaken meanwhile has to tidy up.
        if let Some(newer) = newer(context, about).await? {
            return Err(yield_to(context, about, self, contents, &newer).await?);
        }
        FailPoint::FenceRead.reached();
        let deployment = match written {
            Ok(Outcome::Done(deployment)) => deployment,
            Ok(Outcome::Overtaken) => return Err(OperationError::Retry(RetryCause::Contended)),
            Err(OperationError::Refused(failure)) => {
                // What was meant to come after what was there before is not needed.
                let deployment = remove_contents(context, about, contents).await?;
                let stands = deployment.is_some_and(|deployment| is_written_by(&deployment, about));
                return Err(if stands { OperationError::Unready(failure) } else { OperationError::Refused(failure) });
            }
            Err(error) => return Err(error),
        };
        leftovers::remove_replaced(&context.cluster, &by.namespace(), &deployment, about.sequence).await?;
        FailPoint::LeftoversRemoved.reached();
        if about.verb == Verb::Expose {
            return Ok(());
        }
        about.slot.leave();
        match rollout::wait(context, about, self).await? {
            rollout::End::Done => Ok(()),
            rollout::End::Overtaken(newer) => Err(yield_to(context, about, self, contents, &newer).await?),
        }
    }
}

async fn write_all(
    context: &Context,
    by: &Identity,
    manifests: &Manifests,
    exposure: &Exposure,
    fence: &Fence,
) -> Result<Outcome, OperationError> {
    let state = write::namespace(&context.cluster, by, &manifests.namespace, fence).await?;
    FailPoint::NamespaceWritten.reached();
    let outcome = write::objects(&context.cluster, by, manifests, state, fence).await?;
    if matches!(outcome, Outcome::Done(_)) {
        expose::apply(context, by, exposure, &manifests.exposure).await?;
        FailPoint::ObjectsWritten.reached();
    }
    Ok(outcome)
}

/// Leaves the order to a newer job.
async fn yield_to(
    context: &Context,
    about: &AboutJob,
    target: &Target,
    contents: &[Manifest],
    fence: &Fence,
) -> Result<OperationError, OperationError> {
    expose::give_way(context, about, &target.exposure).await?;
    give_way(context, about, target.revision, contents, fence).await
}

/// The fence, if a newer job has moved it.
pub(super) async fn newer(context: &Context, about: &AboutJob) -> Result<Option<Fence>, OperationError> {
    let fence = context.fences.read(&context.cluster, &about.order).await?;
    Ok(fence.filter(|fence| fence.sequence > about.sequence))
}
