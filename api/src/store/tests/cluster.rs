//! A PostgreSQL of the tests' own, on a free port: Debian's programs, run by `cluster.sh`. It ends with the process that
//! started it, however that ends.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::super::{PostgresSettings, Store};
use super::LIMIT;

/// The database that every other one is a copy of.
const TEMPLATE: &str = "migrated";

/// A server. It ends when its keeper's input does.
pub(super) struct Cluster {
    folder: PathBuf,
    port: u16,
    keeper: Child,
    databases: AtomicU32,
}

/// A database of a test's own, and a store on it.
pub(super) struct Database {
    pub(super) cluster: &'static Cluster,
    pub(super) name: String,
    pub(super) store: Store,
}

/// The server that all tests share.
pub(super) async fn shared() -> &'static Cluster {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let cluster = Cluster::start().await;
            cluster.create(TEMPLATE, "").await;
            let store = Store::new(&cluster.settings(TEMPLATE)).unwrap();
            store.migrate().await.unwrap();
            store.close();
            cluster
        })
        .await
}

/// A database for all tests that look at their own orders only.
pub(super) async fn shared_database() -> &'static Database {
    static SHARED: OnceCell<Database> = OnceCell::const_new();
    SHARED.get_or_init(database).await
}

/// A store on the shared database.
pub(super) async fn shared_store() -> Store {
    shared_database().await.store_with(|_| {})
}

/// A new database with the schema in it.
pub(super) async fn database() -> Database {
    let cluster = shared().await;
    let name = cluster.new_database(TEMPLATE).await;
    let store = Store::new(&cluster.settings(&name)).unwrap();
    Database { cluster, name, store }
}

impl Cluster {
    pub(super) async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("vkube-postgres-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let mut keeper = Command::new("sh");
        keeper.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/tests/cluster.sh"));
        keeper.arg(binaries()).arg(&folder).arg(port.to_string()).stdin(Stdio::piped());
        keeper.stdout(log.try_clone().unwrap()).stderr(log);
        let mut cluster = Self { folder, port, keeper: keeper.spawn().unwrap(), databases: AtomicU32::new(0) };
        cluster.ready().await;
        cluster.admin().await.batch_execute("create role vkube_owner login; create role vkube login").await.unwrap();
        cluster
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A file that `cluster.sh` made.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Settings for a database, without TLS: of the role that uses the schema, and the one that owns it.
    pub(super) fn settings(&self, database: &str) -> PostgresSettings {
        let url = |role| format!("postgres://{role}@127.0.0.1:{}/{database}?sslmode=disable", self.port);
        PostgresSettings { owner_url: Some(url("vkube_owner").into()), ..settings(&url("vkube")) }
    }

    /// Kills the server, as a crash would, and starts it again.
    pub(super) async fn restart(&mut self) {
        let log = self.log().len();
        self.keeper.stdin.as_mut().unwrap().write_all(b"restart\n").unwrap();
        let ended = async {
            while !self.log().get(log..).unwrap_or_default().contains("starting PostgreSQL") {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(LIMIT, ended).await.expect("the server does not end");
        self.ready().await;
    }

    /// All that the server has said.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap()
    }

    /// A copy of a database.
    pub(super) async fn new_database(&self, template: &str) -> String {
        let name = format!("t_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        // Files are copied in less time than pages are logged.
        self.create(&name, &format!("template {template} strategy file_copy")).await;
        name
    }

    async fn create(&self, name: &str, how: &str) {
        let admin = self.admin().await;
        admin.batch_execute(&format!("create database {name} owner vkube_owner {how}")).await.unwrap();
        admin.batch_execute(&format!("revoke all on database {name} from public")).await.unwrap();
        admin.batch_execute(&format!("grant connect on database {name} to vkube")).await.unwrap();
    }

    /// A connection of the tests' own.
    pub(super) async fn connect(&self, database: &str) -> Client {
        self.try_connect(database).await.unwrap()
    }

    async fn admin(&self) -> Client {
        self.connect("postgres").await
    }

    async fn try_connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        // Ends with its client.
        tokio::spawn(connection);
        Ok(client)
    }

    async fn ready(&mut self) {
        let answers = async {
            while self.try_connect("postgres").await.is_err() {
                let ended = self.keeper.try_wait().unwrap();
                let needs = "it needs the Debian packages postgresql, openssl and util-linux";
                assert!(ended.is_none(), "PostgreSQL does not start; {needs}:\n{}", self.log());
                time::sleep(Duration::from_millis(10)).await;
            }
        };
        let answers = time::timeout(LIMIT, answers).await;
        assert!(answers.is_ok(), "PostgreSQL does not answer:\n{}", self.log());
    }
}

impl Database {
    /// A connection beside the store's.
    pub(super) async fn beside(&self) -> Client {
        self.cluster.connect(&self.name).await
    }

    /// Runs statements beside the store.
    pub(super) async fn run(&self, sql: &str) {
        self.beside().await.batch_execute(sql).await.unwrap();
    }

    /// The one number that a statement gives.
    pub(super) async fn number(&self, sql: &str) -> i64 {
        self.beside().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Another store on the database.
    pub(super) fn store_with(&self, change: impl FnOnce(&mut PostgresSettings)) -> Store {
        let mut settings = self.cluster.settings(&self.name);
        change(&mut settings);
        Store::new(&settings).unwrap()
    }

    /// What the server's log says of this database, one entry each.
    pub(super) fn log(&self) -> Vec<String> {
        let prefix = format!("{} ", self.name);
        let (mut entries, mut ours) = (Vec::<String>::new(), false);
        for line in self.cluster.log().lines() {
            if let Some(more) = line.strip_prefix('\t') {
                if let Some(entry) = entries.last_mut().filter(|_| ours) {
                    entry.push('\n');
                    entry.push_str(more);
                }
                continue;
            }
            let entry = line.strip_prefix(&prefix);
            entries.extend(entry.map(str::to_owned));
            ours = entry.is_some();
        }
        entries
    }
}

/// Settings that no test waits long for.
pub(super) fn settings(url: &str) -> PostgresSettings {
    PostgresSettings {
        url: url.into(),
        owner_url: None,
        ca_file: None,
        pool_size: 8,
        wait_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(5),
    }
}

/// A program of PostgreSQL.
pub(super) fn program(name: &str) -> PathBuf {
    binaries().join(name)
}

/// Where the programs are: as `pg_config` says, else the newest of Debian's.
fn binaries() -> PathBuf {
    let is_server = |folder: &Path| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let said = Command::new("pg_config").arg("--bindir").output().ok();
    let said = said.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| {
        let folder = entry.ok()?.path();
        let version = folder.file_name()?.to_str()?.parse::<u32>().ok()?;
        Some((version, folder.join("bin")))
    });
    let newest = debian.filter(|(_, folder)| is_server(folder)).max().map(|(_, folder)| folder);
    said.filter(|folder| is_server(folder))
        .or(newest)
        .expect("no PostgreSQL server on this machine: install the Debian package postgresql")
}
