//! A database of a system's own, on the stack's PostgreSQL or on one that may be broken.

use anyhow::{Context as _, Result};
use tokio_postgres::{Client, Config, NoTls};

use crate::stack::Stack;

/// Makes the roles of `deploy/postgres`, also when several tests do at once.
const ROLES: &str = "do $$ begin \
         create role vkube_owner login; create role vkube login; \
     exception when duplicate_object or unique_violation then null; end $$";

/// A database that nobody else uses.
#[derive(Debug, Clone)]
pub struct Database {
    name: String,
    server: String,
}

/// A connection as the superuser, to a database of the server. It ends when the client is dropped.
pub(crate) async fn connect(server: &str, database: &str) -> Result<Client> {
    let mut config: Config = server.parse()?;
    config.dbname(database).application_name("e2e");
    let (client, connection) = config.connect(NoTls).await.context("cannot connect to PostgreSQL")?;
    tokio::spawn(connection);
    Ok(client)
}

impl Database {
    /// Makes an empty database on the server of this URL. Unless it is `durable`, nobody waits for the disk.
    pub async fn create(server: &str, name: &str, durable: bool) -> Result<Self> {
        let (name, server) = (format!("e2e_{}", name.replace('-', "_")), server.to_owned());
        let admin = connect(&server, "postgres").await?;
        admin.batch_execute("create extension if not exists pg_stat_statements").await.ok();
        admin.batch_execute(ROLES).await?;
        admin.batch_execute(&format!("create database {name} owner vkube_owner")).await?;
        admin.batch_execute(&format!("revoke all on database {name} from public")).await?;
        admin.batch_execute(&format!("grant connect on database {name} to vkube")).await?;
        if !durable {
            admin.batch_execute(&format!("alter database {name} set synchronous_commit = off")).await?;
        }
        Ok(Self { name, server })
    }

    /// Removes what earlier runs left in a stack that stays.
    pub async fn remove_old(stack: &Stack) -> Result<()> {
        let admin = connect(&stack.database_url, "postgres").await?;
        for row in admin.query("select datname from pg_database where datname like 'e2e\\_%'", &[]).await? {
            let name: &str = row.get(0);
            admin.batch_execute(&format!("drop database {name} with (force)")).await?;
        }
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL, for an api: with the role that only uses it.
    pub fn url(&self) -> Result<String> {
        let (server, _) = self.server.rsplit_once('/').context("a database URL has a path")?;
        Ok(format!("{}/{}", server.replacen("//postgres@", "//vkube@", 1), self.name))
    }

    /// The same URL with the role that owns the schema.
    pub fn owner_url(url: &str) -> String {
        url.replacen("//vkube@", "//vkube_owner@", 1)
    }

    /// A connection to it.
    pub async fn connect(&self) -> Result<Client> {
        connect(&self.server, &self.name).await
    }

    /// A connection to the server, of which nothing is counted for this database.
    pub async fn connect_beside(&self) -> Result<Client> {
        connect(&self.server, "postgres").await
    }

    /// Ends all connections to it and lets nobody in, or lets everybody in again.
    pub async fn allow_connections(&self, allow: bool) -> Result<()> {
        let admin = self.connect_beside().await?;
        let name = &self.name;
        admin.batch_execute(&format!("alter database {name} with allow_connections {allow}")).await?;
        if !allow {
            let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
            admin.query(end, &[name]).await?;
        }
        Ok(())
    }
}
