//! Accepted jobs on their way to the broker: which it has, and which it may not have or has lost.

use common::job;
use common::name::{JobId, Sequence};
use tokio_postgres::Row;
use uuid::Uuid;

use super::jobs::{self, COLUMNS, Job};
use super::{Store, StoreError, revisions};

impl Store {
    /// Notes that the broker has these jobs, each at its place in the stream of its region.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn jobs_published(&self, published: &[(JobId, u64)]) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = published.iter().map(|(id, _)| id.as_uuid()).collect();
        let sequences: Vec<i64> =
            published.iter().map(|(_, sequence)| (*sequence).try_into().unwrap_or(i64::MAX)).collect();
        // Rows are locked in one order, so that instances that mark the same jobs do not wait for each other in a circle.
        let sql = "with published as (select * from unnest($1::uuid[], $2::bigint[]) as p(id, sequence)), \
                   marked as materialized ( \
                       select j.id, p.sequence from jobs j join published p using (id) order by j.id for update of j) \
                   update jobs j set published_at = now(), stream_sequence = m.sequence from marked m where j.id = m.id";
        self.execute(sql, &[&ids, &sequences]).await?;
        Ok(())
    }

    /// Jobs that were accepted over `age_seconds` ago and that the broker may not have, oldest first, at most `limit` of
    /// each region.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn jobs_left(&self, age_seconds: f64, limit: i64) -> Result<Vec<job::Job>, StoreError> {
        let sql = format!(
            "select {COLUMNS}, r.pod from ( \
                 select j.*, row_number() over (partition by j.region order by j.created_at, j.id) as place \
                 from jobs j where j.finished_at is null and j.published_at is null \
                     and (j.created_at < now() - make_interval(secs => $1) or j.created_at > now()) \
             ) j left join revisions r on r.order_id = j.order_id and r.revision = j.revision \
             where j.place <= $2 order by j.created_at, j.id"
        );
        let rows = self.rows(&sql, &[&age_seconds, &limit]).await?;
        // One that a newer version of ours wrote stops no other.
        let readable = |row: &Row| match message(row) {
            Ok(message) => Some(message),
            Err(error) => {
                let job = row.try_get::<_, Uuid>("job_id").unwrap_or_default();
                tracing::error!(%job, error = &error as &dyn std::error::Error, "a job on record cannot be read");
                None
            }
        };
        Ok(rows.iter().filter_map(readable).collect())
    }

    /// Jobs that the broker had over `age_seconds` ago and that have not ended, those first that were longest not looked for,
    /// at most `limit`. Those that were cancelled are not among them: see [`jobs_cancelled`](Self::jobs_cancelled).
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn jobs_unheard(&self, age_seconds: f64, limit: i64) -> Result<Vec<Job>, StoreError> {
        // One that was marked in a time to come was so by a clock that was set back since.
        let sql = format!(
            "select {COLUMNS} from jobs j where j.finished_at is null and j.cancelled_at is null \
                 and (j.published_at < now() - make_interval(secs => $1) or j.published_at > now()) \
             order by j.published_at limit $2"
        );
        self.rows(&sql, &[&age_seconds, &limit]).await?.iter().map(jobs::job).collect()
    }

    /// Jobs that were cancelled over `age_seconds` ago, have been in the queue of their region and have not ended, oldest
    /// first, at most `limit` of each region; each with its canceller's sequence.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn jobs_cancelled(&self, age_seconds: f64, limit: i64) -> Result<Vec<(Job, Sequence)>, StoreError> {
        // Only an order's newest job is cancelled, and so by the next one.
        let sql = format!(
            "select {COLUMNS}, j.sequence + 1 as by from ( \
                 select j.*, row_number() over (partition by j.region order by j.cancelled_at, j.id) as place \
                 from jobs j where j.finished_at is null and j.stream_sequence is not null \
                     and (j.cancelled_at < now() - make_interval(secs => $1) or j.cancelled_at > now()) \
             ) j where j.place <= $2 order by j.cancelled_at, j.id"
        );
        let read = |row: &Row| Ok((jobs::job(row)?, jobs::counter("by", row.try_get("by")?)?));
        self.rows(&sql, &[&age_seconds, &limit]).await?.iter().map(read).collect()
    }
}

/// Rebuilds what a worker reads out of what is on record.
pub(super) fn message(row: &Row) -> Result<job::Job, StoreError> {
    let pod: Option<serde_json::Value> = row.try_get("pod")?;
    jobs::job(row)?.message(pod.map(revisions::pod).transpose()?)
}
