//! Orders as operators list them: page by page, newest first.

use common::name::{OrderId, RegionCode};
use jiff::Timestamp;
use tokio_postgres::types::ToSql;

use super::{COLUMNS, Order, ServiceStatus, order};
use crate::store::{Page, Store, StoreError, parsed};

/// One operator's view of the list of orders.
#[derive(Debug, Default)]
pub struct Filter {
    /// Only of this region.
    pub region: Option<RegionCode>,
    /// Only with exactly this e-mail address.
    pub email: Option<String>,
    /// Only in this state.
    pub status: Option<ServiceStatus>,
    /// Only older than this order, by time of making and id.
    pub after: Option<(Timestamp, OrderId)>,
}

impl Store {
    /// Orders, newest first.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn orders(&self, filter: &Filter, limit: usize) -> Result<Page<Order>, StoreError> {
        // Only what is asked for stands in the statement, so that each form is planned by the index that fits it.
        let only = |asked: bool, condition, everything| if asked { condition } else { everything };
        let region = only(filter.region.is_some(), "o.region = $3", "$3::text is null");
        let email = only(filter.email.is_some(), "o.email = $4", "$4::text is null");
        let newest = |which: &&str| {
            format!(
                "(select * from orders o where (o.created_at, o.id) < (coalesce($1::timestamptz, 'infinity'), \
                 coalesce($2::text, '')) and {region} and {email} and {which} \
                 order by o.created_at desc, o.id desc limit $5)"
            )
        };
        let statuses = filter.status.map_or(&["true"][..], ServiceStatus::conditions);
        let parts: Vec<String> = statuses.iter().map(newest).collect();
        let sql = format!(
            "select {COLUMNS} from ({}) o order by o.created_at desc, o.id desc limit $5",
            parts.join(" union all ")
        );
        let (after, after_id) = filter.after.as_ref().map(|(at, id)| (*at, id.as_str())).unzip();
        let values: [&(dyn ToSql + Sync); 5] = [
            &after,
            &after_id,
            &filter.region.as_ref().map(RegionCode::as_str),
            &filter.email,
            &parsed("limit", i64::try_from(limit + 1))?,
        ];
        let rows = self.rows(&sql, &values).await?;
        Ok(Page::cut(rows.iter().map(order).collect::<Result<_, _>>()?, limit))
    }
}
