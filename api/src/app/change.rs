//! What all changes of an order have in common: the idempotency key before them, their job on its way, and the answer. A
//! change that makes no revision (restart, stop, start) is here whole: it costs one statement to authenticate, one that
//! accepts the job, one publish.

use std::time::Duration;

use common::failure::Reason;
use common::job::{Outcome, Run, Until, Verb};
use common::name::{JobId, OrderId, RegionCode};
use common::pod::Pod;
use common::presence::REGION_LOST_AFTER;
use common::telemetry::Chain;
use serde_json::Value;

use super::App;
use super::error::AppError;
use super::json::{Field, Problems};
use crate::store::acceptance::{Acceptance, Accepted, MAX_UNFINISHED};
use crate::store::digest::Digest;
use crate::store::jobs::Job;
use crate::store::orders::Order;
use crate::store::target::{self, Patch};

/// How a client wants a change to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// With the job, as soon as it is accepted.
    No,
    /// With the end, if it comes within this time.
    For(Duration),
}

/// A change as a front end hands it over.
#[derive(Debug, Clone, Copy)]
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

/// What came of a change.
#[derive(Debug)]
pub enum ChangeAnswer {
    /// It is done: the job, and the pod of its revision.
    Done(Job, Pod),
    /// It is accepted and will run.
    Accepted(Job),
}

/// What a change needs of its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// That it takes changes.
    Nothing,
    /// That something is deployed, too.
    Target,
    /// That it runs, too.
    Run,
}

/// A change of what an order's pod does, not of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The pod is replaced by one of the same revision.
    Restart,
    /// The pod ends; ports, volume, configuration and domains are kept.
    Stop,
    /// The pod of a stopped order is made again; one that runs is left alone.
    Start,
}

impl Step {
    fn verb(self) -> Verb {
        match self {
            Self::Restart => Verb::Restart,
            Self::Stop => Verb::Stop,
            Self::Start => Verb::Start,
        }
    }

    fn stored(self, job: JobId) -> target::Step {
        let set = |run| Patch { run: Some(run), ..Patch::default() };
        match self {
            Self::Restart => {
                let patch = Patch { pod_job: Some(job), ..Patch::default() };
                target::Step { patch, needs_run: true, revives: false }
            }
            Self::Stop => target::Step { patch: set(Run::Stopped), ..target::Step::default() },
            Self::Start => target::Step { patch: set(Run::Running), needs_run: false, revives: true },
        }
    }

    fn needs(self) -> Needs {
        match self {
            Self::Restart => Needs::Run,
            Self::Stop | Self::Start => Needs::Target,
        }
    }
}

impl App {
    /// Restarts, stops or starts an order's pod.
    ///
    /// # Errors
    /// Unknown fields of the body; [`Reason::NotDeployed`]; [`Reason::OrderStopped`] for a restart; [`Reason::OrderEnded`];
    /// the region's own reason when the job failed.
    pub async fn step(
        &self,
        order: Order,
        earlier: Option<Job>,
        step: Step,
        request: ChangeRequest<'_>,
    ) -> Result<ChangeAnswer, AppError> {
        let verb = step.verb();
        let digest = self.request_digest(&format!("{} {:?}", verb.as_str(), request.until), request.body);
        if let Some(job) = earlier {
            return self.answered_before(job, &digest, request.wait).await;
        }
        expect_nothing(request.body)?;
        let region = self.region_of_deployed(&order)?;
        let id = JobId::new();
        let idempotency = request.idempotency_key.map(|key| (key, &digest.current));
        let acceptance = Acceptance { order: &order.id, region: &region, job: id, idempotency };
        let accepted = self.store.accept_step(&acceptance, verb, request.until, step.stored(id)).await?;
        match accepted {
            (Accepted::Yes(job), pod) => {
                let pod = match pod {
                    Some(pod) => Ok(pod),
                    None => self.pod_of(&job).await,
                };
                match pod {
                    Ok(pod) => self.carry_out(job, pod, request.wait).await,
                    Err(error) => {
                        tracing::warn!(job = %job.id, error = %Chain(&error), "job left to the relay");
                        Ok(ChangeAnswer::Accepted(job))
                    }
                }
            }
            (Accepted::KeyTaken, _) => {
                let answer = self.answered_by_another_request(&order.id, request, &digest).await?;
                answer.ok_or_else(|| AppError::internal("a taken idempotency key names a job"))
            }
            (Accepted::No, _) => match self.answered_by_another_request(&order.id, request, &digest).await? {
                Some(answer) => Ok(answer),
                None => Err(self.not_accepted(&order.id, &region, step.needs()).await),
            },
        }
    }

    /// Publishes an accepted job and answers with its end, if that comes in time.
    pub(super) async fn carry_out(&self, job: Job, pod: Pod, wait: Wait) -> Result<ChangeAnswer, AppError> {
        match self.run(&job.message(Some(pod.clone()))?, wait).await {
            Some(result) if result.outcome == Outcome::Succeeded => answer(job.ended(result), pod),
            // Whoever is told that a change came to nothing may change the order at once: from what it was before.
            Some(result) => answer(self.recorded(job, result).await, pod),
            None => Ok(ChangeAnswer::Accepted(job)),
        }
    }

