//! The schema's history, embedded. refinery takes no lock of its own, so an advisory lock makes instances that start at
//! the same time wait for each other.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::StoreError;

refinery::embed_migrations!("migrations");

/// Any number that nothing else in the database uses.
const LOCK: i64 = 0x0076_6b75_6265;
/// The longest that all migrations may take, and the wait for another instance's.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs every migration that has not run.
pub(super) async fn run(client: &mut Client) -> Result<(), StoreError> {
    let ran = async {
        // One migration, and the wait for another instance's, may take longer than a statement may.
        client.batch_execute("set statement_timeout = '60s'").await?;
        client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
        let ran = migrations::runner().run_async(client).await;
        ran.map_err(|error| StoreError::Migration(Box::new(error)))?;
        client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await?;
        Ok(())
    };
    timeout(LIMIT, ran).await.unwrap_or_else(|elapsed| Err(StoreError::Unavailable(Box::new(elapsed))))
}
