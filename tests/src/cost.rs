//! What a call costs, counted from outside: by the NATS server, by PostgreSQL and by the API server.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio_postgres::Client;

use crate::database::Database;
use crate::nats::Nats;
use crate::stack::Stack;

/// Messages of one client, counted by the NATS server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// Sent by the client.
    pub sent: u64,
    /// Sent to it.
    pub received: u64,
}

/// The messages of all connections whose name begins so.
pub async fn messages(nats: &Nats, prefix: &str) -> Result<Messages> {
    let mut total = Messages::default();
    let connections = nats.connections().await?;
    let ours = connections.iter().filter(|connection| connection.name.starts_with(prefix));
    let mut found = false;
    for connection in ours {
        found = true;
        total.sent += connection.in_msgs;
        total.received += connection.out_msgs;
    }
    anyhow::ensure!(found, "no connection is called {prefix}*: {connections:?}");
    Ok(total)
}

impl std::ops::Sub for Messages {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { sent: self.sent - earlier.sent, received: self.received - earlier.received }
    }
}

/// Counts the statements that a database is asked, without being counted.
pub struct Statements {
    beside: Client,
    database: String,
}

impl Statements {
    /// Counts for this database.
    pub async fn of(database: &Database) -> Result<Self> {
        Ok(Self { beside: database.connect_beside().await?, database: database.name().to_owned() })
    }

    /// Forgets what was counted.
    pub async fn forget(&self) -> Result<()> {
        let reset = "select pg_stat_statements_reset(0, (select oid from pg_database where datname = $1), 0)";
        self.beside.execute(reset, &[&self.database]).await?;
        Ok(())
    }

    /// Each statement since, with how often it was run.
    pub async fn counted(&self) -> Result<BTreeMap<String, i64>> {
        let count = "select query, sum(calls)::bigint from pg_stat_statements \
                     where dbid = (select oid from pg_database where datname = $1) group by query";
        let rows = self.beside.query(count, &[&self.database]).await?;
        Ok(rows.iter().map(|row| (row.get::<_, String>(0).to_lowercase(), row.get(1))).collect())
    }
}

/// Counts the requests that the API server answers.
#[derive(Debug)]
pub struct Requests {
    log: PathBuf,
    from: u64,
}

/// One request, as the API server's audit log has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What was done: `get`, `list`, `patch` ...
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// Who asked.
    #[serde(default)]
    pub user_agent: String,
    /// Logs and watches are noted when they begin as well.
    stage: Stage,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// Its answer begins; noted of logs and watches only.
    #[serde(rename = "ResponseStarted")]
    Begun,
    /// It is answered.
    #[serde(rename = "ResponseComplete")]
    Ended,
}

impl Requests {
    /// Counts from now on.
    pub fn from_now(stack: &Stack) -> Result<Self> {
        let log = stack.audit_log.clone();
        let from = std::fs::metadata(&log).context("there is no audit log")?.len();
        Ok(Self { log, from })
    }

    /// The requests of workers about this order that were answered since then.
    pub fn of_workers_about(&self, order: &str) -> Result<Vec<Request>> {
        self.at(Stage::Ended, order)
    }

    /// The requests of workers about this order that have come so far since then.
    pub fn at(&self, stage: Stage, order: &str) -> Result<Vec<Request>> {
        let mut file = std::fs::File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Request>(line).ok());
        let ours = |request: &Request| {
            request.stage == stage && request.user_agent.starts_with("vkube-worker") && request.uri.contains(order)
        };
        Ok(whole.filter(ours).collect())
    }
}
