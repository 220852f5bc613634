//! PostgreSQL: the record. One file a table, SQL and nothing but SQL; neither HTTP nor NATS is known here. Every call is
//! one statement unless it says otherwise, so every call is one transaction.

pub mod acceptance;
pub mod digest;
pub mod domains;
pub mod history;
pub mod holdings;
pub mod jobs;
pub mod keys;
pub mod life;
pub mod log_anchors;
mod metadata;
mod migrations;
pub mod operator;
pub mod orders;
mod pool;
mod publishing;
pub mod queues;
pub mod repair;
pub mod revisions;
mod roles;
pub mod target;

#[cfg(test)]
mod tests;

pub use pool::{PostgresSettings, Store};

use tokio_postgres::error::SqlState;

/// Why PostgreSQL did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection was to be had in time, or it was lost: the pool is exhausted, or the server is away or silent.
    #[error("no connection to PostgreSQL")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The statement took longer than it may.
    #[error("a statement took too long")]
    Timeout(#[source] tokio_postgres::Error),
    /// A statement failed.
    #[error("a statement failed")]
    Statement(#[source] tokio_postgres::Error),
    /// A row holds what no code of ours wrote.
    #[error("column {column} cannot be read")]
    Row {
        /// Which column.
        column: &'static str,
    },
    /// The schema could not be brought up to date.
    #[error("migrations failed")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The schema is another than this program's, and the role that uses it may not change it.
    #[error(
        "the schema is at version {found}, and this program's is {needed}: run vkube-api migrate, or set \
         VKUBE_POSTGRES_OWNER_URL"
    )]
    Schema {
        /// What the last migration made it; 0 = there is none.
        found: i32,
        /// What it must be.
        needed: i32,
    },
    /// The connection settings cannot be used.
    #[error("wrong connection settings")]
    Settings(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(
                &(SqlState::QUERY_CANCELED
                | SqlState::T_R_DEADLOCK_DETECTED
                | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT),
            ) => Self::Timeout(error),
            Some(
                &(SqlState::ADMIN_SHUTDOWN
                | SqlState::CRASH_SHUTDOWN
                | SqlState::CANNOT_CONNECT_NOW
                | SqlState::READ_ONLY_SQL_TRANSACTION),
            ) => Self::Unavailable(Box::new(error)),
            None if error.is_closed() => Self::Unavailable(Box::new(error)),
            _ => Self::Statement(error),
        }
    }
}

impl StoreError {
    /// The unique constraint that a statement violated, if that is why it failed.
    fn violated(&self) -> Option<&str> {
        let Self::Statement(error) = self else { return None };
        error.as_db_error().filter(|e| *e.code() == SqlState::UNIQUE_VIOLATION).and_then(|e| e.constraint())
    }
}

/// Turns a column's text or number into the domain's own type.
fn parsed<T, E>(column: &'static str, value: Result<T, E>) -> Result<T, StoreError> {
    value.map_err(|_| StoreError::Row { column })
}

/// A page of a list: what to show, and whether more follows.
#[derive(Debug)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Whether there is at least one more.
    pub more: bool,
}

impl<T> Page<T> {
    /// A page out of `limit + 1` rows at most.
    fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }
}
