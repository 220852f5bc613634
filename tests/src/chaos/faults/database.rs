//! PostgreSQL that is stopped, killed, stands still, lets nobody in, does not commit, or has no room left.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;
use tokio_postgres::Client;

use super::{Fault, Step, between};
use crate::chaos::world::World;

/// How often sessions are ended to take their connections.
const TAKEN_IN_ROUNDS: usize = 5;
/// More connections than there are.
const CONNECTIONS: usize = 100;

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// All connections end, and there are no new ones.
    Closed,
    /// It ends and disconnects all ("fast"), and starts again.
    Restarted,
    /// It ends and cleans nothing up ("immediate"), and starts again.
    Crashed,
    /// All its processes are killed, and it starts again.
    Killed,
    /// The process of one session is killed; it starts all others anew by itself.
    SessionKilled,
    /// All its processes stand still.
    Paused,
    /// Somebody else has all connections.
    Taken,
    /// Commits wait for a standby that is away, as long as a statement may last.
    CommitsHang,
    /// No file can grow, not its log of changes either.
    DiskFull,
}

/// A fault of PostgreSQL.
struct DatabaseFault {
    name: &'static str,
    deed: Deed,
    seconds: Range<u64>,
    /// Connections that somebody else has.
    taken: Vec<Client>,
}

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let faults = [
        ("postgres-closed", Deed::Closed, 1..8),
        ("postgres-restart", Deed::Restarted, 0..4),
        ("postgres-crash", Deed::Crashed, 0..4),
        ("postgres-kill", Deed::Killed, 0..8),
        ("postgres-session-kill", Deed::SessionKilled, 0..2),
        ("postgres-pause", Deed::Paused, 1..15),
        ("postgres-connections-taken", Deed::Taken, 1..12),
        ("postgres-commits-hang", Deed::CommitsHang, 1..12),
        ("postgres-disk-full", Deed::DiskFull, 1..12),
    ];
    let boxed = faults.into_iter().map(|(name, deed, seconds)| -> Box<dyn Fault> {
        Box::new(DatabaseFault { name, deed, seconds, taken: Vec::new() })
    });
    boxed.collect()
}

impl Fault for DatabaseFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        between(&self.seconds, random)
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        async move {
            match self.deed {
                Deed::Closed => world.system.database.allow_connections(false).await?,
                Deed::Restarted => world.postgres.stop(Signal::INT).await?,
                Deed::Crashed => world.postgres.stop(Signal::QUIT).await?,
                Deed::Killed => world.postgres.kill().await?,
                Deed::SessionKilled => {
                    let sessions = sessions(world).await?;
                    let session = sessions.choose(random).context("nobody is connected")?;
                    world.postgres.kill_session(u32::try_from(*session)?)?;
                    return Ok(format!("of {} sessions", sessions.len()));
                }
                Deed::Paused => world.postgres.pause().await?,
                Deed::Taken => {
                    self.taken = taken(world).await?;
                    return Ok(format!("{} connections", self.taken.len()));
                }
                Deed::CommitsHang => commits_wait(world, "away").await?,
                Deed::DiskFull => world.postgres.fill_disk()?,
            }
            Ok("the one server".to_owned())
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            match self.deed {
                Deed::Closed => world.system.database.allow_connections(true).await,
                Deed::Restarted | Deed::Crashed | Deed::Killed => world.postgres.start_again().await,
                Deed::SessionKilled => Ok(()),
                Deed::Paused => world.postgres.resume(),
                Deed::Taken => {
                    self.taken.clear();
                    Ok(())
                }
                Deed::CommitsHang => commits_wait(world, "").await,
                Deed::DiskFull => {
                    world.postgres.free_disk()?;
                    // It recovers by itself, or did not survive that its log of changes could not grow.
                    match world.postgres.ready().await {
                        Err(_) if world.postgres.has_ended()? => world.postgres.start_again().await,
                        ready => ready,
                    }
                }
            }
        }
        .boxed_local()
    }
}

/// The process of each session of the product.
async fn sessions(world: &World) -> Result<Vec<i32>> {
    let database = &world.system.database;
    let sql = "select pid from pg_stat_activity where datname = $1 and application_name <> 'e2e'";
    let rows = database.connect_beside().await?.query(sql, &[&database.name()]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Takes all connections, those that the product has too. Those that are kept for superusers are ours as well.
async fn taken(world: &World) -> Result<Vec<Client>> {
    let mut taken = vec![world.system.database.connect_beside().await?];
    for _ in 0..TAKEN_IN_ROUNDS {
        while taken.len() < CONNECTIONS {
            // The first refusal says that there are no more.
            let Ok(client) = world.system.database.connect_beside().await else { break };
            taken.push(client);
        }
        let first = taken.first().context("a connection")?;
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        if first.query(end, &[&world.system.database.name()]).await?.is_empty() {
            break;
        }
    }
    Ok(taken)
}

/// Has every commit wait for this standby; none = for nobody.
async fn commits_wait(world: &World, standby: &str) -> Result<()> {
    let admin = world.system.database.connect_beside().await?;
    // Not in one go: such a statement cannot be part of a transaction.
    admin.batch_execute(&format!("alter system set synchronous_standby_names = '{standby}'")).await?;
    admin.batch_execute("select pg_reload_conf()").await?;
    Ok(())
}
