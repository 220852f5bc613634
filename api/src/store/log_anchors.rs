//! Table `log_anchors`: with which line a stream of a query began, so that the same query begins there again
//! (`wire.md` §5.1).

use common::log::{Mark, RunId};
use common::name::{ContainerName, OrderId};

use super::{Store, StoreError, parsed};

/// The most anchors of one order; those that were not used for longest go first.
const MAX_ANCHORS: i64 = 256;

/// A query whose streams all begin with the same line.
#[derive(Debug)]
pub struct AnchorKey<'a> {
    /// Whose log.
    pub order: &'a OrderId,
    /// Of which container.
    pub container: &'a ContainerName,
    /// Of which run of it.
    pub run: &'a RunId,
    /// Its last lines, counted.
    pub tail_lines: u32,
    /// Not older than this: seconds since 1970, 0 = however old.
    pub start_at: i64,
}

impl Store {
    /// The line with which streams of this query begin: the one that was kept first. None = the first of the log.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn log_anchor(&self, key: &AnchorKey<'_>, first: Option<Mark>) -> Result<Option<Mark>, StoreError> {
        let sql = "with surplus as ( \
                 delete from log_anchors where order_id = $1 \
                 and (container, run, tail_lines, start_at) <> ($2, $3, $4, $5) and used_at < ( \
                     select used_at from log_anchors where order_id = $1 order by used_at desc offset $8 limit 1) \
             ) \
             insert into log_anchors (order_id, container, run, tail_lines, start_at, time_ns, nth) \
             values ($1, $2, $3, $4, $5, $6, $7) \
             on conflict (order_id, container, run, tail_lines, start_at) do update set used_at = now() \
             returning time_ns, nth";
        let (time, nth) = (first.map(|mark| mark.time_ns), first.map(|mark| i64::from(mark.nth)));
        let (order, container, run) = (key.order.as_str(), key.container.as_str(), key.run.as_str());
        let tail = i64::from(key.tail_lines);
        let row = self
            .row(sql, &[&order, &container, &run, &tail, &key.start_at, &time, &nth, &(MAX_ANCHORS - 1)])
            .await?
            .ok_or(StoreError::Row { column: "time_ns" })?;
        let (time, nth): (Option<i64>, Option<i64>) = (row.try_get("time_ns")?, row.try_get("nth")?);
        time.zip(nth).map(|(time_ns, nth)| Ok(Mark { time_ns, nth: parsed("nth", nth.try_into())? })).transpose()
    }

    /// Forgets anchors that no query has used for a month, and those of orders that have ended.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn forget_old_log_anchors(&self) -> Result<u64, StoreError> {
        let sql = "delete from log_anchors a using orders o where o.id = a.order_id \
             and (a.used_at < now() - interval '30 days' or o.aborted_at is not null)";
        self.execute(sql, &[]).await
    }
}
