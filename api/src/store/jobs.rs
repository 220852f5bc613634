//! Table `jobs`: every change that was accepted, up to its one end.

use common::ingress::Exposure;
use common::job::{self, Change, JOB_VERSION, JobResult, JobStarted, Outcome, Until, Verb};
use common::name::{JobId, OrderId, RegionCode, Revision, Sequence};
use common::pod::Pod;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::target::StoredTarget;
use super::{Page, Store, StoreError, parsed};

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose pod it changes.
    pub order: OrderId,
    /// Where.
    pub region: RegionCode,
    /// Its place among the order's jobs.
    pub sequence: Sequence,
    /// What it does.
    pub verb: Verb,
    /// The revision of its target.
    pub revision: Option<Revision>,
    /// What it makes of the order; none = it removes all.
    pub target: Option<StoredTarget>,
    /// When it has succeeded.
    pub until: Until,
    /// How far it is.
    pub state: JobState,
    /// Deliveries to workers.
    pub attempts: u32,
    /// Its end.
    pub outcome: Option<Outcome>,
    /// HMAC of the request that made it, when that had an idempotency key.
    pub request_digest: Option<Vec<u8>>,
    /// Its place in the stream of its region, once the broker has it.
    pub stream_sequence: Option<u64>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker began it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How far a job is (`wire.md` §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Accepted; no worker has begun it.
    Queued,
    /// A worker has begun it.
    Running,
    /// It did what was asked.
    Succeeded,
    /// It did not, and never will.
    Failed,
    /// A newer job of the order had begun.
    Superseded,
}

impl JobState {
    const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Superseded];

    fn as_column(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }

    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed(_) | Outcome::Unready(_) => Self::Failed,
            Outcome::Superseded { .. } | Outcome::Overtaken { .. } => Self::Superseded,
        }
    }
}

/// A region's jobs that have not ended, as one that waits among them sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// How many of them were accepted before this one; 1000 are as many as are counted.
    pub ahead: u64,
    /// How long ago the oldest of them was accepted, in seconds.
    pub oldest_seconds: u64,
}

impl Job {
    /// The job as its worker reads it, with the pod of its revision.
    ///
    /// # Errors
    /// When it has no target and no pod, and needs them.
    pub fn message(&self, pod: Option<Pod>) -> Result<job::Job, StoreError> {
        let mut target = self.target.clone().zip(pod).map(|(target, pod)| target.with(self.id, pod, self.until));
        // What is taken back may have bound the order's first domains.
        if let Some(target) = target.as_mut().filter(|target| self.verb == Verb::Cancel && target.exposure.is_never()) {
            target.exposure = Exposure::Unbound;
        }
        Ok(job::Job {
            version: JOB_VERSION,
            id: self.id,
            order: self.order.clone(),
            region: self.region.clone(),
            sequence: self.sequence,
            change: Change::new(self.verb, target).ok_or(StoreError::Row { column: "target" })?,
        })
    }

    /// The job as it stands once this result is on record, where times have microseconds.
    #[must_use]
    pub fn ended(self, result: JobResult) -> Self {
        let recorded = |at: Timestamp| Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        Self {
            state: JobState::of(&result.outcome),
            attempts: result.attempts,
            started_at: (result.attempts > 0).then(|| recorded(result.started_at)),
            finished_at: Some(recorded(result.finished_at)),
            outcome: Some(result.outcome),
            ..self
        }
    }
}

/// The columns of [`job`], under names that no column of `orders` has.
pub(super) const COLUMNS: &str = "j.id as job_id, j.order_id as job_order, j.region as job_region, \
     j.sequence as job_sequence, j.verb, j.revision as job_revision, \
     j.target as job_target, j.until, j.state, j.attempts, j.outcome, \
     j.request_digest as job_digest, j.stream_sequence, j.created_at as job_created_at, j.started_at, j.finished_at";

/// `until` as the column holds it.
pub(super) fn until_str(until: Until) -> &'static str {
    match until {
        Until::Created => "created",
        Until::Available => "available",
    }
}

/// A counter out of an integer column.
pub(super) fn counter<T: TryFrom<u64>>(column: &'static str, number: i32) -> Result<T, StoreError> {
    let number = parsed(column, u64::try_from(number))?;
    parsed(column, T::try_from(number))
}

