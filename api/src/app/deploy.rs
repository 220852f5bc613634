//! A deploy, from the body to the answer (`design.md` §4). It costs, on the request's way: one statement to authenticate,
//! one batch on the ledger, one statement that accepts the job, one publish; where the system assigns ports to an order
//! that had some before, one more statement to keep them. The mark that the job was published is made beside it, many
//! jobs at a time.

use std::time::Duration;

use common::failure::Reason;
use common::job::{Change, Deploy, JOB_VERSION, Outcome, Until};
use common::name::{JobId, OrderId, RegionCode};
use common::pod::Pod;
use common::presence::REGION_LOST_AFTER;
use common::sealed::SealError;
use serde_json::Value;

use super::App;
use super::error::AppError;
use super::json::Problems;
use super::pod_request::{self, PodRequest};
use super::reservation::NotReserved;
use crate::store::acceptance::{Acceptance, Accepted};
use crate::store::jobs::Job;
use crate::store::orders::Order;

/// The largest pod: with what else belongs to a job it must fit into a NATS message of 1 MiB.
const MAX_POD_BYTES: usize = 1_000_000;

/// How a client wants a change to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// With the job, as soon as it is accepted.
    No,
    /// With the end, if it comes within this time.
    For(Duration),
}

/// A change as a front end hands it over.
#[derive(Debug)]
pub struct ChangeRequest<'a> {
    /// The body.
    pub body: &'a Value,
    /// The client's idempotency key.
    pub idempotency_key: Option<&'a str>,
    /// How to answer.
    pub wait: Wait,
    /// When the change is done.
    pub until: Until,
}

/// What came of a deploy.
#[derive(Debug)]
pub enum DeployAnswer {
    /// It is done.
    Deployed(Job, Pod),
    /// It is accepted and will run.
    Accepted(Job),
}

impl App {
    /// Deploys the order's pod as a new revision.
    ///
    /// # Errors
    /// Every problem of the body; ports that others hold; the region's own reason when the job failed.
    pub async fn deploy(
        &self,
        order: Order,
        earlier: Option<Job>,
        request: ChangeRequest<'_>,
    ) -> Result<DeployAnswer, AppError> {
        let digest = self.request_digest(&format!("deploy {:?}", request.until), request.body);
        if let Some(job) = earlier {
            return self.deployed_before(job, &digest, request.wait).await;
        }
        if order.aborted_at.is_some() {
            return Err(ended(&order));
        }
        let wanted = pod_request::read(request.body, &order.purchase).map_err(AppError::invalid)?;
        let region = self.choose_region(&order, &wanted)?;
        let mut pod = self.seal(wanted, &order, &region).await?;

        let id = JobId::new();
        let reserved = match self.reserve_ports(&order, &region, id, &mut pod).await {
            Ok(reserved) => reserved,
            Err(NotReserved::Refused(error)) => return Err(error),
            // Among those who keep changing the same ports may be a repetition of this very request.
            Err(NotReserved::Busy(error)) => {
                return match self.deployed_by_another_request(&order.id, request, &digest).await? {
                    Some(answer) => Ok(answer),
                    None => Err(error),
                };
            }
        };
        let idempotency = request.idempotency_key.map(|key| (key, &digest));
        let acceptance = Acceptance { order: &order.id, region: &region, job: id, idempotency };
        let job = match self.store.accept_deploy(&acceptance, &pod, request.until).await {
            Ok(Accepted::Yes(job)) => job,
            Ok(Accepted::KeyTaken) => {
                self.bus.ledger.release(reserved).await;
                let answer = self.deployed_by_another_request(&order.id, request, &digest).await?;
                return answer.ok_or_else(|| AppError::internal("a taken idempotency key names a job"));
            }
            Ok(Accepted::No) => {
                self.bus.ledger.release(reserved).await;
                return Err(self.not_accepted(&order.id, &region).await);
            }
            // Whether the statement took effect is not known: the sweeper asks the record before it frees anything.
            Err(error) => return Err(error.into()),
        };

        let revision = job.revision.ok_or_else(|| AppError::internal("a deploy has a revision"))?;
        let message = common::job::Job {
            version: JOB_VERSION,
            id,
            order: order.id,
            region,
            sequence: job.sequence,
            change: Change::Deploy(Deploy { revision, until: request.until, pod: pod.clone() }),
        };
        match self.run(&message, request.wait).await {
            Some(result) => answer(job.ended(result), pod),
            None => Ok(DeployAnswer::Accepted(job)),
        }
    }

