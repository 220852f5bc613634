//! The schema's history, embedded. refinery takes no lock of its own, so an advisory lock makes instances that start at
//! the same time wait for each other.

use std::time::Duration;

use refinery::Migration;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{StoreError, roles};

refinery::embed_migrations!("migrations");

/// Any number that nothing else in the database uses.
const LOCK: i64 = 0x0076_6b75_6265;
/// The longest that all migrations may take, and the wait for another instance's.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs every migration that has not run; if the role may not change the schema, makes sure that there is none.
pub(super) async fn run_or_check(client: &mut Client) -> Result<(), StoreError> {
    let may = "select coalesce(has_schema_privilege(current_schema(), 'create'), false)";
    if client.query_one(may, &[]).await?.try_get(0)? {
        return run(client, None).await;
    }
    let found = match client.query_one("select coalesce(max(version), 0) from refinery_schema_history", &[]).await {
        Ok(row) => row.try_get(0)?,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => 0,
        Err(error) => return Err(error.into()),
    };
    let needed = migrations::runner().get_migrations().iter().map(Migration::version).max().unwrap_or_default();
    if i64::from(found) == i64::from(needed) { Ok(()) } else { Err(StoreError::Schema { found, needed }) }
}

/// Runs every migration that has not run, and gives the role that uses the schema, if that is another, its rights.
pub(super) async fn run(client: &mut Client, user: Option<&str>) -> Result<(), StoreError> {
    let ran = async {
        // One migration, and the wait for another instance's, may take longer than a statement may.
        client.batch_execute("set statement_timeout = '60s'").await?;
        client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
        let ran = migrations::runner().run_async(client).await;
        ran.map_err(|error| StoreError::Migration(Box::new(error)))?;
        let owner: String = client.query_one("select current_user::text", &[]).await?.try_get(0)?;
        if let Some(user) = user.filter(|user| *user != owner) {
            roles::grant(client, user).await?;
        }
        client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await?;
        Ok(())
    };
    timeout(LIMIT, ran).await.unwrap_or_else(|elapsed| Err(StoreError::Unavailable(Box::new(elapsed))))
}
