//! What all changes of an order have in common as HTTP: the secret and the idempotency key before the body, the header
//! `Prefer`, the answers and the failures.

use common::job::Until;
use common::telemetry::Chain;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object};

use super::auth::OrderSecret;
use super::deploy_body::Deployed;
use super::error::Statuses;
use super::job::JobBody;
use super::param::{HeaderLines, parsed};
use crate::app::App;
use crate::app::change::{ChangeAnswer, ChangeRequest, key_reused};
use crate::app::error::AppError;
use crate::app::json::Problems;
use crate::store::jobs::Job;
use crate::store::orders::{KeyUse, Order};
use serde_json::Value;

/// Failures of changes.
pub(super) struct ChangeFailures;

impl Statuses for ChangeFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "Problems of the body; `details` names each field"),
        (401, "The secret is missing or not valid"),
        (404, "Nothing is deployed; with `until=available`: the image does not exist (`IMAGE_NOT_FOUND`)"),
        (
            409,
            "Ports or domains that others hold (`PORT_OCCUPIED`, `DOMAIN_TAKEN`), an order that has ended or is stopped, a newer change",
        ),
        (408, "The body did not come in time"),
        (413, "The body is too large"),
        (415, "The body is not JSON"),
        (422, "The key was used for another request, Kubernetes refuses the pod, or a registry refuses its login"),
        (429, "With `until=available`: a registry limits how often images are pulled"),
        (500, "`server error`"),
        (502, "With `until=available`: the registry of an image does not answer"),
        (
            503,
            "The region or the service is not there at the moment, or too many changes of the order have not ended; try again",
        ),
    ];
}

/// A change whose sender is known.
pub(super) struct Change<'a> {
    /// The order.
    pub(super) order: Order,
    /// The job that the idempotency key made before.
    pub(super) earlier: Option<Job>,
    /// Whether the key was used to set one of the order's texts.
    is_said: bool,
    /// The key.
    pub(super) key: Option<&'a str>,
}

impl<'a> Change<'a> {
    /// Finds the order, and what its idempotency key made before. One statement.
    ///
    /// # Errors
    /// That the secret is not valid, before anything else is said; then that the key has not the form of one.
    pub(super) async fn begin(app: &App, secret: &OrderSecret, key: &'a HeaderLines) -> Result<Self, AppError> {
        let key = key.idempotency_key();
        let known = key.as_ref().ok().copied().flatten();
        let (order, used) = app.authenticate_change(secret.as_deref(), known).await?;
        let (earlier, is_said) = match used {
            Some(KeyUse::Job(job)) => (Some(job), false),
            used => (None, used.is_some()),
        };
        Ok(Self { order, earlier, is_said, key: key? })
    }

    /// Refuses a key that stands for something that made no job.
    pub(super) fn expect_a_job(&self) -> Result<(), AppError> {
        if self.is_said { Err(key_reused()) } else { Ok(()) }
    }

    /// The change as the core wants it.
    ///
    /// # Errors
    /// When `until` is no word of its own, or the key stands for something that made no job.
    pub(super) fn request(
        &self,
        app: &App,
        body: &'a Value,
        prefer: &HeaderLines,
        until: Option<&str>,
    ) -> Result<ChangeRequest<'a>, AppError> {
        let mut problems = Problems::default();
        let until = parsed("until", until, read_until, &mut problems).unwrap_or_default();
        if !problems.is_empty() {
            return Err(AppError::invalid(problems));
        }
        self.expect_a_job()?;
        Ok(ChangeRequest { body, idempotency_key: self.key, wait: prefer.wait(app.change_deadline()), until })
    }
}

/// `until` of a change.
fn read_until(text: &str) -> Result<Until, &'static str> {
    match text {
        "created" => Ok(Until::Created),
        "available" => Ok(Until::Available),
        _ => Err("must be created or available"),
    }
}

/// What became of a new revision.
#[expect(clippy::large_enum_variant, reason = "one for each request")]
#[derive(ApiResponse)]
pub(super) enum DeployResponse {
    /// It is done.
    #[oai(status = 200)]
    Deployed(Json<Deployed>),
    /// It is accepted and will run.
    #[oai(status = 202)]
    Accepted(
        Json<JobBody>,
        /// Where the job is shown.
        #[oai(header = "Location")]
        String,
    ),
}

impl DeployResponse {
    /// The answer to a change that makes a revision.
    pub(super) async fn of(app: &App, answer: &ChangeAnswer) -> Self {
        match answer {
            ChangeAnswer::Done(job, pod) => Self::Deployed(Json(Deployed::new(job, pod))),
            ChangeAnswer::Accepted(job) => Self::Accepted(Json(accepted(app, job).await), location(job)),
        }
    }
}

/// What became of a change that makes no revision.
#[derive(ApiResponse)]
pub(super) enum StepResponse {
    /// It is done.
    #[oai(status = 200)]
    Done(Json<StepBody>),
    /// It is accepted and will run.
    #[oai(status = 202)]
    Accepted(
        Json<StepBody>,
        /// Where the job is shown.
        #[oai(header = "Location")]
        String,
    ),
}

/// The job of a change that makes no revision.
#[derive(Object)]
pub(super) struct StepBody {
    /// Always `OK`: by it existing clients know that the change was taken.
    status: String,
    #[oai(flatten)]
    job: JobBody,
}

impl From<JobBody> for Json<StepBody> {
    fn from(job: JobBody) -> Self {
        Self(StepBody { status: "OK".to_owned(), job })
    }
}

impl StepResponse {
    /// The answer to a change that makes no revision.
    pub(super) async fn of(app: &App, answer: &ChangeAnswer) -> Self {
        match answer {
            ChangeAnswer::Done(job, _) => Self::Done(JobBody::from(job).into()),
            ChangeAnswer::Accepted(job) => Self::Accepted(accepted(app, job).await.into(), location(job)),
        }
    }
}

/// A job that is accepted; in a region without workers it says how it stands in the queue there, if that can be told: nothing
/// that fails now makes it less accepted.
async fn accepted(app: &App, job: &Job) -> JobBody {
    if app.is_live(&job.region) {
        return JobBody::from(job);
    }
    JobBody::with_queue(app, job).await.unwrap_or_else(|error| {
        tracing::warn!(job = %job.id, error = %Chain(&error), "an accepted job is shown without its queue");
        JobBody::from(job)
    })
}

fn location(job: &Job) -> String {
    format!("{}/jobs/{}", super::PREFIX, job.id)
}

/// The body of a call that has nothing to say.
#[derive(Object)]
pub(super) struct Nothing {}