    /// Where the pod goes: the order's region, which takes no changes only if nothing was heard of it for a day (`wire.md`
    /// §6), else the one that the body names, which must have a live worker (§4).
    fn choose_region(&self, order: &Order, pod: &PodRequest) -> Result<RegionCode, AppError> {
        let regions = &self.bus.regions;
        match (&order.purchase.region, &pod.region) {
            (Some(own), _) if regions.heard_within(own, REGION_LOST_AFTER) => Ok(own.clone()),
            (Some(own), _) => Err(AppError::region_unavailable(own)),
            (None, Some(named)) if regions.is_live(named) => Ok(named.clone()),
            (None, Some(named)) if regions.heard_within(named, REGION_LOST_AFTER) => {
                Err(AppError::region_unavailable(named))
            }
            (None, Some(_)) => {
                let mut problems = Problems::default();
                let live: Vec<String> = regions.live().iter().map(ToString::to_string).collect();
                let known = if live.is_empty() { "none at the moment".to_owned() } else { live.join(", ") };
                problems.add("nodeSelector.region", format!("must be a region that is there: {known}"));
                Err(AppError::invalid(problems).because(Reason::RegionUnknown))
            }
            (None, None) => Err(AppError::internal("a deploy names a region, or its order does")),
        }
    }

    /// The pod with its secrets sealed to its region, computed where it holds up no other request. A pod that would not
    /// fit into a message is refused.
    async fn seal(&self, pod: PodRequest, order: &Order, region: &RegionCode) -> Result<Pod, AppError> {
        let key = self.bus.regions.public_key(region).ok_or_else(|| AppError::region_unavailable(region))?;
        let purchase = order.purchase.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            let pod = pod.seal(&purchase, &key)?;
            let bytes = serde_json::to_vec(&pod).map_or(usize::MAX, |printed| printed.len());
            Ok::<_, SealError>((pod, bytes))
        });
        let (pod, bytes) = sealed.await.map_err(AppError::internal)?.map_err(AppError::internal)?;
        if bytes > MAX_POD_BYTES {
            let message =
                format!("the pod must have at most {MAX_POD_BYTES} bytes once its secrets are sealed; shorten it");
            return Err(AppError::new(Reason::PayloadTooLarge, message));
        }
        Ok(pod)
    }

    /// The answer to a request whose idempotency key has made a job before: the same job's.
    async fn deployed_before(&self, job: Job, digest: &[u8; 32], wait: Wait) -> Result<DeployAnswer, AppError> {
        tracing::Span::current().record("job.id", tracing::field::display(job.id));
        let Some(revision) = job.revision.filter(|_| job.request_digest.as_deref() == Some(digest)) else {
            return Err(key_reused());
        };
        let job = self.wait_for(job, wait).await?;
        if job.outcome.is_none() {
            return Ok(DeployAnswer::Accepted(job));
        }
        let pod = self.store.pod(&job.order, revision).await?;
        answer(job, pod.ok_or_else(|| AppError::internal("a job's revision is on record"))?)
    }

    /// The same, when the other request was accepted while this one was on its way. None = there is none.
    async fn deployed_by_another_request(
        &self,
        order: &OrderId,
        request: ChangeRequest<'_>,
        digest: &[u8; 32],
    ) -> Result<Option<DeployAnswer>, AppError> {
        let Some(key) = request.idempotency_key else { return Ok(None) };
        let Some(job) = self.store.job_by_key(order, key).await? else { return Ok(None) };
        self.deployed_before(job, digest, request.wait).await.map(Some)
    }

    /// Why an order takes no change: it has ended, another request gave it a region meanwhile, or this one was too slow.
    async fn not_accepted(&self, id: &OrderId, region: &RegionCode) -> AppError {
        let order = match self.store.order(id).await {
            Ok(Some(order)) => order,
            Ok(None) => return AppError::internal("an order that was found a moment ago is there"),
            Err(error) => return error.into(),
        };
        match &order.purchase.region {
            _ if order.aborted_at.is_some() => ended(&order),
            Some(own) if own != region => {
                AppError::new(Reason::RegionMismatch, format!("the order runs in region {own}; deploy it there"))
            }
            _ => AppError::overloaded(
                "the request took too long; try again",
                "a job was accepted too late: is the clock of api or PostgreSQL wrong?",
            ),
        }
    }
}

/// The answer to a deploy that has ended.
fn answer(job: Job, pod: Pod) -> Result<DeployAnswer, AppError> {
    match job.outcome.clone() {
        Some(Outcome::Succeeded) => Ok(DeployAnswer::Deployed(job, pod)),
        Some(Outcome::Failed(failure) | Outcome::Unready(failure)) => Err(failure.into()),
        Some(Outcome::Superseded { .. } | Outcome::Overtaken { .. }) => {
            Err(AppError::new(Reason::Superseded, "a newer change of the order replaced this one"))
        }
        None => Ok(DeployAnswer::Accepted(job)),
    }
}

/// The order takes no more changes.
fn ended(order: &Order) -> AppError {
    AppError::new(Reason::OrderEnded, format!("the order {} has ended and takes no more changes", order.id))
}

/// The key was used for another request.
pub(super) fn key_reused() -> AppError {
    let message = "this Idempotency-Key was used for another request; take a new key for a new request";
    AppError::new(Reason::IdempotencyKeyReused, message)
}
