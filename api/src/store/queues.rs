//! Regions by the record: those that have orders, and their jobs that have not ended.

use common::name::{OrderId, RegionCode};
use tokio_postgres::Row;

use super::acceptance::is_full;
use super::{Store, StoreError, parsed};

/// The jobs of a region that have not ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Queue {
    /// The region.
    pub region: RegionCode,
    /// How many there are.
    pub jobs: u64,
    /// How long ago the oldest was accepted, in seconds, by PostgreSQL's clock.
    pub oldest_seconds: u64,
}

impl Store {
    /// Whether an order has so many jobs that have not ended that its customer's next one is refused.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn is_full(&self, order: &OrderId) -> Result<bool, StoreError> {
        let sql = format!("select {} as is_full", is_full());
        let row = self.row(&sql, &[&order.as_str()]).await?.ok_or(StoreError::Row { column: "is_full" })?;
        Ok(row.try_get("is_full")?)
    }

    /// The queue of every region that has one.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn queues(&self) -> Result<Vec<Queue>, StoreError> {
        let sql = "select region, count(*) as jobs, \
                       greatest(0, extract(epoch from now() - min(created_at)))::bigint as oldest \
                   from jobs where finished_at is null group by region order by region";
        let read = |row: &Row| {
            Ok(Queue {
                region: parsed("region", row.try_get::<_, String>("region")?.try_into())?,
                jobs: parsed("jobs", row.try_get::<_, i64>("jobs")?.try_into())?,
                oldest_seconds: parsed("oldest", row.try_get::<_, i64>("oldest")?.try_into())?,
            })
        };
        self.rows(sql, &[]).await?.iter().map(read).collect()
    }

    /// Every region that runs an order, or keeps one that is stopped, sorted.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn regions_in_use(&self) -> Result<Vec<RegionCode>, StoreError> {
        // From each region to the next, by the index: there are few of them and many orders.
        let next = |after: &str| {
            format!(
                "(select min(o.region) from orders o \
                 where o.aborted_at is null and o.deleted_at is null and o.deployed is not null {after})"
            )
        };
        let sql = format!(
            "with recursive used as (select {} as region union all select {} from used u where u.region is not null) \
             select region from used where region is not null",
            next(""),
            next("and o.region > u.region")
        );
        let read = |row: &Row| parsed("region", row.try_get::<_, String>("region")?.try_into());
        self.rows(&sql, &[]).await?.iter().map(read).collect()
    }
}
