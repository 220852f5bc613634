//! Waits until a job's pod is made, is available or is gone, and tells in a customer's words why it is not. Nothing is asked of
//! the cluster: the worker's own watches say it.

use std::sync::Arc;

use common::failure::{Failure, Reason};
use common::job::{Run, Target, Until};
use common::name::JobId;
use tokio::time::{Duration, Instant, sleep_until};

use super::apply::newer;
use super::{AboutJob, OperationError, RetryCause, refusal};
use crate::cluster::classify::{Disposition, disposition};
use crate::cluster::fence::Fence;
use crate::cluster::{ContainerSeen, DeploymentSeen, PodSeen};
use crate::context::Context;
use crate::kubernetes::namespace_of;

/// How long a refusal to make the pod must last: quotas are counted with a delay, and the condition outlives its cause.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// How long Kubernetes must have given up: pods and Deployments are seen by two watches, one a moment before the other.
const GIVEN_UP_FOR: Duration = Duration::from_secs(3);
/// How long a pod must have found no node.
const HOMELESS_FOR: Duration = Duration::from_secs(10);
/// How long pulling an image must have failed for a reason that may pass.
const UNPULLED_FOR: Duration = Duration::from_secs(30);
/// How often to look whether a newer job has begun, where the watches say nothing of it.
const LOOK_AT_FENCE_EVERY: Duration = Duration::from_secs(5);

/// How waiting ended.
#[derive(Debug)]
pub(super) enum End {
    /// With what was waited for.
    Done,
    /// With a newer job.
    Overtaken(Fence),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// The pod was made.
    Created,
    /// The rollout is complete.
    Available,
    /// No pod is left.
    Gone,
}

impl Want {
    fn of(target: &Target) -> Self {
        match (target.run, target.until) {
            (Run::Running, Until::Created) => Self::Created,
            (Run::Running, Until::Available) => Self::Available,
            (Run::Stopped, _) => Self::Gone,
        }
    }
}

/// Waits for what a target says of its pod, once the job has written the Deployment.
pub(super) async fn wait(context: &Context, about: &AboutJob, target: &Target) -> Result<End, OperationError> {
    let namespace = namespace_of(&about.order);
    let deadline = Instant::now() + context.rollout_timeout;
    let want = Want::of(target);
    let mut rollout = Rollout::new(about.id, target.pod_job.unwrap_or(about.id), want);
    let mut look_at_fence = Instant::now() + LOOK_AT_FENCE_EVERY;
    let mut suspicious = false;
    let (mut pods, mut deployments) = (context.mirrors.pods.changes(), context.mirrors.deployments.changes());
    loop {
        pods.mark_unchanged();
        deployments.mark_unchanged();
        let seen = context.mirrors.pods.of(&namespace);
        let deployment = context.mirrors.deployments.get(&namespace, about.order.as_str());
        match rollout.look(Instant::now(), deployment.as_deref(), &seen) {
            Verdict::Done => return Ok(End::Done),
            Verdict::Failed(failure) => return Err(OperationError::Unready(failure)),
            Verdict::Replaced if !suspicious => (suspicious, look_at_fence) = (true, Instant::now()),
            Verdict::Replaced | Verdict::Wait => {}
        }
        let now = Instant::now();
        if now >= look_at_fence {
            if let Some(newer) = newer(context, about).await? {
                return Ok(End::Overtaken(newer));
            }
            look_at_fence = Instant::now() + LOOK_AT_FENCE_EVERY;
        }
        if now >= deadline {
            let live = context.mirrors.pods.is_live() && context.mirrors.deployments.is_live();
            return Err(if live { timed_out(want) } else { OperationError::Retry(RetryCause::Blind) });
        }
        // Grace periods end without a change, so it looks again every second in any case.
        let again = (Instant::now() + Duration::from_secs(1)).min(deadline).min(look_at_fence);
        tokio::select! {
            _ = pods.changed() => {}
            _ = deployments.changed() => {}
            () = sleep_until(again) => {}
        }
    }
}

