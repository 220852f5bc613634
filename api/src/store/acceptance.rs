//! Accepting a change: one statement over orders, revisions and jobs, all or nothing.

use std::time::Duration;

use common::job::Until;
use common::name::{JobId, OrderId, RegionCode};
use common::pod::Pod;
use tokio_postgres::types::{Json, ToSql};

use super::jobs::{self, Job};
use super::{Store, StoreError};

/// A change to accept: its job, and for a deploy the pod.
#[derive(Debug)]
pub struct Acceptance<'a> {
    /// The order.
    pub order: &'a OrderId,
    /// Where the job runs.
    pub region: &'a RegionCode,
    /// The job's id.
    pub job: JobId,
    /// The client's key and the HMAC of its request.
    pub idempotency: Option<(&'a str, &'a [u8; 32])>,
}

/// How old a deploy's id may be when it is accepted: its ports, reserved since, are free for others after a minute.
pub const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);

/// What came of accepting a change.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each request, and nearly always the large one")]
pub enum Accepted {
    /// The job will reach exactly one result.
    Yes(Job),
    /// Another request with the same key was accepted first.
    KeyTaken,
    /// The order has ended, or belongs to another region, or the job's id was made too long ago.
    No,
}

impl Store {
    /// Accepts a deploy: the order's next sequence and revision, the revision, the job and the idempotency key, in one
    /// statement, all or nothing.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_deploy(
        &self,
        acceptance: &Acceptance<'_>,
        pod: &Pod,
        until: Until,
    ) -> Result<Accepted, StoreError> {
        let sql = format!(
            "with accepted as ( \
                 update orders set last_sequence = last_sequence + 1, last_revision = last_revision + 1, \
                     region = coalesce(region, $2), updated_at = now() \
                 where id = $1 and aborted_at is null and (region is null or region = $2) \
                     and clock_timestamp() < $8 \
                 returning last_sequence, last_revision \
             ), revised as ( \
                 insert into revisions (order_id, revision, pod) select $1, last_revision, $6 from accepted \
             ) \
             insert into jobs as j \
                 (id, order_id, region, sequence, verb, revision, until, idempotency_key, request_digest) \
             select $3, $1, $2, last_sequence, 'deploy', last_revision, $7, $4, $5 from accepted \
             returning {}",
            jobs::COLUMNS
        );
        let made_at = acceptance.job.made_at();
        let not_after = made_at.checked_add(ACCEPTED_WITHIN).unwrap_or(made_at);
        self.accept(&sql, acceptance, &[&Json(pod), &jobs::until_str(until), &not_after]).await
    }

    /// Accepts the order's end: it is aborted, and a job deletes what runs. One statement, all or nothing.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_abort(&self, acceptance: &Acceptance<'_>) -> Result<Accepted, StoreError> {
        let sql = format!(
            "with accepted as ( \
                 update orders set last_sequence = last_sequence + 1, updated_at = now(), aborted_at = now() \
                 where id = $1 and aborted_at is null and region = $2 \
                 returning last_sequence \
             ) \
             insert into jobs as j (id, order_id, region, sequence, verb, idempotency_key, request_digest) \
             select $3, $1, $2, last_sequence, 'delete', $4, $5 from accepted \
             returning {}",
            jobs::COLUMNS
        );
        self.accept(&sql, acceptance, &[]).await
    }

    /// Runs a statement that accepts a job: `$1` order, `$2` region, `$3` job, `$4` key, `$5` digest, then `more`.
    async fn accept(
        &self,
        sql: &str,
        acceptance: &Acceptance<'_>,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Accepted, StoreError> {
        let (order, region, job) = (acceptance.order.as_str(), acceptance.region.as_str(), acceptance.job.as_uuid());
        let (key, digest) = acceptance.idempotency.map(|(key, digest)| (key, digest.as_slice())).unzip();
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&order, &region, &job, &key, &digest];
        values.extend_from_slice(more);
        match self.row(sql, &values).await {
            Ok(Some(row)) => Ok(Accepted::Yes(jobs::job(&row)?)),
            Ok(None) => Ok(Accepted::No),
            Err(error) if error.violated() == Some("jobs_idempotency") => Ok(Accepted::KeyTaken),
            Err(error) => Err(error),
        }
    }
}
