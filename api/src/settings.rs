//! Every setting of `vkube-api`, with its default: the one place that knows them.

mod http;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use common::login::{self, Login};
use common::settings::{Reader, Setting, SettingsError};
use common::telemetry::TelemetrySettings;
use secrecy::SecretString;

use crate::app::AppSettings;
use crate::app::admission::AdmissionSettings;
use crate::app::life::LifeSettings;
use crate::app::secret::SecretKeys;
use crate::bus::BusSettings;
use crate::registry::RegistrySettings;
use crate::rest::{EdgeSettings, ServerSettings};
use crate::store::PostgresSettings;
use crate::store::history::{CUSTOMER, SYSTEM};

const NATS_REPLICAS: Setting =
    Setting::new("VKUBE_NATS_REPLICAS", "1", "Copies of each stream in a NATS cluster: 1, 3 or 5.");
const NATS_CONNECT_TIMEOUT_MS: Setting = Setting::new(
    "VKUBE_NATS_CONNECT_TIMEOUT_MS",
    "10000",
    "Longest wait for NATS at start-up, in milliseconds; then the process ends.",
);
const POSTGRES_URL: Setting = Setting::without_default(
    "VKUBE_POSTGRES_URL",
    "PostgreSQL as postgres://user:password@host/database, with ?sslmode=require for TLS. Must be set.",
);
const POSTGRES_OWNER_URL: Setting = Setting::without_default(
    "VKUBE_POSTGRES_OWNER_URL",
    "The same with the role that owns the schema: it migrates and gives the other its rights. Not for calls. Unless set, the \
     role of VKUBE_POSTGRES_URL migrates if it may, else vkube-api migrate has to.",
);
const POSTGRES_CA_FILE: Setting = Setting::without_default(
    "VKUBE_POSTGRES_CA_FILE",
    "CA that signed PostgreSQL's certificate, in PEM; the system's unless set.",
);
const POSTGRES_POOL_SIZE: Setting = Setting::new("VKUBE_POSTGRES_POOL_SIZE", "16", "Most connections to PostgreSQL.");
const POSTGRES_WAIT_TIMEOUT_MS: Setting = Setting::new(
    "VKUBE_POSTGRES_WAIT_TIMEOUT_MS",
    "2000",
    "Longest wait for a connection, in milliseconds; then the answer is 503.",
);
const POSTGRES_STATEMENT_TIMEOUT_MS: Setting =
    Setting::new("VKUBE_POSTGRES_STATEMENT_TIMEOUT_MS", "5000", "Longest run of one statement, in milliseconds.");
const SECRET_KEY_FILES: Setting = Setting::without_default(
    "VKUBE_SECRET_KEY_FILES",
    "Files with keys of 32 bytes, in hex, divided by commas: order secrets are kept under the first, those kept under the \
     others still open. Must be set.",
);
const OPERATOR_TOKENS: Setting = Setting::without_default(
    "VKUBE_OPERATOR_TOKENS",
    "Operators as name:token, divided by commas; tokens of 16 characters or more. Without any, /admin answers 404.",
);
const REGISTRY_MIRROR: Setting =
    Setting::without_default("VKUBE_REGISTRY_MIRROR", "Registry, as host:port, that is asked instead of Docker Hub.");
const REGISTRY_INSECURE_HOSTS: Setting = Setting::without_default(
    "VKUBE_REGISTRY_INSECURE_HOSTS",
    "Registries, as host:port divided by commas, that are asked over plain HTTP and may have private addresses.",
);
const REGISTRY_TIMEOUT_MS: Setting =
    Setting::new("VKUBE_REGISTRY_TIMEOUT_MS", "5000", "Longest check of an image, in milliseconds.");
const CHANGE_DEADLINE_MS: Setting = Setting::new(
    "VKUBE_CHANGE_DEADLINE_MS",
    "20000",
    "How long a change waits for its region before the job is answered instead, in milliseconds.",
);
const READ_DEADLINE_MS: Setting =
    Setting::new("VKUBE_READ_DEADLINE_MS", "10000", "How long a log or status waits for its region, in milliseconds.");
