//! Where the log of a run is: the container's present log, the one before, or nowhere any more.

use std::time::Duration;

use common::failure::{Failure, Reason};
use common::log::{FollowEnd, Mark, RunId};
use common::name::{ContainerName, OrderId};
use tokio::time::timeout;

use super::super::log::{container, no_pod, unavailable, why_no_log};
use super::super::{OperationError, pod_of};
use crate::cluster::{ContainerSeen, LogSource, PodSeen};
use crate::context::Context;
use crate::kubernetes::namespace_of;

/// How far the watch of pods may be behind the kubelet, which shows the log of a new run before the watch shows that run.
pub(super) const WATCH_BEHIND: Duration = Duration::from_secs(2);
/// How soon after the beginning of the second in which it started a container usually writes its first line.
const BEGINS_WITHIN_NS: i64 = SECOND_NS + SECOND_NS / 2;
const SECOND_NS: i64 = 1_000_000_000;

/// A run of a container of the order's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The container.
    pub(super) container: ContainerName,
    /// The run that was asked for, or the present one.
    pub(super) run: RunId,
    /// The container's present run.
    pub(super) present: Option<RunId>,
    /// Where its log is.
    pub(super) place: Place,
    /// When the last run of its pod's container started: seconds since 1970.
    started: Option<i64>,
    /// Whether its node is lost: its log cannot be read until that is back.
    pub(super) node_lost: bool,
    /// What becomes of it once it writes no more and all of its log was read; none = that is not known yet.
    pub(super) over: Option<FollowEnd>,
}

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    Here(LogSource),
    /// Nowhere.
    Gone,
}

/// Looks for a run: of the named container, or of the only one; this run, or the present one.
pub(super) fn find(
    context: &Context,
    order: &OrderId,
    named: Option<&ContainerName>,
    run: Option<&RunId>,
) -> Result<Found, OperationError> {
    let namespace = namespace_of(order);
    let pod = pod_of(&context.mirrors, order)?;
    let name = match (named, &pod) {
        (Some(name), _) => name.clone(),
        (None, Some(pod)) => container(pod, None)?.name.parse().map_err(|_| no_pod(context, &namespace))?,
        // Of a run that was, as long as the order is known.
        (None, None) => match context.mirrors.deployments.of(&namespace).iter().map(|d| d.containers.as_slice()).next()
        {
            Some([only]) if run.is_some() => only.parse().map_err(|_| no_pod(context, &namespace))?,
            _ => return Err(no_pod(context, &namespace)),
        },
    };
    let of = |pod: &PodSeen| pod.containers.iter().find(|container| container.name == name.as_str()).cloned();
    let present = pod.as_ref().and_then(|pod| present(pod, &of(pod)?));
    let source = |pod: &PodSeen, previous, live| {
        let (namespace, container) = (namespace.clone(), name.to_string());
        // Whatever was last heard of the containers of a pod that has ended.
        let live = live && !pod.finished;
        Place::Here(LogSource { namespace, pod: pod.name.clone(), container, previous, live })
    };
    // A pod that leaves may stay for as long as its node is lost, or its object is kept.
    let wanted = !context.mirrors.deployments.is_complete()
        || context.mirrors.deployments.of(&namespace).iter().any(|deployment| deployment.wanted > 0);
    let over = |shown: &PodSeen| match &pod {
        _ if !shown.finished && !shown.terminating => None,
        Some(pod) if pod.uid != shown.uid => Some(FollowEnd::PodReplaced),
        _ => (!wanted).then_some(FollowEnd::PodStopped),
    };
    let lost = |shown: &PodSeen| {
        let facts = context.facts.borrow();
        let is_ready = |name: &String| facts.nodes.iter().any(|node| node.name == *name && node.ready);
        facts.answers && !shown.node.as_ref().is_some_and(is_ready)
    };
    let Some(run) = run else {
        let pod = pod.as_ref().ok_or_else(|| no_pod(context, &namespace))?;
        let container = container(pod, Some(&name))?;
        let none = || unavailable(&why_no_log(container, false));
        let (run, live) = (present.clone().ok_or_else(none)?, container.run.as_ref().is_some_and(|run| run.live));
        let (place, over) = (source(pod, false, live), over(pod));
        let started = container.run.as_ref().and_then(|run| run.started);
        return Ok(Found { container: name, run, present, place, started, node_lost: lost(pod), over });
    };
    let found = context.mirrors.pods.of(&namespace).iter().find_map(|pod| {
        let container = of(pod).filter(|_| pod.order.as_ref() == Some(order))?;
        let is = |id: &str| RunId::of(&pod.uid, id).as_ref() == Some(run);
        let restarted = Some(FollowEnd::ContainerRestarted);
        let started = container.run.as_ref().and_then(|run| run.started);
        match &container.run {
            Some(shown) if is(&shown.id) => Some((source(pod, false, shown.live), started, lost(pod), over(pod))),
            _ => {
                let was = container.previous_run.as_deref().is_some_and(is);
                was.then(|| (source(pod, true, false), started, lost(pod), restarted))
            }
        }
    });
    let (place, started, node_lost, over) = found.unwrap_or_else(|| {
        let same_pod = pod.as_ref().is_some_and(|pod| run.is_of_pod(&pod.uid));
        let end = match (same_pod, pod.is_some() || wanted) {
            (true, _) => FollowEnd::ContainerRestarted,
            (false, true) => FollowEnd::PodReplaced,
            (false, false) => FollowEnd::PodStopped,
        };
        (Place::Gone, None, false, Some(end))
    });
    Ok(Found { container: name, run: run.clone(), present, place, started, node_lost, over })
}

impl Found {
    /// For how long the watch of pods may still hide that the log which begins with this line is of a newer run: that run is
    /// younger than the watch is behind, by clocks that are about right, and so is all that it wrote.
    pub(super) fn doubt(&self, first: Mark, now: i64) -> Duration {
        let started_ns = self.started.map(|second| second.saturating_mul(SECOND_NS));
        let previous = matches!(&self.place, Place::Here(source) if source.previous);
        match started_ns {
            // A run writes nothing once the next has started.
            Some(next) if previous && first.time_ns < next => Duration::ZERO,
            _ if previous => WATCH_BEHIND,
            Some(started) if first.time_ns < started.saturating_add(BEGINS_WITHIN_NS) => Duration::ZERO,
            _ => {
                let age = u64::try_from(now.saturating_sub(first.time_ns)).unwrap_or_default();
                WATCH_BEHIND.saturating_sub(Duration::from_nanos(age))
            }
        }
    }
}

fn present(pod: &PodSeen, container: &ContainerSeen) -> Option<RunId> {
    RunId::of(&pod.uid, &container.run.as_ref()?.id)
}

/// Waits for at most so long until what was found is not so any more, and says whether it is.
pub(super) async fn changed(context: &Context, order: &OrderId, found: &Found, within: Duration) -> bool {
    let mirrors = &context.mirrors;
    let (mut pods, mut deployments) = (mirrors.pods.changes(), mirrors.deployments.changes());
    let differs = || find(context, order, Some(&found.container), Some(&found.run)).is_ok_and(|now| now != *found);
    let change = async {
        while !differs() {
            // The mirrors live as long as the context.
            tokio::select! {
                _ = pods.changed() => {}
                _ = deployments.changed() => {}
            }
        }
    };
    timeout(within, change).await.is_ok()
}

/// What is said of a run whose log cannot be read at all.
pub(super) fn no_log() -> OperationError {
    let message = "the container has no log to show at the moment; try again";
    OperationError::Refused(Failure::new(Reason::LogUnavailable, message))
}
