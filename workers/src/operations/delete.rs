//! `delete`: nothing of the order remains in the region, its volume included. The fence stays, so that jobs older than the
//! delete cannot bring anything back.

use common::fail_point::FailPoint;
use common::job::{Delete, Verb};
use tokio::time::{Duration, Instant, sleep};

use super::apply::newer;
use super::write::written_by;
use super::{AboutJob, Operation, OperationError, RetryCause};
use crate::cluster::fence::Mark;
use crate::context::Context;
use crate::kubernetes::{Kind, LABEL_ORDER, namespace_of};

/// How often to look whether the namespace is gone, at first and at most.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

impl Operation for Delete {
    type About = AboutJob;
    type Output = ();

    async fn run(&self, context: &Context, about: &AboutJob) -> Result<(), OperationError> {
        let mark = Mark {
            sequence: about.sequence,
            verb: Verb::Delete,
            revision: None,
            job: about.id,
            contents: String::new(),
        };
        let fence = context.fences.begin(&context.cluster, &about.order, &mark).await?;
        if fence.sequence > about.sequence {
            return Err(OperationError::Superseded { by: fence.sequence });
        }
        if let Some(failure) = fence.refused {
            return Err(OperationError::Refused(failure));
        }
        let deadline = Instant::now() + context.rollout_timeout;
        let mut pause = LOOK_EVERY.0;
        while !gone(context, about).await? {
            about.slot.leave();
            if let Some(newer) = newer(context, about).await? {
                return Err(OperationError::Superseded { by: newer.sequence });
            }
            if Instant::now() >= deadline {
                return Err(OperationError::Retry(RetryCause::NamespaceTerminating));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_EVERY.1);
        }
        Ok(())
    }
}

/// Whether the order's namespace is gone; one that a job older than this made is told to go.
async fn gone(context: &Context, about: &AboutJob) -> Result<bool, OperationError> {
    let name = namespace_of(&about.order);
    let Some(found) = context.cluster.read(Kind::Namespace, &name, &name).await? else { return Ok(true) };
    let ours = found.label(LABEL_ORDER) == Some(about.order.as_str());
    let older = written_by(&found).is_none_or(|made| made < about.sequence);
    if !ours {
        tracing::error!(namespace = name, "a namespace of an order's name is not the order's; it is left alone");
    }
    if !ours || !older {
        return Ok(true);
    }
    if !found.is_terminating() {
        context.cluster.delete(Kind::Namespace, &name, &name, Some(found.uid())).await?;
        FailPoint::NamespaceDeleted.reached();
    }
    Ok(false)
}