const LOG_FOLLOWERS: Setting =
    Setting::new("VKUBE_LOG_FOLLOWERS", "2048", "Most streams of logs at once; more are answered 503.");
const LOG_FOLLOWERS_PER_ORDER: Setting =
    Setting::new("VKUBE_LOG_FOLLOWERS_PER_ORDER", "16", "Most streams of one order's logs at once, of each instance.");
const PORT_COOLING_MS: Setting = Setting::new(
    "VKUBE_PORT_COOLING_MS",
    "60000",
    "How long a host port that is no longer used stays with its order, in milliseconds.",
);
const ORDER_WARN_SECONDS: Setting = Setting::new(
    "VKUBE_ORDER_WARN_SECONDS",
    "86400",
    "How long before its end an order's history says that it is near, in seconds; a tenth of its time if that is less.",
);
const ORDER_DELETE_AFTER_SECONDS: Setting = Setting::new(
    "VKUBE_ORDER_DELETE_AFTER_SECONDS",
    "259200",
    "How long after its end an order is deleted with all that it has, in seconds; holds for every order at once.",
);
const ORDER_SWEEP_SECONDS: Setting =
    Setting::new("VKUBE_ORDER_SWEEP_SECONDS", "5", "How often to look which orders are at their end, in seconds.");
const DRIFT: Setting = Setting::new(
    "VKUBE_DRIFT",
    "repair",
    "What to do about an order that somebody changed by hand in its cluster: repair it, or only report it.",
);
const SHUTDOWN_GRACE_MS: Setting = Setting::new(
    "VKUBE_SHUTDOWN_GRACE_MS",
    "20000",
    "How long requests in work may take to end after SIGTERM, in milliseconds; the process is gone 5 s later at most.",
);

/// The longest of an order's periods.
const YEAR_SECONDS: u64 = 366 * 24 * 3600;

/// The table, in the order of `--help`.
pub const ALL: [Setting; 45] = [
    http::LISTEN,
    http::MAX_BODY_BYTES,
    http::MAX_IN_FLIGHT,
    http::MAX_IN_FLIGHT_PER_ADDRESS,
    http::MAX_IN_FLIGHT_PER_ORDER,
    http::MAX_CONNECTIONS,
    http::MAX_CONNECTIONS_PER_ADDRESS,
    http::TLS_CERTIFICATE_FILE,
    http::TLS_KEY_FILE,
    http::TRUSTED_PROXIES,
    http::FORWARDED_HEADER,
    http::RATE_REQUESTS_PER_MINUTE,
    http::RATE_FAILURES_PER_MINUTE,
    http::RATE_IMAGES_PER_MINUTE,
    http::RATE_READS_PER_MINUTE,
    http::RATE_CHANGES_PER_MINUTE,
    login::URL,
    login::NKEY_FILE,
    login::CREDENTIALS_FILE,
    login::CA_FILE,
    NATS_REPLICAS,
    NATS_CONNECT_TIMEOUT_MS,
    POSTGRES_URL,
    POSTGRES_OWNER_URL,
    POSTGRES_CA_FILE,
    POSTGRES_POOL_SIZE,
    POSTGRES_WAIT_TIMEOUT_MS,
    POSTGRES_STATEMENT_TIMEOUT_MS,
    SECRET_KEY_FILES,
    OPERATOR_TOKENS,
    REGISTRY_MIRROR,
    REGISTRY_INSECURE_HOSTS,
    REGISTRY_TIMEOUT_MS,
    CHANGE_DEADLINE_MS,
    READ_DEADLINE_MS,
    LOG_FOLLOWERS,
    LOG_FOLLOWERS_PER_ORDER,
    PORT_COOLING_MS,
    ORDER_WARN_SECONDS,
    ORDER_DELETE_AFTER_SECONDS,
    ORDER_SWEEP_SECONDS,
    DRIFT,
    SHUTDOWN_GRACE_MS,
    TelemetrySettings::ALL[0],
    TelemetrySettings::ALL[1],
];

