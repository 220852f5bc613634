//! The ports that orders need, by the record: what the port ledger follows.

use std::collections::{BTreeMap, BTreeSet};

use common::name::{JobId, OrderId, RegionCode, Sequence};
use common::port::HostPort;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::jobs::counter;
use super::{Store, StoreError, parsed, revisions};

/// The ports that an order needs, by the record.
#[derive(Debug, Default)]
pub struct Holdings {
    /// When this was so, by PostgreSQL's clock.
    pub at: Timestamp,
    /// Of the revision that runs, with the sequence of the job that deployed it.
    pub deployed: Option<(Sequence, BTreeSet<HostPort>)>,
    /// Of each deploy that has not ended.
    pub pending: Vec<(JobId, BTreeSet<HostPort>)>,
}

impl Store {
    /// The ports that an order needs now in a region.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn holdings(&self, region: &RegionCode, order: &OrderId) -> Result<Holdings, StoreError> {
        let sql = "select clock_timestamp() as at, h.* from (select) one left join ( \
                       select null::uuid as job_id, o.deployed_sequence as sequence, r.pod from orders o \
                       join revisions r on r.order_id = o.id and r.revision = o.deployed_revision \
                       where o.id = $1 and o.region = $2 \
                       union all \
                       select j.id, j.sequence, r.pod from jobs j \
                       join revisions r on r.order_id = j.order_id and r.revision = j.revision \
                       where j.order_id = $1 and j.region = $2 and j.finished_at is null \
                   ) h on true order by h.sequence";
        let mut holdings = Holdings::default();
        for row in self.rows(sql, &[&order.as_str(), &region.as_str()]).await? {
            holdings.at = row.try_get("at")?;
            let Some(pod) = row.try_get("pod")? else { continue };
            let ports = revisions::pod(pod)?.host_ports().collect();
            match row.try_get::<_, Option<Uuid>>("job_id")? {
                Some(job) => holdings.pending.push((job.into(), ports)),
                None => holdings.deployed = Some((counter("sequence", row.try_get("sequence")?)?, ports)),
            }
        }
        Ok(holdings)
    }

    /// The ports of every order's deployed revision.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn deployed_ports(&self) -> Result<BTreeMap<(RegionCode, OrderId), BTreeSet<HostPort>>, StoreError> {
        let sql = "select o.region, o.id, port ->> 'protocol' as protocol, (port ->> 'host_port')::integer as port from orders o \
                   join revisions r on r.order_id = o.id and r.revision = o.deployed_revision, \
                   jsonb_path_query(r.pod, '$.containers[*].ports[*] ? (@.host_port != null)') port";
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for row in self.rows(sql, &[]).await? {
            let region = parsed("region", row.try_get::<_, String>("region")?.try_into())?;
            let order = parsed("id", row.try_get::<_, String>("id")?.try_into())?;
            let port = parsed("port", i64::from(row.try_get::<_, i32>("port")?).try_into())?;
            let protocol = parsed("protocol", serde_json::from_value(row.try_get::<_, String>("protocol")?.into()))?;
            all.entry((region, order)).or_default().insert(HostPort { protocol, port });
        }
        Ok(all)
    }

    /// Every order that holds ports, by the record, and where.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn orders_with_ports(&self) -> Result<Vec<(RegionCode, OrderId)>, StoreError> {
        let sql = "select o.region, o.id from orders o where o.region is not null and (o.deployed_revision is not null \
                   or exists (select 1 from jobs j where j.order_id = o.id and j.finished_at is null))";
        let read = |row: &Row| {
            let region = parsed("region", row.try_get::<_, String>("region")?.try_into())?;
            Ok((region, parsed("id", row.try_get::<_, String>("id")?.try_into())?))
        };
        self.rows(sql, &[]).await?.iter().map(read).collect()
    }
}