fn timed_out(want: Want) -> OperationError {
    let message = match want {
        Want::Created => "the pod was not made in time; try again later",
        Want::Available => "the pod did not become ready in time; see its status and log",
        Want::Gone => "the pod has not ended in time; it goes on ending",
    };
    OperationError::Unready(Failure::new(Reason::RolloutTimeout, message))
}

/// What a look at the rollout says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Done,
    Failed(Failure),
    /// The Deployment is no longer the one that the job wrote.
    Replaced,
}

/// A rollout that is being watched, and since when it looks bad.
#[derive(Debug)]
struct Rollout {
    /// The job that waits.
    job: JobId,
    /// The job whose pod it is.
    pod_job: JobId,
    want: Want,
    begun: bool,
    refused_since: Option<Instant>,
    homeless_since: Option<Instant>,
    unpulled_since: Option<Instant>,
    given_up_since: Option<Instant>,
}

impl Rollout {
    fn new(job: JobId, pod_job: JobId, want: Want) -> Self {
        Self {
            job,
            pod_job,
            want,
            begun: false,
            refused_since: None,
            homeless_since: None,
            unpulled_since: None,
            given_up_since: None,
        }
    }

    fn look(&mut self, now: Instant, deployment: Option<&DeploymentSeen>, pods: &[Arc<PodSeen>]) -> Verdict {
        let ours = deployment.filter(|deployment| deployment.job == Some(self.job));
        let begun = self.begun;
        self.begun |= ours.is_some();
        let mine = pods.iter().filter(|pod| pod.job == Some(self.pod_job) && !pod.terminating);
        let mine = mine.max_by_key(|pod| (!pod.finished, pod.created));
        if self.want == Want::Created && mine.is_some() {
            return Verdict::Done;
        }
        let Some(deployment) = ours else {
            return if begun { Verdict::Replaced } else { Verdict::Wait };
        };
        if self.want == Want::Gone {
            // One that ended by itself long ago stays until Kubernetes sweeps it away.
            let is_left = |pod: &Arc<PodSeen>| pod.terminating || !pod.finished;
            let gone = deployment.observed && deployment.pods == 0 && !pods.iter().any(is_left);
            return if gone { Verdict::Done } else { Verdict::Wait };
        }
        if deployment.complete && mine.is_some() {
            return Verdict::Done;
        }
        let failure = match mine {
            Some(pod) => self.trouble_of(now, pod),
            None => self.refused(now, deployment, pods),
        };
        let failure = failure.or_else(|| {
            // Until the old pod is gone and the new one made, the condition is that of the revision before.
            let given_up = deployment.observed && deployment.deadline_exceeded && mine.is_some();
            if !given_up || self.want != Want::Available {
                self.given_up_since = None;
                return None;
            }
            lasted(&mut self.given_up_since, now, GIVEN_UP_FOR).then(|| {
                let message = "the pod did not become ready in time; see its status and log";
                Failure::new(Reason::RolloutTimeout, message)
            })
        });
        failure.map_or(Verdict::Wait, Verdict::Failed)
    }

    /// Why no pod is made, once the pod before it is gone.
    fn refused(&mut self, now: Instant, deployment: &DeploymentSeen, pods: &[Arc<PodSeen>]) -> Option<Failure> {
        let words = deployment.replica_failure.as_deref().filter(|_| deployment.observed);
        let alone = pods.iter().all(|pod| pod.finished);
        let reason = match words.map(|words| disposition(403, "Forbidden", words)) {
            Some(Disposition::Refused(reason)) if alone => reason,
            _ => {
                self.refused_since = None;
                return None;
            }
        };
        lasted(&mut self.refused_since, now, REFUSED_FOR).then(|| refusal(reason, words.unwrap_or_default()))
    }

