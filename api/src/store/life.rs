//! The steps of an order's life, taken when they are due by PostgreSQL's clock and by no other. Each call takes many at once in
//! one statement, all or nothing: the orders, locked while no other instance is at them, their jobs and their history. So a
//! step is taken once, however many instances there are and whenever they are there.

use common::job::{self, Verb};
use common::name::{JobId, OrderId, RegionCode};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::history::{Event, SYSTEM};
use super::jobs::{self, COLUMNS};
use super::publishing::message;
use super::{Store, StoreError, parsed};

/// The most steps of one kind that one statement takes.
pub const BATCH: usize = 100;

/// Of an order: neither aborted nor deleted.
pub(super) const ALIVE: &str = "o.aborted_at is null and o.deleted_at is null";
/// Of an order: no step of its life was tried a moment ago. No pause is longer than an hour: one that ends later was begun while
/// the clock was ahead.
const RESTED: &str = "(o.step_after is null or o.step_after <= now() or o.step_after > now() + interval '1 hour')";
/// When a step that came to nothing is tried again: after 30 s, and ever later, up to an hour.
const STEP_AFTER: &str = "now() + least(interval '1 hour', interval '30 s' * power(2, least(o.step_tries, 10)))";
/// How far back deletes are counted, so that they are not too many at once.
const DELETE_WINDOW: &str = "interval '1 hour'";

/// Of an order `o`: that it is to be deleted, as its end is so many seconds ago.
pub(super) fn due_for_delete(seconds: &str) -> String {
    format!("{ALIVE} and o.ends_at <= now() - make_interval(secs => {seconds})")
}

/// What may be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The order's time is over, and it runs.
    Stop,
    /// The order was extended after its end, and not its customer, had stopped it.
    Start,
    /// A delete has come to nothing, also that of an order that was aborted.
    DeleteAgain,
    /// The order's end is long ago, and an operator has let its delete pass.
    ApprovedDelete,
}

impl Due {
    fn step(self) -> Step {
        match self {
            Self::Stop => Step::Stop,
            Self::Start => Step::Start,
            Self::DeleteAgain | Self::ApprovedDelete => Step::Delete,
        }
    }

    /// Of an order `o`: whether it is.
    fn condition(self) -> String {
        match self {
            Self::Stop => format!("{ALIVE} and o.target ->> 'run' = 'running' and o.ends_at <= now() and {RESTED}"),
            Self::Start => format!(
                "{ALIVE} and o.target ->> 'stopped_by' = 'end' and o.target ->> 'run' = 'stopped' \
                 and o.ends_at > now() and {RESTED}"
            ),
            Self::DeleteAgain => {
                format!("(o.aborted_at is not null or o.deleted_at is not null) and o.target is not null and {RESTED}")
            }
            Self::ApprovedDelete => format!("{} and o.delete_approved_by is not null", due_for_delete("$2")),
        }
    }
}

/// A step that makes a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Stop,
    Start,
    Delete,
}

impl Step {
    fn verb(self) -> Verb {
        match self {
            Self::Stop => Verb::Stop,
            Self::Start => Verb::Start,
            Self::Delete => Verb::Delete,
        }
    }

    fn event(self) -> Event {
        match self {
            Self::Stop => Event::Stopped,
            Self::Start => Event::Started,
            Self::Delete => Event::Deleted,
        }
    }

    /// What it makes of the order, besides the order's next job.
    fn set(self) -> &'static str {
        match self {
            Self::Stop => "target = o.target || '{\"run\": \"stopped\", \"stopped_by\": \"end\"}'",
            Self::Start => {
                "target = (o.target - 'stopped_by') || jsonb_build_object('run', 'running', 'pod_job', n.job)"
            }
            Self::Delete => {
                "target = null, \
                 deleted_at = case when o.aborted_at is null then coalesce(o.deleted_at, now()) end"
            }
        }
    }

    /// The statement that takes it for `due`, a query for the ids of at most as many orders as `$1` has ids of jobs.
    fn statement(self, before: &str, due: &str) -> String {
        let (verb, event, set) = (self.verb().as_str(), self.event().as_str(), self.set());
        format!(
            "with {before} due as materialized ({due} for update of o skip locked), numbered as ( \
                 select id, ($1::uuid[])[row_number() over ()] as job from due \
             ), accepted as ( \
                 update orders o set last_sequence = o.last_sequence + 1, target_sequence = o.last_sequence + 1, {set}, \
                     step_tries = o.step_tries + 1, step_after = {STEP_AFTER}, updated_at = now() \
                 from numbered n where o.id = n.id returning o.id, o.region, o.last_sequence, o.target, n.job \
             ), told as ( \
                 insert into history (order_id, actor, event, job_id) select id, '{SYSTEM}', '{event}', job from accepted \
             ) \
             insert into jobs as j (id, order_id, region, sequence, verb, revision, target) \
             select job, id, region, last_sequence, '{verb}', (target ->> 'revision')::integer, target from accepted \
             returning {COLUMNS}, \
                 (select r.pod from revisions r where r.order_id = j.order_id and r.revision = j.revision) as pod"
        )
    }
}

