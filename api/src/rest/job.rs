//! Jobs: every accepted change, and how far it is (`wire.md` §6).

use std::time::Duration;

use common::job::{Outcome, Until};
use common::name::Sequence;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::{EventStream, Json};
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};

use super::auth::OrderSecret;
use super::body::Body;
use super::change::{Change, Nothing};
use super::error::{Answer, Statuses};
use super::param::{HeaderLines, Loose, Nullable, number, parsed};
use super::tag::Tag;
use crate::app::App;
use crate::app::change::{ChangeRequest, Wait};
use crate::app::error::AppError;
use crate::app::json::Problems;
use crate::app::watch::Waiting;
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

/// Failures of `DELETE /jobs/<id>`.
pub(super) struct CancelFailures;

impl Statuses for CancelFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "A body or key that is not well formed"),
        (401, "The secret is missing or not valid"),
        (404, "The order has no such job"),
        (408, "The body did not come in time"),
        (
            409,
            "The job has begun or ended, or is not the order's newest (`JOB_BEGUN`); the order has ended (`ORDER_ENDED`)",
        ),
        (413, "The body is too large"),
        (415, "The body is not JSON"),
        (422, "The key was used for another request"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// How often a comment keeps a silent stream of events alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One accepted change. Times are RFC 3339.
#[derive(Debug, Object)]
#[oai(rename = "Job", rename_all = "camelCase", example)]
pub(super) struct JobBody {
    /// The job's id.
    id: String,
    /// Whose pod it changes.
    order_id: String,
    /// What it does: `deploy`, `restart`, `stop`, `start`, `expose`, `cancel`, `repair` or `delete`.
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
    /// While it is queued: how it stands in its region's queue.
    #[oai(skip_serializing_if_is_none)]
    queue: Option<QueueBody>,
}

/// A region's jobs that have not ended.
#[derive(Debug, Object)]
#[oai(rename = "Queue", rename_all = "camelCase")]
pub(super) struct QueueBody {
    /// How many of them were accepted before this one.
    position: u64,
    /// How long ago the oldest of them was accepted, in seconds.
    oldest_age_seconds: u64,
    /// How many workers of the region are there. Without one the job waits until there is.
    workers: u64,
}

impl From<Waiting> for QueueBody {
    fn from(waiting: Waiting) -> Self {
        Self {
            position: waiting.queue.ahead,
            oldest_age_seconds: waiting.queue.oldest_seconds,
            workers: waiting.workers.try_into().unwrap_or(u64::MAX),
        }
    }
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
            queue: None,
        }
    }
}

impl JobBody {
    /// The job, and how it stands in its region's queue. One statement, for a job that has not begun.
    pub(super) async fn with_queue(app: &App, job: &Job) -> Result<Self, AppError> {
        Ok(Self { queue: app.waiting(job).await?.map(QueueBody::from), ..Self::from(job) })
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
            queue: None,
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
        let job = app.job(&order, &id.0).await?;
        Ok(Json(JobBody::with_queue(&app, &job).await?))
    }

    /// Watch a job
    ///
    /// Server-sent events, each `data` being the job: as it stands, and then each time that it has changed, until it has
    /// ended. A stream that ends before that is to be asked for again.
    #[oai(path = "/jobs/:id/events", method = "get", operation_id = "watch_job")]
    async fn events(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The job's id.
        id: Path<String>,
    ) -> Answer<EventStream<BoxStream<'static, JobBody>>, JobFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        let jobs = app.watch_job(&order, &id.0).await?;
        Ok(EventStream::new(jobs.map(|job| JobBody::from(&job)).boxed()).keep_alive(KEEP_ALIVE))
    }

    /// Cancel a job that has not begun
    ///
    /// It ends `Superseded` by a job `cancel`, which sees to it that the order is as it was before. Only the order's newest job
    /// can be cancelled.
    #[oai(path = "/jobs/:id", method = "delete", operation_id = "cancel_job")]
    async fn cancel(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// The job's id.
        id: Path<String>,
        /// The same key is the same request, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        body: Body<Nothing>,
    ) -> Answer<Json<JobBody>, CancelFailures> {
        let change = Change::begin(&app, &secret, &key).await?;
        let body = body.json()?;
        change.expect_a_job()?;
        let request = ChangeRequest { body: &body, idempotency_key: change.key, wait: Wait::No, until: Until::Created };
        let job = app.cancel(change.order, change.earlier, &id.0, request).await?;
        Ok(Json(JobBody::from(&job)))
    }
}