/// `until` out of its column, which is empty where there is nothing to wait for.
fn until(text: Option<&str>) -> Until {
    match text {
        Some("available") => Until::Available,
        _ => Until::Created,
    }
}

/// Reads a job out of a row that has [`COLUMNS`].
pub(super) fn job(row: &Row) -> Result<Job, StoreError> {
    job_if_any(row)?.ok_or(StoreError::Row { column: "id" })
}

/// Reads a job out of a row of an outer join.
pub(super) fn job_if_any(row: &Row) -> Result<Option<Job>, StoreError> {
    let Some(id) = row.try_get::<_, Option<Uuid>>("job_id")? else { return Ok(None) };
    let state: &str = row.try_get("state")?;
    let state = JobState::ALL.into_iter().find(|known| known.as_column() == state);
    let revision: Option<i32> = row.try_get("job_revision")?;
    let outcome: Option<Json<Outcome>> = row.try_get("outcome")?;
    let sequence: Option<i64> = row.try_get("stream_sequence")?;
    Ok(Some(Job {
        id: id.into(),
        order: parsed("order_id", row.try_get::<_, String>("job_order")?.try_into())?,
        region: parsed("region", row.try_get::<_, String>("job_region")?.try_into())?,
        sequence: counter("sequence", row.try_get("job_sequence")?)?,
        verb: parsed("verb", row.try_get::<_, &str>("verb")?.parse())?,
        revision: revision.map(|number| counter("revision", number)).transpose()?,
        target: row.try_get::<_, Option<Json<StoredTarget>>>("job_target")?.map(|Json(target)| target),
        until: until(row.try_get("until")?),
        state: state.ok_or(StoreError::Row { column: "state" })?,
        attempts: parsed("attempts", row.try_get::<_, i32>("attempts")?.try_into())?,
        outcome: outcome.map(|Json(outcome)| outcome),
        request_digest: row.try_get("job_digest")?,
        stream_sequence: sequence.map(|number| parsed("stream_sequence", number.try_into())).transpose()?,
        created_at: row.try_get("job_created_at")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
    }))
}

