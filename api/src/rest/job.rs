//! Jobs: every accepted change, and how far it is (`wire.md` §6).

use common::job::Outcome;
use common::name::Sequence;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};

use super::auth::OrderSecret;
use super::error::{Answer, Statuses};
use super::param::{Loose, Nullable, number, parsed};
use super::tag::Tag;
use crate::app::App;
use crate::app::error::AppError;
use crate::app::json::Problems;
use crate::store::jobs::{Job, JobState};

/// The calls.
pub(super) struct JobApi;

/// Failures of `GET /jobs`.
pub(super) struct JobsFailures;

impl Statuses for JobsFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "A wrong query parameter"),
        (401, "The secret is missing or not valid"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// Failures of `GET /jobs/<id>`.
pub(super) struct JobFailures;

impl Statuses for JobFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (401, "The secret is missing or not valid"),
        (404, "The order has no such job"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// One accepted change. Times are RFC 3339.
#[derive(Debug, Object)]
#[oai(rename = "Job", rename_all = "camelCase", example)]
pub(super) struct JobBody {
    /// The job's id.
    id: String,
    /// Whose pod it changes.
    order_id: String,
    /// What it does: `deploy`, `restart`, `stop`, `start`, `cancel` or `delete`.
    verb: String,
    /// The revision that it leaves in the region.
    revision: Nullable<u64>,
    /// How far it is.
    state: StateBody,
    /// How often a worker has taken it up.
    attempts: u32,
    /// When it was accepted.
    created_at: String,
    /// When a worker began it.
    started_at: Nullable<String>,
    /// When it ended.
    finished_at: Nullable<String>,
    /// How it ended.
    outcome: Nullable<OutcomeBody>,
}

/// How far a job is.
#[derive(Debug, Enum)]
#[oai(rename = "JobState")]
pub(super) enum StateBody {
    /// Accepted; no worker has begun it.
    Queued,
    /// A worker has begun it.
    Running,
    /// It did what was asked.
    Succeeded,
    /// It did not, and never will.
    Failed,
    /// A newer change of the order replaced it.
    Superseded,
}

/// How a job ended.
#[derive(Debug, Object)]
#[oai(rename = "Outcome", skip_serializing_if_is_none)]
pub(super) struct OutcomeBody {
    /// `succeeded`, `failed` or `superseded`.
    status: String,
    /// Why it failed, as a stable word.
    reason: Option<String>,
    /// Why it failed, and what to do.
    message: Option<String>,
    /// The sequence of the newer job that replaced it.
    by: Option<u64>,
}

impl From<&Outcome> for OutcomeBody {
    fn from(outcome: &Outcome) -> Self {
        let plain = |status: &str| Self { status: status.to_owned(), reason: None, message: None, by: None };
        match outcome {
            Outcome::Succeeded => plain("succeeded"),
            Outcome::Failed(failure) | Outcome::Unready(failure) => Self {
                reason: serde_json::to_value(failure.reason).ok().and_then(|word| word.as_str().map(str::to_owned)),
                message: Some(failure.message.clone()),
                ..plain("failed")
            },
            Outcome::Superseded { by } | Outcome::Overtaken { by } => {
                Self { by: Some(by.get()), ..plain("superseded") }
            }
        }
    }
}

impl From<&Job> for JobBody {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id.to_string(),
            order_id: job.order.to_string(),
            verb: job.verb.as_str().to_owned(),
            revision: Nullable(job.revision.map(common::name::Revision::get)),
            state: match job.state {
                JobState::Queued => StateBody::Queued,
                JobState::Running => StateBody::Running,
                JobState::Succeeded => StateBody::Succeeded,
                JobState::Failed => StateBody::Failed,
                JobState::Superseded => StateBody::Superseded,
            },
            attempts: job.attempts,
            created_at: job.created_at.to_string(),
            started_at: Nullable(job.started_at.map(|at| at.to_string())),
            finished_at: Nullable(job.finished_at.map(|at| at.to_string())),
            outcome: Nullable(job.outcome.as_ref().map(OutcomeBody::from)),
        }
    }
}

impl Example for JobBody {
    fn example() -> Self {
        Self {
            id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
            order_id: "71b60598-e176-4357-95b0-0e75e586363a".to_owned(),
            verb: "deploy".to_owned(),
            revision: Nullable(Some(2)),
            state: StateBody::Queued,
            attempts: 0,
            created_at: "2026-01-02T03:04:05Z".to_owned(),
            started_at: Nullable(None),
            finished_at: Nullable(None),
            outcome: Nullable(None),
        }
    }
}

/// A page of jobs, newest first.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Jobs {
    /// The jobs.
    jobs: Vec<JobBody>,
    /// If there are more: what to give as `after` to get them.
    next: Option<String>,
}

#[OpenApi(tag = "Tag::Jobs")]
impl JobApi {
    /// List the order's jobs
    ///
    /// Newest first.
    #[oai(path = "/jobs", method = "get", operation_id = "list_jobs")]
    async fn jobs(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The `next` of the page before.
        after: Query<Option<String>>,
        /// The most jobs of the page, 1 to 200; 50 unless given.
        limit: Query<Option<Loose<u32>>>,
    ) -> Answer<Json<Jobs>, JobsFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        let mut problems = Problems::default();
        let after = parsed("after", after.0.as_deref(), str::parse::<Sequence>, &mut problems);
        let limit = number("limit", limit.0.as_ref(), 1..=200, &mut problems).unwrap_or(50);
        if !problems.is_empty() {
            return Err(AppError::invalid(problems).into());
        }
        let page = app.jobs(&order, after, usize::try_from(limit).unwrap_or(50)).await?;
        let next = page.items.last().filter(|_| page.more).map(|job| job.sequence.to_string());
        Ok(Json(Jobs { jobs: page.items.iter().map(JobBody::from).collect(), next }))
    }

    /// Show a job
    #[oai(path = "/jobs/:id", method = "get", operation_id = "get_job")]
    async fn job(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The job's id.
        id: Path<String>,
    ) -> Answer<Json<JobBody>, JobFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        Ok(Json(JobBody::from(&app.job(&order, &id.0).await?)))
    }
}
