//! Orders that somebody changed by hand in their cluster, as its workers tell. Only an order at rest counts: whatever else is seen
//! is a job's work.

use common::name::{JobId, OrderId, RegionCode, Sequence};
use common::presence::Drift;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::history::{Detail, Event, SYSTEM};
use super::jobs::COLUMNS;
use super::life::{ALIVE, Taken, taken};
use super::{Store, StoreError, parsed};

/// How many repairs may follow one another at once; that somebody goes on changing the order is noted then.
const MANY: u32 = 3;

/// Of an order `o`: that it is to be what its target says, and no job of it is open. One whose time is over is about to be stopped.
fn at_rest() -> String {
    format!(
        "o.region = $1 and o.target is not null and {ALIVE} \
         and (o.ends_at is null or o.ends_at > now() or o.target ->> 'run' = 'stopped') \
         and not exists (select from jobs u where u.order_id = o.id and u.finished_at is null)"
    )
}

/// What was seen, `s`: of `$2` to `$5`.
const SEEN: &str = "seen as materialized ( \
     select * from unnest($2::text[], $3::integer[], $4::jsonb[], $5::boolean[]) as s (id, sequence, detail, left_so) \
 )";

/// The repairs of an order `o` since its last other job, `t`: how many, and when the last of them was accepted.
const IN_TURN: &str = "lateral (select count(*) as count, max(r.created_at) as at from jobs r \
     where r.order_id = o.id and r.verb = 'repair' and r.sequence > coalesce( \
         (select max(b.sequence) from jobs b where b.order_id = o.id and b.verb <> 'repair'), 0)) as t";

/// Of those: whether the next may follow: after [`MANY`] the next after 2 min, and ever later, up to a day. One of a time to come
/// was accepted while the clock was ahead.
fn rested() -> String {
    format!(
        "(t.count < {MANY} or t.at > now() \
         or t.at + least(interval '1 day', interval '2 min' * power(4, least(t.count - {MANY}, 10))) <= now())"
    )
}

/// What was seen of an order that was at rest after this job.
#[derive(Debug, Clone)]
pub struct Drifted {
    /// What was seen.
    pub drift: Drift,
    /// The place of the order's newest job.
    pub sequence: Sequence,
    /// Whether it is not to be repaired.
    pub is_left: bool,
}

/// The columns of [`SEEN`].
struct Seen<'a> {
    orders: Vec<&'a str>,
    sequences: Vec<i32>,
    details: Vec<Json<Detail>>,
    left: Vec<bool>,
}

impl<'a> Seen<'a> {
    fn of(drifted: &'a [Drifted]) -> Result<Self, StoreError> {
        let detail = |drift: &Drift| {
            let objects = drift.objects.iter().chain(&drift.volumes).cloned().collect();
            Json(Detail { objects: Some(objects), ..Detail::default() })
        };
        let sequences = drifted.iter().map(|one| parsed("sequence", one.sequence.get().try_into()));
        Ok(Self {
            orders: drifted.iter().map(|one| one.drift.order.as_str()).collect(),
            sequences: sequences.collect::<Result<_, _>>()?,
            details: drifted.iter().map(|one| detail(&one.drift)).collect(),
            left: drifted.iter().map(|one| one.is_left).collect(),
        })
    }
}

impl Store {
    /// Which of these orders of a region are at rest, and the place of the newest job of each.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn at_rest(
        &self,
        region: &RegionCode,
        orders: &[&OrderId],
    ) -> Result<Vec<(OrderId, Sequence)>, StoreError> {
        let sql = format!("select o.id, o.last_sequence from orders o where o.id = any($2) and {}", at_rest());
        let orders: Vec<&str> = orders.iter().map(|order| order.as_str()).collect();
        let rows = self.rows(&sql, &[&region.as_str(), &orders]).await?;
        let read = |row: &tokio_postgres::Row| {
            let (id, sequence): (String, i32) = (row.try_get("id")?, row.try_get("last_sequence")?);
            let sequence = u64::try_from(sequence).unwrap_or_default().try_into();
            Ok((parsed("id", id.try_into())?, parsed("last_sequence", sequence)?))
        };
        rows.iter().map(read).collect()
    }

    /// Accepts a job that repairs each of these orders of a region that is still at rest, and was not repaired a moment ago.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn accept_repairs(&self, region: &RegionCode, drifted: &[Drifted]) -> Result<Vec<Taken>, StoreError> {
        let (at_rest, rested, event) = (at_rest(), rested(), Event::Repaired.as_str());
        let sql = format!(
            "with {SEEN}, due as materialized ( \
                 select o.id, s.detail from seen s join orders o on o.id = s.id cross join {IN_TURN} \
                 where {at_rest} and o.last_sequence = s.sequence and not s.left_so and {rested} \
                 for update of o skip locked \
             ), numbered as ( \
                 select id, detail, ($6::uuid[])[row_number() over ()] as job from due \
             ), accepted as ( \
                 update orders o set last_sequence = o.last_sequence + 1, target_sequence = o.last_sequence + 1, \
                     updated_at = now() \
                 from numbered n where o.id = n.id returning o.id, o.region, o.last_sequence, o.target, n.job, n.detail \
             ), told as ( \
                 insert into history (order_id, actor, event, detail, job_id) \
                 select id, '{SYSTEM}', '{event}', detail, job from accepted \
             ) \
             insert into jobs as j (id, order_id, region, sequence, verb, revision, target) \
             select job, id, region, last_sequence, 'repair', (target ->> 'revision')::integer, target from accepted \
             returning {COLUMNS}, \
                 (select r.pod from revisions r where r.order_id = j.order_id and r.revision = j.revision) as pod"
        );
        let jobs: Vec<Uuid> = drifted.iter().map(|_| JobId::new().as_uuid()).collect();
        let Seen { orders, sequences, details, left } = Seen::of(drifted)?;
        let values: [&(dyn ToSql + Sync); 6] = [&region.as_str(), &orders, &sequences, &details, &left, &jobs];
        self.rows(&sql, &values).await?.iter().map(taken).collect()
    }

    /// Notes in the history of each of these orders of a region that is still at rest that it was changed, if it is to be left so or
    /// many repairs have come to nothing: once for each of its jobs. Answers of which it was noted now.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn note_drift(&self, region: &RegionCode, drifted: &[Drifted]) -> Result<Vec<OrderId>, StoreError> {
        let (at_rest, rested, event) = (at_rest(), rested(), Event::Drifted.as_str());
        let sql = format!(
            "with {SEEN} \
             insert into history (order_id, actor, event, detail, job_id) \
             select o.id, '{SYSTEM}', '{event}', s.detail, j.id \
             from seen s join orders o on o.id = s.id join jobs j on j.order_id = o.id and j.sequence = o.last_sequence \
                 cross join {IN_TURN} \
             where {at_rest} and o.last_sequence = s.sequence and (s.left_so or t.count >= {MANY} and not {rested}) \
             on conflict (order_id, job_id) where event = '{event}' do nothing returning order_id"
        );
        let Seen { orders, sequences, details, left } = Seen::of(drifted)?;
        let rows = self.rows(&sql, &[&region.as_str(), &orders, &sequences, &details, &left]).await?;
        rows.iter().map(|row| parsed("order_id", row.try_get::<_, String>("order_id")?.try_into())).collect()
    }
}