/// A job that was accepted.
#[derive(Debug)]
pub struct Taken {
    /// Its id.
    pub job: JobId,
    /// Its order.
    pub order: OrderId,
    /// What it does.
    pub verb: Verb,
    /// What to publish; none = the order's revision was accepted a moment ago, and the relay is to read it.
    pub message: Option<job::Job>,
}

/// Reads a job that was accepted, and the pod of its revision.
pub(super) fn taken(row: &Row) -> Result<Taken, StoreError> {
    let job = jobs::job(row)?;
    let has_all = job.verb == Verb::Delete || row.try_get::<_, Option<serde_json::Value>>("pod")?.is_some();
    let message = has_all.then(|| message(row)).transpose()?;
    Ok(Taken { job: job.id, order: job.order, verb: job.verb, message })
}

impl Store {
    /// Notes that orders' ends are near: so many seconds away, or a tenth of their time if that is less.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn warn_of_ends(&self, warn_seconds: f64) -> Result<u64, StoreError> {
        let sql = format!(
            "with due as materialized ( \
                 select o.id from orders o where {ALIVE} and o.warned_at is null and o.ends_at > now() \
                     and o.ends_at <= now() + make_interval(secs => $1) \
                     and o.ends_at <= now() + make_interval(secs => o.duration_hours * 360) \
                 order by o.ends_at limit $2 for update of o skip locked \
             ), warned as ( \
                 update orders o set warned_at = now() from due where o.id = due.id returning o.id \
             ) \
             insert into history (order_id, actor, event) select id, '{SYSTEM}', 'warned' from warned"
        );
        self.execute(&sql, &[&warn_seconds, &limit()]).await
    }

    /// Takes steps of a kind that are due, at most [`BATCH`] of them. Orders are deleted so many seconds after their end.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn take_steps(&self, due: Due, delete_after_seconds: f64) -> Result<Vec<Taken>, StoreError> {
        let which = due.condition();
        let sql = format!("select o.id from orders o where {which} order by o.ends_at limit cardinality($1::uuid[])");
        let sql = due.step().statement("", &sql);
        match due {
            Due::Stop | Due::Start | Due::DeleteAgain => self.take(&sql, &[]).await,
            Due::ApprovedDelete => self.take(&sql, &[&delete_after_seconds]).await,
        }
    }

    /// Deletes orders of a region whose end is so long ago: within an hour at most a tenth of those that are there, and one
    /// at least.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_deletes(&self, region: &RegionCode, after_seconds: f64) -> Result<Vec<Taken>, StoreError> {
        // Who waits for another's turn to end counts by what it saw before, without the other's deletes: its turn is over.
        let before = format!(
            "turn as ( \
                 insert into delete_turns as t (region) values ($3) on conflict (region) do update set turn = t.turn + 1 \
                 where t.turn = (select seen.turn from delete_turns seen where seen.region = $3) returning t.region \
             ), recent as ( \
                 select count(*) as orders from orders o where o.region = $3 \
                     and o.deleted_at > now() - {DELETE_WINDOW} and o.delete_approved_by is null \
             ), there as ( \
                 select count(*) as orders from orders o where o.region = $3 and {ALIVE} and o.deployed is not null \
             ), allowed as ( \
                 select greatest(1, (there.orders + recent.orders) / 10) - recent.orders as orders from there, recent \
             ),"
        );
        let due = format!(
            "select o.id from orders o where o.region = $3 and {} and o.delete_approved_by is null order by o.ends_at \
             limit coalesce( \
                 (select greatest(0, least(allowed.orders, cardinality($1::uuid[]))) from allowed, turn), 0)",
            due_for_delete("$2")
        );
        self.take(&Step::Delete.statement(&before, &due), &[&after_seconds, &region.as_str()]).await
    }

    /// How many orders of each region are to be deleted and are not yet, as they are too many at once.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn deletes_held(&self, after_seconds: f64) -> Result<Vec<(RegionCode, u64)>, StoreError> {
        let sql = format!(
            "select o.region, count(*) as held from orders o where {} and o.delete_approved_by is null \
             group by o.region order by o.region",
            due_for_delete("$1")
        );
        let read = |row: &Row| {
            let region = parsed("region", row.try_get::<_, String>("region")?.try_into())?;
            Ok((region, parsed("held", row.try_get::<_, i64>("held")?.try_into())?))
        };
        self.rows(&sql, &[&after_seconds]).await?.iter().map(read).collect()
    }

    async fn take(&self, sql: &str, more: &[&(dyn ToSql + Sync)]) -> Result<Vec<Taken>, StoreError> {
        let jobs: Vec<Uuid> = (0..BATCH).map(|_| JobId::new().as_uuid()).collect();
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&jobs];
        values.extend_from_slice(more);
        self.rows(sql, &values).await?.iter().map(taken).collect()
    }
}

fn limit() -> i64 {
    i64::try_from(BATCH).unwrap_or(i64::MAX)
}
