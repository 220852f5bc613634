//! What operators change of orders besides making and ending them: each is one statement, which also writes the history.

use common::name::{OrderId, RegionCode};
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use super::digest::Digest;
use super::history::{Changed, Event, Word, key_taken};
use super::{Store, StoreError, life, orders, parsed};

/// What came of letting deletes pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Approved {
    /// This many.
    Yes(u32),
    /// Another request with the same key came first.
    KeyTaken,
}

impl Store {
    /// Gives an order more time: counted from its end, or from now if that is past. Not one that is aborted or deleted, nor
    /// one that would get more than `most` hours in all.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn extend_order(
        &self,
        id: &OrderId,
        hours: u32,
        most: u32,
        word: &Word<'_>,
    ) -> Result<Changed, StoreError> {
        // Whatever its old end brought about begins anew with the new one.
        let set = "duration_hours = o.duration_hours + $6, \
             ends_at = case when o.ends_at is not null then greatest(o.ends_at, now()) + make_interval(hours => $6) end, \
             warned_at = null, delete_approved_by = null, step_tries = 0, step_after = null";
        let only = "o.aborted_at is null and o.deleted_at is null and o.duration_hours + $6 <= $7";
        let (hours, most) = (parsed("hours", i32::try_from(hours))?, parsed("hours", i32::try_from(most))?);
        self.change(Event::Extended, set, only, id, word, &[&hours, &most]).await
    }

    /// Gives an order a new secret. The one before opens it for so many seconds more, and the one before that no longer.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn replace_secret(
        &self,
        id: &OrderId,
        secret_digest: &Digest,
        overlap_seconds: u32,
        word: &Word<'_>,
    ) -> Result<Changed, StoreError> {
        let set = "secret_digest = $6, secret_key = $8, old_secret_digest = case when $7::float8 > 0 then o.secret_digest end, \
             old_secret_until = case when $7 > 0 then now() + make_interval(secs => $7) end";
        let (current, key) = (secret_digest.current.as_slice(), secret_digest.key.to_string());
        let values: [&(dyn ToSql + Sync); 3] = [&current, &f64::from(overlap_seconds), &key];
        self.change(Event::SecretReplaced, set, "true", id, word, &values).await
    }

    /// Changes an order and writes its history: `$1` order, `$2` to `$5` the word, then `more`.
    pub(super) async fn change(
        &self,
        event: Event,
        set: &str,
        only: &str,
        id: &OrderId,
        word: &Word<'_>,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Changed, StoreError> {
        let sql = format!(
            "with changed as ( \
                 update orders o set {set}, updated_at = now() where o.id = $1 and {only} returning o.* \
             ), told as ( \
                 insert into history (order_id, actor, event, detail, idempotency_key, request_digest) \
                 select id, $2, '{}', $3, $4, $5 from changed \
             ) \
             select {} from changed o",
            event.as_str(),
            orders::COLUMNS
        );
        match self.told(&sql, &[&id.as_str()], word, more).await {
            Ok(Some(row)) => Ok(Changed::Yes(Box::new(orders::order(&row)?))),
            Ok(None) => Ok(Changed::No),
            Err(error) if key_taken(&error) => Ok(Changed::KeyTaken),
            Err(error) => Err(error),
        }
    }

    /// Lets those deletes of a region pass that are due now, however many.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn approve_deletes(
        &self,
        region: &RegionCode,
        delete_after_seconds: f64,
        word: &Word<'_>,
    ) -> Result<Approved, StoreError> {
        let sql = format!(
            "with due as materialized ( \
                 select o.id from orders o where o.region = $1 and {} and o.delete_approved_by is null \
                 order by o.id for update \
             ), approved as ( \
                 update orders o set delete_approved_by = $2 from due where o.id = due.id returning o.id \
             ), told as ( \
                 insert into history (order_id, actor, event, detail) select id, $2, 'delete_approved', $3 from approved \
             ) \
             insert into approvals (region, actor, orders, idempotency_key, request_digest) \
             select $1, $2, count(*), $4, $5 from approved returning orders",
            life::due_for_delete("$6")
        );
        match self.told(&sql, &[&region.as_str()], word, &[&delete_after_seconds]).await {
            Ok(row) => Ok(Approved::Yes(orders_of(&row.ok_or(StoreError::Row { column: "orders" })?)?)),
            Err(error) if error.violated() == Some("approvals_keys") => Ok(Approved::KeyTaken),
            Err(error) => Err(error),
        }
    }

    /// How many deletes an operator's key has let pass, and the HMAC of that request.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn approved_by_key(&self, region: &RegionCode, key: &str) -> Result<Option<(u32, Vec<u8>)>, StoreError> {
        let sql = "select orders, request_digest from approvals where region = $1 and idempotency_key = $2";
        let row = self.row(sql, &[&region.as_str(), &key]).await?;
        row.map(|row| Ok((orders_of(&row)?, row.try_get("request_digest")?))).transpose()
    }

    /// Runs a statement that has a word's four columns between its first values and the others.
    async fn told(
        &self,
        sql: &str,
        first: &[&(dyn ToSql + Sync)],
        word: &Word<'_>,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, StoreError> {
        let detail = Json(&word.detail);
        let (key, digest) = word.idempotency.map(|(key, digest)| (key, digest.as_slice())).unzip();
        let mut values = first.to_vec();
        values.extend_from_slice(&[&word.actor, &detail, &key, &digest]);
        values.extend_from_slice(more);
        self.row(sql, &values).await
    }
}

fn orders_of(row: &Row) -> Result<u32, StoreError> {
    parsed("orders", row.try_get::<_, i32>("orders")?.try_into())
}
