//! Table `revisions`: every pod that was ever accepted for an order, whole.

use common::name::{OrderId, Revision};
use common::pod::Pod;
use jiff::Timestamp;

use super::{Store, StoreError, parsed};

/// One revision, without its contents.
#[derive(Debug)]
pub struct RevisionSummary {
    /// Its number.
    pub revision: Revision,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// A pod as the column holds it.
pub(super) fn pod(value: serde_json::Value) -> Result<Pod, StoreError> {
    parsed("pod", serde_json::from_value(value))
}

impl Store {
    /// The pod of a revision.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn pod(&self, order: &OrderId, revision: Revision) -> Result<Option<Pod>, StoreError> {
        let sql = "select pod from revisions where order_id = $1 and revision = $2";
        let number = parsed("revision", i32::try_from(revision.get()))?;
        let row = self.row(sql, &[&order.as_str(), &number]).await?;
        row.map(|row| pod(row.try_get("pod")?)).transpose()
    }

    /// The newest revisions of an order, newest first.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn revisions(&self, order: &OrderId, limit: i64) -> Result<Vec<RevisionSummary>, StoreError> {
        let sql = "select revision, created_at from revisions where order_id = $1 order by revision desc limit $2";
        let rows = self.rows(sql, &[&order.as_str(), &limit]).await?;
        rows.iter()
            .map(|row| {
                let number = u64::try_from(row.try_get::<_, i32>("revision")?).unwrap_or_default();
                Ok(RevisionSummary {
                    revision: parsed("revision", number.try_into())?,
                    created_at: row.try_get("created_at")?,
                })
            })
            .collect()
    }
}
