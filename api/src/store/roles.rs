//! The role that uses the schema and owns nothing of it: what it may do with the rows of each table. Whoever owns the schema
//! grants it, after each migration.

use tokio_postgres::Client;

use super::StoreError;

/// Of each table, what the product does with its rows. What `on conflict do update` and `for update` need is in it.
/// Of history nothing changes but the key of a request, which is forgotten after a day.
pub(super) const RIGHTS: [(&str, &[&str]); 9] = [
    ("approvals", &["insert", "select", "update (idempotency_key, request_digest)"]),
    ("delete_turns", &["insert", "select", "update"]),
    ("domains", &["delete", "insert", "select", "update"]),
    ("history", &["insert", "select", "update (idempotency_key, request_digest)"]),
    ("jobs", &["insert", "select", "update"]),
    ("log_anchors", &["delete", "insert", "select", "update"]),
    ("orders", &["insert", "select", "update"]),
    ("refinery_schema_history", &["select"]),
    ("revisions", &["insert", "select"]),
];

/// Gives a role these rights, and takes all others of these tables from it.
pub(super) async fn grant(client: &Client, role: &str) -> Result<(), StoreError> {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let grants = RIGHTS.map(|(table, rights)| {
        format!("revoke all on {table} from {role}; grant {} on {table} to {role};", rights.join(", "))
    });
    // One transaction: nobody who is at work misses a right for a moment.
    Ok(client.batch_execute(&grants.concat()).await?)
}
