//! Table `history`: who did what to an order, and when. Rows are only ever added, by the statement that does it. The
//! idempotency key of what makes no job stands in the row of what it did.

use common::name::OrderId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::jobs::{self, Job};
use super::orders::{self, Order};
use super::{Store, StoreError, parsed};

/// Who takes the steps of an order's life, as `actor`. No operator may have this name.
pub const SYSTEM: &str = "system";
/// Whose secret opens the order, as `actor`. No operator may have this name.
pub const CUSTOMER: &str = "customer";

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The order was made.
    Created,
    /// It got more time.
    Extended,
    /// It got a new secret.
    SecretReplaced,
    /// Its operator ended it.
    Aborted,
    /// An operator has let its delete pass, though many were due at once.
    DeleteApproved,
    /// Its end was near.
    Warned,
    /// Its end stopped it.
    Stopped,
    /// It was extended after that, and started again.
    Started,
    /// Its time was over for long, and it was deleted.
    Deleted,
    /// Its customer described it.
    Described,
    /// Its customer labelled it.
    Labelled,
    /// Somebody changed it by hand in its cluster.
    Drifted,
    /// That is put right.
    Repaired,
}

impl Event {
    const ALL: [Self; 13] = [
        Self::Created,
        Self::Extended,
        Self::SecretReplaced,
        Self::Aborted,
        Self::DeleteApproved,
        Self::Warned,
        Self::Stopped,
        Self::Started,
        Self::Deleted,
        Self::Described,
        Self::Labelled,
        Self::Drifted,
        Self::Repaired,
    ];

    /// The word in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Extended => "extended",
            Self::SecretReplaced => "secret_replaced",
            Self::Aborted => "aborted",
            Self::DeleteApproved => "delete_approved",
            Self::Warned => "warned",
            Self::Stopped => "stopped",
            Self::Started => "started",
            Self::Deleted => "deleted",
            Self::Described => "described",
            Self::Labelled => "labelled",
            Self::Drifted => "drifted",
            Self::Repaired => "repaired",
        }
    }
}

/// What else is to be said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// By how many hours it was extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u32>,
    /// For how long the secret before goes on opening it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<u32>,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was changed by hand, an object each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<String>>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// An operator's name, [`SYSTEM`] or [`CUSTOMER`].
    pub actor: String,
    /// What.
    pub event: Event,
    /// What else.
    pub detail: Detail,
    /// The job that it made; of [`Event::Drifted`], the newest job by then.
    pub job: Option<Uuid>,
}

/// What is said of a change: it stands in the history.
#[derive(Debug, Clone)]
pub struct Word<'a> {
    /// Who makes it.
    pub actor: &'a str,
    /// What else.
    pub detail: Detail,
    /// The operator's key and the HMAC of the request.
    pub idempotency: Option<(&'a str, &'a [u8; 32])>,
}

/// What came of an operator's change of an order.
#[derive(Debug)]
pub enum Changed {
    /// The order as it is now.
    Yes(Box<Order>),
    /// Another request with the same key came first.
    KeyTaken,
    /// The order is not there, or not as the change needs it.
    No,
}

/// What a key of an operator has done before.
#[derive(Debug)]
pub struct Earlier {
    /// HMAC of the request.
    pub request_digest: Vec<u8>,
    /// The job that it made; of [`Event::Drifted`], the newest job by then.
    pub job: Option<Job>,
}

/// Whether a statement failed because its key was used before.
pub(super) fn key_taken(error: &StoreError) -> bool {
    matches!(error.violated(), Some("history_keys" | "history_created_keys"))
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    let word: &str = row.try_get("event")?;
    let event = Event::ALL.into_iter().find(|event| event.as_str() == word);
    let Json(detail) = row.try_get("detail")?;
    Ok(Entry {
        at: row.try_get("at")?,
        actor: row.try_get("actor")?,
        event: event.ok_or(StoreError::Row { column: "event" })?,
        detail,
        job: row.try_get("job_id")?,
    })
}

impl Store {
    /// The newest entries of an order, newest first.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn history(&self, order: &OrderId, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let sql = "select at, actor, event, detail, job_id from history where order_id = $1 order by id desc limit $2";
        let limit = parsed("limit", i64::try_from(limit))?;
        self.rows(sql, &[&order.as_str(), &limit]).await?.iter().map(entry).collect()
    }

    /// What a key has done to an order: an operator's, or that of [`CUSTOMER`].
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn done_by_key(&self, order: &OrderId, actor: &str, key: &str) -> Result<Option<Earlier>, StoreError> {
        let sql = format!(
            "select h.request_digest, {} from history h left join jobs j on j.id = h.job_id \
             where h.order_id = $1 and h.idempotency_key = $2 and h.event <> 'created' \
                 and (h.actor = 'customer') = $3",
            jobs::COLUMNS
        );
        let row = self.row(&sql, &[&order.as_str(), &key, &(actor == CUSTOMER)]).await?;
        let read =
            |row: Row| Ok(Earlier { request_digest: row.try_get("request_digest")?, job: jobs::job_if_any(&row)? });
        row.map(read).transpose()
    }

    /// The order that an operator's key has made, and the HMAC of that request.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn made_by_key(&self, actor: &str, key: &str) -> Result<Option<(Order, Vec<u8>)>, StoreError> {
        let sql = format!(
            "select {}, h.request_digest from history h join orders o on o.id = h.order_id \
             where h.actor = $1 and h.idempotency_key = $2 and h.event = 'created'",
            orders::COLUMNS
        );
        let row = self.row(&sql, &[&actor, &key]).await?;
        row.map(|row| Ok((orders::order(&row)?, row.try_get("request_digest")?))).transpose()
    }

    /// Forgets operators' keys that are older than 24 hours (`wire.md` §6). Two statements.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn forget_old_operator_keys(&self) -> Result<u64, StoreError> {
        let forget = |table: &str| {
            format!(
                "with old as materialized ( \
                     select id from {table} where idempotency_key is not null and at < now() - interval '24 hours' \
                     for update skip locked \
                 ) \
                 update {table} t set idempotency_key = null, request_digest = null from old where t.id = old.id"
            )
        };
        Ok(self.execute(&forget("history"), &[]).await? + self.execute(&forget("approvals"), &[]).await?)
    }
}