    /// Why the pod does not become available.
    fn trouble_of(&mut self, now: Instant, pod: &PodSeen) -> Option<Failure> {
        match &pod.unschedulable {
            Some(words) if lasted(&mut self.homeless_since, now, HOMELESS_FOR) => return Some(no_room(words)),
            Some(_) => {}
            None => self.homeless_since = None,
        }
        let unpulled = pod.containers.iter().find_map(|container| Some((container, unpullable(container)?)));
        match unpulled {
            Some((container, reason)) => {
                let lasting = lasted(&mut self.unpulled_since, now, UNPULLED_FOR);
                if lasting || matches!(reason, Reason::ImageNotFound | Reason::ImagePullRefused) {
                    return Some(not_pulled(container, reason));
                }
            }
            None => self.unpulled_since = None,
        }
        pod.containers.iter().find_map(crashing)
    }
}

/// Whether something that is so now has been so for long enough.
fn lasted(since: &mut Option<Instant>, now: Instant, long_enough: Duration) -> bool {
    now.duration_since(*since.get_or_insert(now)) >= long_enough
}

fn no_room(words: &str) -> Failure {
    let message = if words.contains("free ports") {
        "a host port of the pod is in use on every node of the region; choose another one"
    } else {
        "no node of the region has room for the pod at the moment; try again later or ask for less"
    };
    Failure::new(Reason::NoRoom, message)
}

/// Why a container's image is not there, if pulling it has failed and been put off. The words hold the image's name too, so
/// each phrase has a blank, which no name has.
fn unpullable(container: &ContainerSeen) -> Option<Reason> {
    let waiting = container.waiting.as_ref()?;
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| waiting.message.contains(phrase));
    match waiting.reason.as_str() {
        // Before the others: a registry that hides private images says "denied" of those that do not exist, too.
        "ImagePullBackOff"
            if says(&[": not found", "does not exist", "manifest unknown: ", "no match for platform"]) =>
        {
            Some(Reason::ImageNotFound)
        }
        "ImagePullBackOff"
            if says(&["401 Unauthorized", "403 Forbidden", "authorization failed", " denied", "denied: "]) =>
        {
            Some(Reason::ImagePullRefused)
        }
        "ImagePullBackOff" if says(&["429 Too Many Requests", "toomanyrequests: "]) => {
            Some(Reason::RegistryRateLimited)
        }
        "ImagePullBackOff" => Some(Reason::RegistryUnreachable),
        "InvalidImageName" => Some(Reason::ImageNotFound),
        _ => None,
    }
}

fn not_pulled(container: &ContainerSeen, reason: Reason) -> Failure {
    let name = &container.name;
    let message = match reason {
        Reason::ImagePullRefused => {
            format!("the image of container {name} does not exist, or its registry refuses the login")
        }
        Reason::RegistryRateLimited => {
            format!("the registry of container {name} limits how often images are pulled; try again later")
        }
        Reason::RegistryUnreachable => format!("the registry of container {name} does not answer; try again later"),
        _ => format!(
            "the image of container {name} does not exist for linux/amd64, or is private; check its name, tag and login"
        ),
    };
    Failure::new(reason, message)
}

/// A container that ended, was started again, and ended again.
fn crashing(container: &ContainerSeen) -> Option<Failure> {
    let waiting = container.waiting.as_ref()?;
    if waiting.reason != "CrashLoopBackOff" || container.restarts < 1 {
        return None;
    }
    let name = &container.name;
    let message = match &container.ended {
        Some(ended) if ended.reason == "OOMKilled" => {
            format!("container {name} needs more memory than it has, and was ended for it again and again")
        }
        Some(ended) if ended.reason == "StartError" || ended.reason == "ContainerCannotRun" => {
            let words = ended.message.rsplit_once("exec: ").map(|(_, words)| format!(" ({})", words.trim()));
            format!("container {name} cannot be started{}; check its command", words.unwrap_or_default())
        }
        Some(ended) => {
            let code = ended.exit_code;
            format!("container {name} ends again and again, last with exit code {code}; see its log with previous=true")
        }
        None => format!("container {name} ends again and again; see its log with previous=true"),
    };
    Some(Failure::new(Reason::CrashLoop, message))
}

#[cfg(test)]
mod tests;