/// All settings, grouped by concern.
#[derive(Debug)]
pub struct Settings {
    /// Where and how to listen.
    pub server: ServerSettings,
    /// Limits of requests.
    pub edge: EdgeSettings,
    /// The broker.
    pub bus: BusSettings,
    /// The record.
    pub postgres: PostgresSettings,
    /// Registries.
    pub registry: RegistrySettings,
    /// Deadlines.
    pub app: AppSettings,
    /// What order secrets are kept under.
    pub secret_keys: SecretKeys,
    /// Operators: name to token.
    pub operators: BTreeMap<String, SecretString>,
    /// Logs.
    pub telemetry: TelemetrySettings,
}

/// Reads keys' files, divided by commas: 64 hex digits each, white space around them. The first is the key of now.
fn secret_keys(files: &str) -> Result<SecretKeys, String> {
    let read = |file: &str| -> Result<[u8; 32], String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("\"{file}\" cannot be read: {error}"))?;
        let bytes = hex::decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| format!("\"{file}\" must hold 64 hex digits"))
    };
    let mut files = files.split(',').map(str::trim).filter(|file| !file.is_empty());
    let current = read(files.next().ok_or("must name a file")?)?;
    Ok(SecretKeys { current, older: files.map(read).collect::<Result<_, _>>()? })
}

/// One operator: `name:token`.
struct OperatorEntry(String, SecretString);

impl FromStr for OperatorEntry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, token) = text.split_once(':').ok_or("must be name:token")?;
        if name.is_empty() || token.len() < 16 {
            return Err("must have a name, and a token of 16 characters or more");
        }
        if [SYSTEM, CUSTOMER].contains(&name) {
            return Err("must have another name than the one that histories give the system itself");
        }
        Ok(Self(name.to_owned(), token.into()))
    }
}

impl Settings {
    /// Settings out of what was given.
    ///
    /// # Errors
    /// Every setting that is wrong, each by name.
    pub fn read(given: &BTreeMap<&'static str, String>) -> Result<Self, SettingsError> {
        let mut read = Reader::new(given);
        let (server, edge) = (http::server(&mut read), http::edge(&mut read));
        let login = Login::read(&mut read);
        let replicas = read.required_with(&NATS_REPLICAS, |text| match text {
            "1" => Ok(1),
            "3" => Ok(3),
            "5" => Ok(5),
            _ => Err("must be 1, 3 or 5"),
        });
        let connect_timeout = read.milliseconds(&NATS_CONNECT_TIMEOUT_MS);
        let port_cooling = read.milliseconds(&PORT_COOLING_MS);
        let postgres = postgres_settings(&mut read);
        let secret_keys = read.required_with(&SECRET_KEY_FILES, secret_keys);
        let operators = operators(&mut read);
        let mirror = read.optional(&REGISTRY_MIRROR);
        let insecure_hosts = read.list(&REGISTRY_INSECURE_HOSTS);
        let registry_timeout = read.milliseconds(&REGISTRY_TIMEOUT_MS);
        let change_deadline = read.milliseconds(&CHANGE_DEADLINE_MS);
        let read_deadline = read.milliseconds(&READ_DEADLINE_MS);
        let life = life(&mut read);
        let drift = read.required(&DRIFT);
        let most = size(&mut read, &LOG_FOLLOWERS, 1..=100_000);
        let most_per_order = size(&mut read, &LOG_FOLLOWERS_PER_ORDER, 1..=100_000);
        let telemetry = TelemetrySettings::read(&mut read);
        let settings = || {
            Some(Self {
                server: server?,
                edge: edge?,
                bus: BusSettings {
                    login: login?,
                    replicas: replicas?,
                    connect_timeout: connect_timeout?,
                    port_cooling: port_cooling?,
                },
                postgres: postgres?,
                registry: RegistrySettings { mirror, insecure_hosts, timeout: registry_timeout? },
                app: AppSettings {
                    change_deadline: change_deadline?,
                    read_deadline: read_deadline?,
                    followers: AdmissionSettings { most: most?, most_per_order: most_per_order? },
                    life: life?,
                    drift: drift?,
                },
                secret_keys: secret_keys?,
                operators,
                telemetry: telemetry?,
            })
        };
        let settings = settings();
        read.finish(settings)
    }
}

