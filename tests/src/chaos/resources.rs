//! What the processes and servers of a system hold: memory, descriptors, connections, consumers.

use std::collections::BTreeMap;

use anyhow::Result;
use async_nats::jetstream;
use common::stream;

use super::evidence::Resource;
use super::world::World;

/// How much of each there is.
pub type Amounts = BTreeMap<String, u64>;

/// Measures all of it.
pub async fn measure(world: &mut World) -> Result<Amounts> {
    let mut amounts = Amounts::new();
    for part in world.parts() {
        let process = world.process(part)?;
        amounts.insert(format!("{part:?} memory MiB"), process.memory_bytes()? >> 20);
        amounts.insert(format!("{part:?} descriptors"), process.descriptors()?);
    }
    let connections = world.system.nats.connections().await?;
    let of_product = connections.iter().filter(|connection| connection.name != "e2e").count();
    amounts.insert("NATS connections".to_owned(), of_product as u64);
    let sql = "select count(*) from pg_stat_activity where datname = $1 and application_name <> 'e2e'";
    let beside = world.system.database.connect_beside().await?;
    let row = beside.query_one(sql, &[&world.system.database.name()]).await?;
    amounts.insert("PostgreSQL connections".to_owned(), u64::try_from(row.get::<_, i64>(0))?);
    let context = jetstream::new(world.system.nats.client().await?);
    for bucket in [stream::HOSTPORTS, stream::REGIONS] {
        let name = stream::bucket_stream(bucket);
        if let Ok(found) = context.get_stream(&name).await {
            amounts.insert(format!("{name} consumers"), found.cached_info().state.consumer_count as u64);
        }
    }
    Ok(amounts)
}

/// What there was before and after, and how much more than before there may be.
pub fn compared(before: &Amounts, after: &Amounts) -> Vec<Resource> {
    let most = |what: &str, before: u64| {
        if what.ends_with("MiB") {
            // Measured: 2 more after minutes of faults, once each has done some work.
            before + before / 4 + 8
        } else if what.ends_with("descriptors") {
            // As many as the pool may hold, and the connections of customers that come and go.
            before + 32
        } else if what.starts_with("PostgreSQL") {
            // As many as the pools may hold.
            before.max(2 * 16 + 2)
        } else {
            before
        }
    };
    let of = |(what, after): (&String, &u64)| {
        let before = before.get(what).copied().unwrap_or_default();
        Resource { what: what.clone(), before, after: *after, most: most(what, before) }
    };
    after.iter().map(of).collect()
}
