//! Connections: a bounded pool whose users wait a bounded time, for a connection and for an answer, over TLS where the
//! server wants it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::name::OrderId;
use deadpool_postgres::{ClientWrapper, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{StoreError, migrations};

/// How much later than a statement's time its answer may come: past it, the server has gone silent.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// How PostgreSQL is reached.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database?sslmode=...`.
    pub url: SecretString,
    /// The same of the role that owns the schema; none = who uses it owns it, or somebody else migrates it.
    pub owner_url: Option<SecretString>,
    /// The CA that signed the server's certificate, in PEM; none = the system's.
    pub ca_file: Option<PathBuf>,
    /// The most connections at once.
    pub pool_size: usize,
    /// The longest wait for a connection.
    pub wait_timeout: Duration,
    /// The longest run of one statement.
    pub statement_timeout: Duration,
}

/// The record. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// Connections of who owns the schema.
    owner: Option<Pool>,
    answer_timeout: Duration,
}

impl Store {
    /// A store on this server. Connects when first used.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when a URL or the CA file cannot be read.
    pub fn new(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let owner = settings.owner_url.as_ref().map(|url| pool(settings, url, 1)).transpose()?;
        let pool = pool(settings, &settings.url, settings.pool_size)?;
        Ok(Self { pool, owner, answer_timeout: settings.statement_timeout + ANSWER_MARGIN })
    }

    /// Brings the schema up to date, or makes sure that it is if who uses it may not change it. Safe when several instances do
    /// it at once: one works, the others wait.
    ///
    /// # Errors
    /// When PostgreSQL is away or refuses a migration; [`StoreError::Schema`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let Some(owner) = &self.owner else {
            let mut client = own(&self.pool).await?;
            return migrations::run_or_check(&mut client).await;
        };
        let user =
            self.row("select current_user::text", &[]).await?.ok_or(StoreError::Row { column: "current_user" })?;
        let mut client = own(owner).await?;
        migrations::run(&mut client, Some(user.try_get(0)?)).await
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.execute("select 1", &[]).await?;
        Ok(())
    }

    /// Runs one statement and gives its rows.
    pub(super) async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        let client = self.client().await?;
        let answer = async { client.query(&client.prepare_cached(sql).await?, values).await };
        let answer = timeout(self.answer_timeout, answer).await;
        self.outcome(client, answer)
    }

    /// Runs one statement and gives the only row that it has, if any.
    pub(super) async fn row(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.pop())
    }

    /// Runs one statement and gives the number of rows that it changed.
    pub(super) async fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let answer = async { client.execute(&client.prepare_cached(sql).await?, values).await };
        let answer = timeout(self.answer_timeout, answer).await;
        self.outcome(client, answer)
    }

    /// Runs one statement that sees all that was done to an order before it, and gives its rows: two statements in one
    /// transaction, the first of which waits for the others.
    pub(super) async fn rows_in_turn(
        &self,
        order: &OrderId,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let lock = "select from orders where id = $1 for no key update";
        let mut client = self.client().await?;
        let answer = async {
            let transaction = client.transaction().await?;
            transaction.execute(&transaction.prepare_cached(lock).await?, &[&order.as_str()]).await?;
            let rows = transaction.query(&transaction.prepare_cached(sql).await?, values).await?;
            transaction.commit().await?;
            Ok(rows)
        };
        let answer = timeout(self.answer_timeout * 2, answer).await;
        self.outcome(client, answer)
    }

    /// A connection, within the pool's wait.
    async fn client(&self) -> Result<Object, StoreError> {
        get(&self.pool).await
    }

    /// What came of a statement. A server that is silent or cannot serve is not asked again over the connections that
    /// lead to it: the next ones may lead to another.
    fn outcome<T>(&self, client: Object, answer: Result<Result<T, Error>, Elapsed>) -> Result<T, StoreError> {
        let outcome = match answer {
            Ok(answer) => answer.map_err(StoreError::from),
            Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
        };
        if let Err(StoreError::Unavailable(_)) = &outcome {
            drop(Object::take(client));
            self.pool.retain(|_, _| false);
        }
        outcome
    }

    /// Closes every connection once it is given back.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// A bounded pool of connections to a URL.
fn pool(settings: &PostgresSettings, url: &SecretString, size: usize) -> Result<Pool, StoreError> {
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Settings(error);
    let mut config: tokio_postgres::Config = url.expose_secret().parse().map_err(|error| wrong(Box::new(error)))?;
    let options = config.get_options().unwrap_or_default();
    let timeout_ms = settings.statement_timeout.as_millis();
    // A connection that was cut in silence in the middle of a transaction holds its locks no longer than that.
    let options = format!(
        "{options} -c statement_timeout={timeout_ms} -c idle_in_transaction_session_timeout={timeout_ms} \
         -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    );
    config.application_name("vkube-api").connect_timeout(settings.wait_timeout).options(options);
    let tls = MakeRustlsConnect::new(tls_config(settings).map_err(wrong)?);
    let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let timeouts = Timeouts {
        wait: Some(settings.wait_timeout),
        create: Some(settings.wait_timeout),
        recycle: Some(settings.wait_timeout),
    };
    let pool = Pool::builder(manager).max_size(size).timeouts(timeouts).runtime(Runtime::Tokio1).build();
    pool.map_err(|error| wrong(Box::new(error)))
}

async fn get(pool: &Pool) -> Result<Object, StoreError> {
    pool.get().await.map_err(|error| StoreError::Unavailable(Box::new(error)))
}

/// A connection that is not given back: with it ends all that a broken migration leaves in its session, the lock above all.
async fn own(pool: &Pool) -> Result<ClientWrapper, StoreError> {
    Ok(Object::take(get(pool).await?))
}

/// TLS by the CA file, else by the system's certificates.
fn tls_config(settings: &PostgresSettings) -> Result<rustls::ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = rustls::RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => {
            for certificate in CertificateDer::pem_file_iter(file)? {
                roots.add(certificate?)?;
            }
            if roots.is_empty() {
                return Err(format!("no certificate in {}", file.display()).into());
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
