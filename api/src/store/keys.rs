//! Which keys are in use: those that the secrets of orders are kept under, and those of regions that values are sealed to.

use tokio_postgres::Row;

use super::{Store, StoreError};

/// How many orders are named of each key.
const NAMED: usize = 10;

/// A key in use.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyUsed {
    /// The key's id; none = of before keys of order secrets had ids.
    pub key: Option<String>,
    /// The region, of a region's key.
    pub region: Option<String>,
    /// How many orders need it.
    pub orders: i64,
    /// Some of these orders.
    pub some: Vec<String>,
}

impl Store {
    /// Under which keys the secrets of orders are kept. Only orders that may be opened count.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn secret_keys(&self) -> Result<Vec<KeyUsed>, StoreError> {
        let sql = format!(
            "select secret_key as key, null::text as region, count(*) as orders, (array_agg(id order by id))[1:{NAMED}] as some \
             from orders where aborted_at is null and deleted_at is null group by secret_key order by secret_key"
        );
        self.rows(&sql, &[]).await?.iter().map(used).collect()
    }

    /// Which keys of regions the values are sealed to that orders have in their regions or are about to have.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn region_keys(&self) -> Result<Vec<KeyUsed>, StoreError> {
        let sql = format!(
            "with needed as ( \
                 select id, region, deployed_revision as revision from orders where deployed_revision is not null \
                 union \
                 select order_id, region, revision from jobs where finished_at is null and revision is not null \
             ), sealed as ( \
                 select distinct n.id, n.region, split_part(value #>> '{{}}', '.', 1) as key from needed n \
                 join revisions r on r.order_id = n.id and r.revision = n.revision, \
                 lateral (select jsonb_path_query(r.pod, '$.containers[*].environment[*].value') \
                          union all select jsonb_path_query(r.pod, '$.containers[*].login.password')) v (value) \
             ) \
             select key, region, count(*) as orders, (array_agg(id order by id))[1:{NAMED}] as some from sealed \
             group by region, key order by region, key"
        );
        self.rows(&sql, &[]).await?.iter().map(used).collect()
    }
}

fn used(row: &Row) -> Result<KeyUsed, StoreError> {
    Ok(KeyUsed {
        key: row.try_get("key")?,
        region: row.try_get("region")?,
        orders: row.try_get("orders")?,
        some: row.try_get("some")?,
    })
}
