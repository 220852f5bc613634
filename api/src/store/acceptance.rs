//! Accepting a change: one statement over orders, revisions and jobs, all or nothing.

use std::time::Duration;

use common::ingress::{Domain, Exposure};
use common::job::{Run, Until, Verb};
use common::name::{JobId, OrderId, RegionCode, Revision, Sequence};
use common::pod::Pod;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use super::history::{Word, key_taken};
use super::jobs::{self, Job};
use super::target::{Patch, Step};
use super::{Store, StoreError, domains, parsed, revisions};

/// A change to accept: its job.
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

/// The most jobs of an order that have not ended, from which on its customer's next one is refused: a region that is silent has
/// no more of it waiting. Those that come at the very same moment may be a few more.
pub const MAX_UNFINISHED: u32 = 32;

/// What came of accepting a change.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each request, and nearly always the large one")]
pub enum Accepted {
    /// The job will reach exactly one result.
    Yes(Job),
    /// Another request with the same key was accepted first.
    KeyTaken,
    /// The order has ended, or is not as the change needs it, or belongs to another region, or has too many jobs that have not
    /// ended, or the job's id was made too long ago, or a domain is another order's.
    No,
}

/// What a statement that accepts a job looks at.
#[derive(Debug, Clone, Copy)]
enum Looks {
    /// The row of the order, which it changes: as others have left it.
    AtOrder,
    /// The order's jobs too, so that it must come after whoever is ending one.
    AtJobs,
}

/// Of an order: whether its customer may change it.
const TAKES_CHANGES: &str = "aborted_at is null and deleted_at is null and (ends_at is null or ends_at > now())";

/// Of the order `$1`: whether it has so many jobs that have not ended that its customer's next one is refused.
pub(super) fn is_full() -> String {
    format!("exists (select from jobs u where u.order_id = $1 and u.finished_at is null offset {MAX_UNFINISHED} - 1)")
}