/// Where and how to listen, alone: what the health check needs.
///
/// # Errors
/// Every setting of it that is wrong, each by name.
pub fn listening(given: &BTreeMap<&'static str, String>) -> Result<ServerSettings, SettingsError> {
    let mut read = Reader::new(given);
    let server = http::server(&mut read);
    read.finish(server)
}

/// What the list of keys in use needs: how PostgreSQL is reached, and the keys.
///
/// # Errors
/// Every setting of it that is wrong, each by name.
pub fn keys(given: &BTreeMap<&'static str, String>) -> Result<(PostgresSettings, SecretKeys), SettingsError> {
    let mut read = Reader::new(given);
    let (postgres, keys) = (postgres_settings(&mut read), read.required_with(&SECRET_KEY_FILES, secret_keys));
    read.finish(postgres.zip(keys))
}

/// How PostgreSQL is reached, alone: what a migration needs.
///
/// # Errors
/// Every setting of it that is wrong, each by name.
pub fn postgres(given: &BTreeMap<&'static str, String>) -> Result<PostgresSettings, SettingsError> {
    let mut read = Reader::new(given);
    let postgres = postgres_settings(&mut read);
    read.finish(postgres)
}

fn postgres_settings(read: &mut Reader<'_>) -> Option<PostgresSettings> {
    let url = read.required_with(&POSTGRES_URL, postgres_url);
    let owner_url = read.optional_with(&POSTGRES_OWNER_URL, postgres_url);
    let ca_file = read.file(&POSTGRES_CA_FILE);
    let pool_size = size(read, &POSTGRES_POOL_SIZE, 1..=1000);
    let wait_timeout = read.milliseconds(&POSTGRES_WAIT_TIMEOUT_MS);
    let statement_timeout = read.milliseconds(&POSTGRES_STATEMENT_TIMEOUT_MS);
    Some(PostgresSettings {
        url: url?,
        owner_url,
        ca_file,
        pool_size: pool_size?,
        wait_timeout: wait_timeout?,
        statement_timeout: statement_timeout?,
    })
}

fn size(read: &mut Reader<'_>, setting: &Setting, bounds: std::ops::RangeInclusive<u64>) -> Option<usize> {
    read.number(setting, bounds).and_then(|number| usize::try_from(number).ok())
}

/// When the steps of an order's life are due.
fn life(read: &mut Reader<'_>) -> Option<LifeSettings> {
    let mut seconds = |setting, bounds| read.number(setting, bounds).map(Duration::from_secs);
    let warn = seconds(&ORDER_WARN_SECONDS, 0..=YEAR_SECONDS);
    let delete_after = seconds(&ORDER_DELETE_AFTER_SECONDS, 60..=YEAR_SECONDS);
    let sweep_every = seconds(&ORDER_SWEEP_SECONDS, 1..=3600);
    Some(LifeSettings { warn: warn?, delete_after: delete_after?, sweep_every: sweep_every? })
}

/// A URL that PostgreSQL's client can use; what is wrong is told without the URL, which holds a password.
fn postgres_url(text: &str) -> Result<SecretString, &'static str> {
    match text.parse::<tokio_postgres::Config>() {
        Ok(config) if !config.get_hosts().is_empty() => Ok(text.into()),
        _ => Err("must be postgres://user:password@host/database"),
    }
}

/// The operators; a wrong entry is told by its place, as it holds a token.
fn operators(read: &mut Reader<'_>) -> BTreeMap<String, SecretString> {
    let entries = read.optional_with(&OPERATOR_TOKENS, |text| {
        let mut operators = BTreeMap::new();
        for (index, entry) in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).enumerate() {
            let entry: OperatorEntry = entry.parse().map_err(|error| format!("entry {} {error}", index + 1))?;
            if operators.insert(entry.0, entry.1).is_some() {
                return Err(format!("entry {} has a name that another entry has", index + 1));
            }
        }
        Ok(operators)
    });
    entries.unwrap_or_default()
}

#[cfg(test)]
mod tests;
