//! What goes on in the record: the ends of jobs, as they come.

use std::sync::{Arc, Mutex};

use anyhow::Result;

use super::{LIST_EVERY, Seen, lock};
use crate::chaos::evidence::SeenEnd;
use crate::database::Database;

pub(super) async fn watch(database: Database, seen: Arc<Mutex<Seen>>) {
    loop {
        let looked = look(&database, &seen).await;
        lock(&seen).looked("record", looked);
        tokio::time::sleep(LIST_EVERY).await;
    }
}

/// Looks at all ends, as each of them must stay as it is.
async fn look(database: &Database, seen: &Mutex<Seen>) -> Result<()> {
    let client = database.connect().await?;
    let rows = client.query("select id::text, outcome::text from jobs where outcome is not null", &[]).await?;
    let mut seen = lock(seen);
    for row in rows {
        seen.ends.insert(SeenEnd { job: row.try_get(0)?, outcome: row.try_get(1)? });
    }
    Ok(())
}