    /// The pod of a job's revision.
    pub(super) async fn pod_of(&self, job: &Job) -> Result<Pod, AppError> {
        let pod = match job.revision {
            Some(revision) => self.store.pod(&job.order, revision).await?,
            None => None,
        };
        pod.ok_or_else(|| AppError::internal("a job's revision is on record"))
    }

    /// The region of an order that has something there, and that was heard of within a day (`wire.md` §6).
    pub(super) fn region_of_deployed(&self, order: &Order) -> Result<RegionCode, AppError> {
        if let Some(refusal) = takes_no_changes(order) {
            return Err(refusal);
        }
        let region = order.purchase.region.clone().filter(|_| order.target.is_some()).ok_or_else(not_deployed)?;
        if self.bus.regions.heard_within(&region, REGION_LOST_AFTER) {
            Ok(region)
        } else {
            Err(AppError::region_unavailable(&region))
        }
    }

    /// The answer to a request whose idempotency key has made a job before: the same job's.
    pub(super) async fn answered_before(
        &self,
        job: Job,
        digest: &Digest,
        wait: Wait,
    ) -> Result<ChangeAnswer, AppError> {
        tracing::Span::current().record("job.id", tracing::field::display(job.id));
        if !job.request_digest.as_deref().is_some_and(|kept| digest.is(kept)) {
            return Err(key_reused());
        }
        let job = self.wait_for(job, wait).await;
        if job.outcome.is_none() {
            return Ok(ChangeAnswer::Accepted(job));
        }
        let pod = self.pod_of(&job).await?;
        answer(job, pod)
    }

    /// The same, when the other request was accepted while this one was on its way. None = there is none.
    pub(super) async fn answered_by_another_request(
        &self,
        order: &OrderId,
        request: ChangeRequest<'_>,
        digest: &Digest,
    ) -> Result<Option<ChangeAnswer>, AppError> {
        let Some(key) = request.idempotency_key else { return Ok(None) };
        let Some(job) = self.store.job_by_key(order, key).await? else { return Ok(None) };
        self.answered_before(job, digest, request.wait).await.map(Some)
    }

    /// Why an order takes no change, though a moment ago it seemed to: it has ended or was stopped, too many of its changes have
    /// not ended, another request gave it a region, or this one was too slow.
    pub(super) async fn not_accepted(&self, id: &OrderId, region: &RegionCode, needs: Needs) -> AppError {
        let order = match self.store.order(id).await {
            Ok(Some(order)) => order,
            Ok(None) => return AppError::internal("an order that was found a moment ago is there"),
            Err(error) => return error.into(),
        };
        if let Some(refusal) = takes_no_changes(&order) {
            return refusal;
        }
        match (&order.purchase.region, &order.target) {
            (Some(own), _) if own != region => {
                AppError::new(Reason::RegionMismatch, format!("the order runs in region {own}; deploy it there"))
            }
            (_, None) if needs != Needs::Nothing => not_deployed(),
            (_, Some(target)) if needs == Needs::Run && !target.run.is_running() => {
                AppError::new(Reason::OrderStopped, "the order is stopped; start it")
            }
            _ => match self.store.is_full(&order.id).await {
                Ok(true) => too_many_unfinished(),
                Ok(false) => AppError::overloaded(
                    "the request took too long; try again",
                    "a job was accepted too late: is the clock of api or PostgreSQL wrong?",
                ),
                Err(error) => error.into(),
            },
        }
    }
}

/// Why an order takes no more changes of its customer, if so.
pub(super) fn takes_no_changes(order: &Order) -> Option<AppError> {
    let why = match order.aborted_at.or(order.deleted_at) {
        Some(_) => "has ended and takes no more changes",
        None if order.is_over => "takes no more changes: its paid time is over; have it extended",
        None => return None,
    };
    Some(AppError::new(Reason::OrderEnded, format!("the order {} {why}", order.id)))
}

/// The answer to a change that has ended.
fn answer(job: Job, pod: Pod) -> Result<ChangeAnswer, AppError> {
    let failure = match job.outcome.clone() {
        Some(Outcome::Succeeded) => return Ok(ChangeAnswer::Done(job, pod)),
        None => return Ok(ChangeAnswer::Accepted(job)),
        Some(Outcome::Failed(failure) | Outcome::Unready(failure)) => failure.into(),
        Some(Outcome::Superseded { .. } | Outcome::Overtaken { .. }) => {
            AppError::new(Reason::Superseded, "a newer change of the order replaced this one")
        }
    };
    Err(failure.end_of(job.id))
}

/// Its region has to come to the order's changes first.
fn too_many_unfinished() -> AppError {
    let message = format!("{MAX_UNFINISHED} changes of the order have not ended; wait until some have, then try again");
    AppError::new(Reason::Overloaded, message)
}

/// Nothing is there to be changed.
pub(super) fn not_deployed() -> AppError {
    AppError::new(Reason::NotDeployed, "nothing is deployed for this order; deploy it first")
}

/// The key was used for another request.
pub fn key_reused() -> AppError {
    let message = "this Idempotency-Key was used for another request; take a new key for a new request";
    AppError::new(Reason::IdempotencyKeyReused, message)
}

/// Refuses every field of a body that has nothing to say.
pub(super) fn expect_nothing(body: &Value) -> Result<(), AppError> {
    let mut problems = Problems::default();
    if let Some(object) = Field::root(body).object(&mut problems) {
        object.finish(&mut problems);
    }
    if problems.is_empty() { Ok(()) } else { Err(AppError::invalid(problems)) }
}