impl Store {
    /// A job of an order.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn job(&self, order: &OrderId, id: JobId) -> Result<Option<Job>, StoreError> {
        let sql = format!("select {COLUMNS} from jobs j where j.id = $2 and j.order_id = $1");
        self.row(&sql, &[&order.as_str(), &id.as_uuid()]).await?.map(|row| job(&row)).transpose()
    }

    /// The job that an order's idempotency key names.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn job_by_key(&self, order: &OrderId, key: &str) -> Result<Option<Job>, StoreError> {
        let sql = format!("select {COLUMNS} from jobs j where j.order_id = $1 and j.idempotency_key = $2");
        self.row(&sql, &[&order.as_str(), &key]).await?.map(|row| job(&row)).transpose()
    }

    /// The order's jobs, newest first, older than `after` where given.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn jobs(&self, order: &OrderId, after: Option<Sequence>, limit: usize) -> Result<Page<Job>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from jobs j where j.order_id = $1 and j.sequence < $2::bigint \
             order by j.sequence desc limit $3"
        );
        let after = after.and_then(|sequence| i64::try_from(sequence.get()).ok()).unwrap_or(i64::MAX);
        let limit_and_one = parsed("limit", i64::try_from(limit + 1))?;
        let rows = self.rows(&sql, &[&order.as_str(), &after, &limit_and_one]).await?;
        Ok(Page::cut(rows.iter().map(job).collect::<Result<_, _>>()?, limit))
    }

    /// How a region's jobs stand that have not ended, as this one sees them.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn queue(&self, job: &Job) -> Result<Queue, StoreError> {
        let sql = "select (select count(*) from ( \
                           select from jobs j where j.region = $1 and j.finished_at is null \
                           and (j.created_at, j.id) < ($2, $3) limit 1000) ahead) as ahead, \
                       coalesce(extract(epoch from now() - ( \
                           select min(j.created_at) from jobs j where j.region = $1 and j.finished_at is null \
                       )), 0)::bigint as oldest";
        let values: [&(dyn ToSql + Sync); 3] = [&job.region.as_str(), &job.created_at, &job.id.as_uuid()];
        let row = self.row(sql, &values).await?.ok_or(StoreError::Row { column: "ahead" })?;
        let number = |column: &'static str| parsed(column, u64::try_from(row.try_get::<_, i64>(column)?.max(0)));
        Ok(Queue { ahead: number("ahead")?, oldest_seconds: number("oldest")? })
    }

    /// Notes that a worker has begun a job. Comes too late harmlessly.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn job_started(&self, started: &JobStarted) -> Result<(), StoreError> {
        let sql = "update jobs set state = 'running', attempts = greatest(attempts, $2), \
                       started_at = coalesce(started_at, $3) \
                   where id = $1 and finished_at is null";
        let attempts = i32::try_from(started.attempts).unwrap_or(i32::MAX);
        self.execute(sql, &[&started.id.as_uuid(), &attempts, &started.started_at]).await?;
        Ok(())
    }

    /// Writes a job's end, and what it means for the order: what runs, and since when it is paid for. A target that did not
    /// come up, or was overtaken, stands in the cluster all the same, so for the order it counts as deployed. Where one that was
    /// the order's came to nothing, the order's is that of the newest job that may still come true. Only the first end that
    /// its own region told counts; any other changes nothing. Ends of one order are written in turn, two statements each.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn job_ended(&self, region: &RegionCode, result: &JobResult) -> Result<(), StoreError> {
        // Ends may come in any order: what runs follows the newest job, the paid time any job that succeeded with a pod. It begins
        // by this clock: those of regions may be wrong.
        let sql = "with ended as ( \
                 update jobs set state = $2, outcome = $3, attempts = $4, \
                     started_at = case when $4 > 0 then $5::timestamptz end, finished_at = $6, \
                     published_at = coalesce(published_at, $6) \
                 where id = $1 and region = $7 and order_id = $8 and finished_at is null \
                 returning order_id, target, sequence, state = 'succeeded' or ($9 and target is not null) as stands, \
                     state = 'succeeded' and target ->> 'run' = 'running' and verb not in ('expose', 'repair') as runs \
             ), newest as ( \
                 select sequence, target from jobs where order_id = $8 and finished_at is null and id <> $1 \
                 order by sequence desc limit 1 \
             ) \
             update orders o set updated_at = now(), \
                 deployed_sequence = case when e.stands then greatest(o.deployed_sequence, e.sequence) \
                     else o.deployed_sequence end, \
                 deployed = case when e.stands and coalesce(o.deployed_sequence, 0) < e.sequence then e.target \
                     else o.deployed end, \
                 target = case when e.stands or e.sequence <> o.target_sequence then o.target \
                     when n.sequence > coalesce(o.deployed_sequence, 0) then n.target else o.deployed end, \
                 target_sequence = case when e.stands or e.sequence <> o.target_sequence then o.target_sequence \
                     else greatest(n.sequence, o.deployed_sequence, 0) end, \
                 activated_at = case when e.runs then coalesce(o.activated_at, now()) else o.activated_at end, \
                 ends_at = case when e.runs then coalesce(o.ends_at, now() + make_interval(hours => o.duration_hours)) \
                     else o.ends_at end \
             from ended e left join newest n on true \
             where o.id = e.order_id and (e.sequence = o.target_sequence \
                 or (e.stands and (coalesce(o.deployed_sequence, 0) < e.sequence or o.activated_at is null)))";
        let values: [&(dyn ToSql + Sync); 9] = [
            &result.id.as_uuid(),
            &JobState::of(&result.outcome).as_column(),
            &Json(&result.outcome),
            &i32::try_from(result.attempts).unwrap_or(i32::MAX),
            &result.started_at,
            &result.finished_at,
            &region.as_str(),
            &result.order.as_str(),
            &matches!(result.outcome, Outcome::Unready(_) | Outcome::Overtaken { .. }),
        ];
        self.rows_in_turn(&result.order, sql, &values).await?;
        Ok(())
    }

    /// Forgets idempotency keys that are older than 24 hours (`wire.md` §6): so many at most, and says how many.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn forget_old_keys(&self) -> Result<u64, StoreError> {
        // What another instance is at is left to it.
        let sql = "with old as materialized ( \
                 select id from jobs where idempotency_key is not null and created_at < now() - interval '24 hours' \
                 limit 10000 for update skip locked \
             ) \
             update jobs j set idempotency_key = null, request_digest = null from old o where j.id = o.id";
        self.execute(sql, &[]).await
    }
}