impl Store {
    /// Accepts a deploy: the order's next sequence and revision, the revision, the job and the idempotency key, in one
    /// statement, all or nothing. A pod that was changed from a revision of the order (`base`) is accepted while that is still
    /// the order's target, and runs if that does.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_deploy(
        &self,
        acceptance: &Acceptance<'_>,
        pod: &Pod,
        until: Until,
        base: Option<Revision>,
    ) -> Result<Accepted, StoreError> {
        let sql = format!(
            "with accepted as ( \
                 update orders set last_sequence = last_sequence + 1, last_revision = last_revision + 1, \
                     region = coalesce(region, $2), updated_at = now(), target_sequence = last_sequence + 1, \
                     target = case when $10::integer is null then coalesce(target, '{{}}') - 'stopped_by' else target end \
                         || jsonb_build_object('revision', last_revision + 1) || $9::jsonb \
                 where id = $1 and {TAKES_CHANGES} and not {} and (region is null or region = $2) \
                     and clock_timestamp() < $8 and ($10::integer is null or (target ->> 'revision')::integer = $10) \
                 returning last_sequence, last_revision, target \
             ), revised as ( \
                 insert into revisions (order_id, revision, pod) select $1, last_revision, $6 from accepted \
             ) \
             insert into jobs as j \
                 (id, order_id, region, sequence, verb, revision, until, target, idempotency_key, request_digest) \
             select $3, $1, $2, last_sequence, 'deploy', last_revision, $7, target, $4, $5 from accepted \
             returning {}",
            is_full(),
            jobs::COLUMNS
        );
        let made_at = acceptance.job.made_at();
        let not_after = made_at.checked_add(ACCEPTED_WITHIN).unwrap_or(made_at);
        let run = base.is_none().then_some(Run::Running);
        let patch = Patch { pod_job: Some(acceptance.job), run, exposure: None };
        let base = base.map(|revision| parsed("revision", i32::try_from(revision.get()))).transpose()?;
        self.accept(&sql, acceptance, &[&Json(pod), &jobs::until_str(until), &not_after, &Json(patch), &base]).await
    }

    /// Accepts a change that makes no revision. One statement, all or nothing. With the job comes its revision's pod; none = it was accepted a moment ago, and is to be
    /// read by itself.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_step(
        &self,
        acceptance: &Acceptance<'_>,
        verb: Verb,
        until: Until,
        step: Step,
    ) -> Result<(Accepted, Option<Pod>), StoreError> {
        let sql = format!(
            "with accepted as ( \
                 update orders set last_sequence = last_sequence + 1, updated_at = now(), \
                     target_sequence = last_sequence + 1, \
                     target = (target - 'stopped_by') || $8::jsonb || case when $10::boolean and target ->> 'run' = 'stopped' \
                         then jsonb_build_object('pod_job', $3::uuid) else '{{}}' end \
                 where id = $1 and {TAKES_CHANGES} and not {} and region = $2 and target is not null \
                     and (not $9::boolean or target ->> 'run' = 'running') \
                 returning last_sequence, target \
             ) \
             insert into jobs as j \
                 (id, order_id, region, sequence, verb, revision, until, target, idempotency_key, request_digest) \
             select $3, $1, $2, last_sequence, $6, (target ->> 'revision')::integer, $7, target, $4, $5 from accepted \
             returning {}, \
                 (select r.pod from revisions r where r.order_id = j.order_id and r.revision = j.revision) as pod",
            is_full(),
            jobs::COLUMNS
        );
        let Step { patch, needs_run, revives } = step;
        let (verb, until, patch) = (verb.as_str(), jobs::until_str(until), Json(patch));
        let row = match self
            .accepting(&sql, acceptance, &[&verb, &until, &patch, &needs_run, &revives], Looks::AtOrder)
            .await?
        {
            Ok(row) => row,
            Err(refused) => return Ok((refused, None)),
        };
        let pod: Option<serde_json::Value> = row.try_get("pod")?;
        Ok((Accepted::Yes(jobs::job(&row)?), pod.map(revisions::pod).transpose()?))
    }

    /// Accepts the order's end: it is aborted, and a job deletes what runs. One statement, all or nothing. The key is the
    /// operator's, in the word.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_abort(&self, acceptance: &Acceptance<'_>, word: &Word<'_>) -> Result<Accepted, StoreError> {
        let sql = format!(
            "with accepted as ( \
                 update orders set last_sequence = last_sequence + 1, updated_at = now(), aborted_at = now(), \
                     target = null, target_sequence = last_sequence + 1 \
                 where id = $1 and aborted_at is null and deleted_at is null and region = $2 \
                 returning last_sequence \
             ), told as ( \
                 insert into history (order_id, actor, event, detail, job_id, idempotency_key, request_digest) \
                 select $1, $6, 'aborted', $7, $3, $8, $9 from accepted \
             ) \
             insert into jobs as j (id, order_id, region, sequence, verb, idempotency_key, request_digest) \
             select $3, $1, $2, last_sequence, 'delete', $4, $5 from accepted \
             returning {}",
            jobs::COLUMNS
        );
        let (key, digest) = word.idempotency.map(|(key, digest)| (key, digest.as_slice())).unzip();
        self.accept(&sql, acceptance, &[&word.actor, &Json(&word.detail), &key, &digest]).await
    }

    /// Accepts a change of the order's domains, while its target is that of the sequence `base`: these become its own, and each
    /// is of one order. One statement; what it has claimed without accepting the change is free for others after a minute.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_expose(
        &self,
        acceptance: &Acceptance<'_>,
        base: Sequence,
        exposure: &Exposure,
        domains: &[Domain],
    ) -> Result<Accepted, StoreError> {
        let sql = format!(
            "with claimed as ( \
                 insert into domains (domain, order_id) select d, $1 from unnest($8::text[]) d \
                 on conflict (domain) do update set since = now() where domains.order_id = excluded.order_id \
                 returning domain \
             ), accepted as ( \
                 update orders set last_sequence = last_sequence + 1, updated_at = now(), \
                     target_sequence = last_sequence + 1, target = target || $6::jsonb \
                 where id = $1 and {TAKES_CHANGES} and not {} and region = $2 and target is not null \
                     and target_sequence = $7 \
                     and (select count(*) from claimed) = cardinality($8::text[]) \
                 returning last_sequence, target \
             ) \
             insert into jobs as j (id, order_id, region, sequence, verb, revision, target, idempotency_key, request_digest) \
             select $3, $1, $2, last_sequence, 'expose', (target ->> 'revision')::integer, target, $4, $5 from accepted \
             returning {}",
            is_full(),
            jobs::COLUMNS
        );
        let patch = Patch { exposure: Some(exposure.clone()), ..Patch::default() };
        let base = parsed("target_sequence", i32::try_from(base.get()))?;
        self.accept(&sql, acceptance, &[&Json(patch), &base, &domains::texts(domains)]).await
    }

    /// Accepts the job that takes back another, which is the order's newest and has not begun: its target is what the order was
    /// to be before that. Two statements, all or nothing: it looks at jobs that others may be ending.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_cancel(&self, acceptance: &Acceptance<'_>, cancelled: JobId) -> Result<Accepted, StoreError> {
        let sql = format!(
            "with cancelled as ( \
                 update jobs j set cancelled_at = now() from orders o \
                 where j.id = $6 and j.order_id = $1 and j.finished_at is null and j.state = 'queued' \
                     and j.verb not in ('delete', 'cancel') and o.id = $1 and {TAKES_CHANGES} \
                     and o.region = $2 and o.last_sequence = j.sequence \
                 returning j.sequence \
             ), before as ( \
                 select p.sequence, p.target from jobs p, cancelled c \
                 where p.order_id = $1 and p.finished_at is null and p.sequence < c.sequence \
                 order by p.sequence desc limit 1 \
             ), accepted as ( \
                 update orders o set last_sequence = o.last_sequence + 1, updated_at = now(), \
                     target_sequence = o.last_sequence + 1, \
                     target = case when exists (select from before b where b.sequence > coalesce(o.deployed_sequence, 0)) \
                         then (select target from before) else o.deployed end \
                 from cancelled where o.id = $1 \
                 returning o.last_sequence, o.target \
             ) \
             insert into jobs as j (id, order_id, region, sequence, verb, revision, target, idempotency_key, request_digest) \
             select $3, $1, $2, last_sequence, 'cancel', (target ->> 'revision')::integer, target, $4, $5 from accepted \
             returning {}",
            jobs::COLUMNS
        );
        let row = self.accepting(&sql, acceptance, &[&cancelled.as_uuid()], Looks::AtJobs).await?;
        accepted(row)
    }

    /// Runs a statement that accepts a job: `$1` order, `$2` region, `$3` job, `$4` key, `$5` digest, then `more`.
    async fn accept(
        &self,
        sql: &str,
        acceptance: &Acceptance<'_>,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Accepted, StoreError> {
        accepted(self.accepting(sql, acceptance, more, Looks::AtOrder).await?)
    }

    /// The row of the job that such a statement accepts, or why it does not.
    async fn accepting(
        &self,
        sql: &str,
        acceptance: &Acceptance<'_>,
        more: &[&(dyn ToSql + Sync)],
        looks: Looks,
    ) -> Result<Result<Row, Accepted>, StoreError> {
        let (order, region, job) = (acceptance.order.as_str(), acceptance.region.as_str(), acceptance.job.as_uuid());
        let (key, digest) = acceptance.idempotency.map(|(key, digest)| (key, digest.as_slice())).unzip();
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&order, &region, &job, &key, &digest];
        values.extend_from_slice(more);
        let rows = match looks {
            Looks::AtOrder => self.rows(sql, &values).await,
            Looks::AtJobs => self.rows_in_turn(acceptance.order, sql, &values).await,
        };
        match rows {
            Ok(mut rows) => Ok(rows.pop().ok_or(Accepted::No)),
            Err(error) => match error.violated() {
                _ if key_taken(&error) => Ok(Err(Accepted::KeyTaken)),
                Some("jobs_idempotency") => Ok(Err(Accepted::KeyTaken)),
                _ => Err(error),
            },
        }
    }
}

fn accepted(row: Result<Row, Accepted>) -> Result<Accepted, StoreError> {
    Ok(match row {
        Ok(row) => Accepted::Yes(jobs::job(&row)?),
        Err(refused) => refused,
    })
}
