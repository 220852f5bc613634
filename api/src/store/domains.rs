//! Table `domains`: which order a domain belongs to.

use common::ingress::Domain;
use common::name::OrderId;
use tokio_postgres::Row;

use super::{Store, StoreError, parsed};

/// The text of each domain, as the column holds it.
pub(super) fn texts(domains: &[Domain]) -> Vec<&str> {
    domains.iter().map(Domain::as_str).collect()
}

impl Store {
    /// Frees those of some domains that their order does not name any more: neither as its target, nor in its region, nor by a
    /// job that has not ended. One that was asked for within the last minute stays, as a statement that accepts it may have
    /// begun before this one. Rows are locked in the order in which that one claims them.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn free_domains(&self, domains: &[Domain]) -> Result<u64, StoreError> {
        let sql = "with locked as materialized ( \
                       select domain from domains where domain = any($1) order by domain collate \"C\" for update \
                   ) \
                   delete from domains d using locked where d.domain = locked.domain \
                   and d.since < now() - interval '1 minute' \
                   and not exists ( \
                       select from orders o where o.id = d.order_id \
                       and (o.target #> '{exposure,bound,domains}' ? d.domain \
                           or o.deployed #> '{exposure,bound,domains}' ? d.domain)) \
                   and not exists ( \
                       select from jobs j where j.order_id = d.order_id and j.finished_at is null \
                       and j.target #> '{exposure,bound,domains}' ? d.domain)";
        self.execute(sql, &[&texts(domains)]).await
    }

    /// Those of some domains that belong to other orders.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn domains_of_others(&self, order: &OrderId, domains: &[Domain]) -> Result<Vec<Domain>, StoreError> {
        let sql = "select domain from domains where domain = any($2) and order_id <> $1 order by domain";
        let read = |row: &Row| parsed("domain", row.try_get::<_, String>("domain")?.try_into());
        self.rows(sql, &[&order.as_str(), &texts(domains)]).await?.iter().map(read).collect()
    }
}
