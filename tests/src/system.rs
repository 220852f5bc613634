//! A system of the product: api instances and region workers, with a NATS server, a database and keys of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::name::RegionCode;
use serde_json::Value;

use crate::database::Database;
use crate::http::{self, Client};
use crate::nats::{Identity, Nats};
use crate::process::{Process, free_port};
use crate::stack::Stack;
use crate::until::until;

/// How long a process may take until it is ready.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a process may take to end: its grace period, and a little.
pub const END_WITHIN: Duration = Duration::from_secs(30);

/// A folder in memory, which ends with the stack.
pub const IN_MEMORY: &str = "/dev/shm/vkube-e2e";

/// Limits of the api that tests of other things never come to.
const GENEROUS: [&str; 9] = [
    "VKUBE_HTTP_MAX_IN_FLIGHT_PER_ADDRESS",
    "VKUBE_HTTP_MAX_IN_FLIGHT_PER_ORDER",
    "VKUBE_HTTP_MAX_CONNECTIONS",
    "VKUBE_HTTP_MAX_CONNECTIONS_PER_ADDRESS",
    "VKUBE_RATE_REQUESTS_PER_MINUTE",
    "VKUBE_RATE_FAILURES_PER_MINUTE",
    "VKUBE_RATE_IMAGES_PER_MINUTE",
    "VKUBE_RATE_READS_PER_MINUTE",
    "VKUBE_RATE_CHANGES_PER_MINUTE",
];

/// Settings of a process, over those that every process of its kind gets.
pub type Settings<'a> = &'a [(&'static str, &'a str)];

/// A system.
#[derive(Debug)]
pub struct System {
    /// Its name, and its folder's.
    pub name: String,
    /// The region of its workers.
    pub region: RegionCode,
    /// What opens the operator's side.
    pub operator_token: String,
    /// Its workers.
    pub workers: Vec<Worker>,
    /// Its api instances.
    pub apis: Vec<Api>,
    /// Its NATS server.
    pub nats: Nats,
    /// Its database.
    pub database: Database,
    folder: PathBuf,
    data: PathBuf,
    worker_kubeconfig: &'static Path,
    stack: &'static Stack,
}

/// What a system's data are kept on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A killed process loses nothing, and no test waits for a busy disk: no power is ever cut here.
    Memory,
    /// As in earnest, where what a call costs is measured.
    Disk,
}

impl System {
    /// A NATS server, a database on the stack's PostgreSQL and keys, and nothing that runs yet.
    pub async fn empty(name: &str, region: &RegionCode, medium: Medium) -> Result<Self> {
        let database = Database::create(&Stack::get()?.database_url, name, medium == Medium::Disk).await?;
        Self::empty_with(name, region, medium, database, 1).await
    }

    /// The same with this database, and so many NATS servers.
    pub async fn empty_with(
        name: &str,
        region: &RegionCode,
        medium: Medium,
        database: Database,
        nats_servers: usize,
    ) -> Result<Self> {
        let stack = Stack::get()?;
        let folder = stack.folder.join(name);
        let data = match medium {
            Medium::Memory => Path::new(IN_MEMORY).join(name),
            Medium::Disk => folder.join("nats"),
        };
        std::fs::create_dir_all(&folder)?;
        make_key(&folder, "secret-key")?;
        make_key(&folder, "seal-key")?;
        std::fs::write(folder.join("kubelet-token"), stack.kubelet_token().await?)?;
        Ok(Self {
            name: name.to_owned(),
            region: region.clone(),
            operator_token: format!("operator-{}", key()),
            nats: Nats::start(stack, &folder, &data, nats_servers, region).await?,
            database,
            apis: Vec::new(),
            workers: Vec::new(),
            folder,
            data,
            worker_kubeconfig: stack.worker_kubeconfig().await?,
            stack,
        })
    }

    /// A system of this many api instances and workers, all ready.
    pub async fn start(name: &str, region: &RegionCode, medium: Medium, apis: usize, workers: usize) -> Result<Self> {
        let mut system = Self::empty(name, region, medium).await?;
        for _ in 0..apis {
            let api = system.spawn_api(&[])?;
            system.apis.push(api);
        }
        // A worker that meets its streams at once is ready at once.
        system.ready_apis().await?;
        for _ in 0..workers {
            let worker = system.new_worker(&[])?;
            system.workers.push(worker);
        }
        if workers > 0 {
            system.ready().await?;
        }
        Ok(system)
    }

    /// Waits until all its processes are ready, and every api instance knows of the region's workers.
    pub async fn ready(&mut self) -> Result<()> {
        self.ready_apis().await?;
        for worker in &mut self.workers {
            worker.ready().await?;
        }
        for api in &self.apis {
            api.knows(&self.region).await?;
        }
        Ok(())
    }

    /// The first api instance.
    pub fn client(&self) -> Result<Client> {
        Ok(self.apis.first().context("the system has no api")?.client.clone())
    }

    async fn ready_apis(&mut self) -> Result<()> {
        for api in &mut self.apis {
            api.ready().await?;
        }
        Ok(())
    }

    /// Starts one more api instance and waits until it is ready.
    pub async fn new_api(&self, settings: Settings<'_>) -> Result<Api> {
        let mut api = self.spawn_api(settings)?;
        api.ready().await?;
        Ok(api)
    }

    /// Starts one more api instance and does not wait.
    pub fn spawn_api(&self, settings: Settings<'_>) -> Result<Api> {
        let port = free_port()?;
        let mut all = BTreeMap::from([
            ("VKUBE_HTTP_LISTEN", format!("127.0.0.1:{port}")),
            ("VKUBE_POSTGRES_URL", self.database.url()?),
            ("VKUBE_POSTGRES_OWNER_URL", Database::owner_url(&self.database.url()?)),
            ("VKUBE_OPERATOR_TOKENS", format!("e2e:{}", self.operator_token)),
            ("VKUBE_SECRET_KEY_FILES", self.file("secret-key")),
            ("VKUBE_REGISTRY_MIRROR", self.stack.registry.clone()),
            ("VKUBE_REGISTRY_INSECURE_HOSTS", format!("{},{}", self.stack.registry, self.stack.private_registry)),
            ("VKUBE_PORT_COOLING_MS", "2000".to_owned()),
            ("VKUBE_LOG_LEVEL", "info".to_owned()),
        ]);
        all.extend(GENEROUS.map(|name| (name, "1000000".to_owned())));
        all.extend(self.nats.login(Identity::Api));
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let log = self.folder.join(format!("api-{port}.log"));
        let process = start("vkube-api", &self.stack.api_binary, &all, &log)?;
        let url = format!("http://127.0.0.1:{port}");
        Ok(Api { client: Client::new(&url)?, url, process, settings: all, program: &self.stack.api_binary })
    }

    /// Starts one more worker of the system's region and does not wait.
    pub fn new_worker(&self, settings: Settings<'_>) -> Result<Worker> {
        let port = free_port()?;
        let mut all = BTreeMap::from([
            ("VKUBE_REGION", self.region.to_string()),
            ("VKUBE_HEALTH_LISTEN", format!("127.0.0.1:{port}")),
            ("VKUBE_KUBE_KUBECONFIG", self.worker_kubeconfig.display().to_string()),
            ("VKUBE_KUBE_NAMESPACE", "vkube-system".to_owned()),
            ("VKUBE_KUBELET_TOKEN_FILE", self.file("kubelet-token")),
            ("VKUBE_SEAL_PRIVATE_KEY_FILES", self.file("seal-key")),
            ("VKUBE_PORTS_RANDOM_RANGE", "27000-27999".to_owned()),
            ("VKUBE_PORTS_SCAN_HOST", "true".to_owned()),
            ("VKUBE_POD_TERMINATION_GRACE_SECONDS", "2".to_owned()),
            ("VKUBE_LOG_LEVEL", "info".to_owned()),
        ]);
        all.extend(self.nats.login(Identity::Worker));
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let log = self.folder.join(format!("worker-{}-{port}.log", self.region));
        let process = start("vkube-worker", &self.stack.worker_binary, &all, &log)?;
        let url = format!("http://127.0.0.1:{port}");
        Ok(Worker { url, process, settings: all, program: &self.stack.worker_binary })
    }

    /// A file of its folder: `secret-key` and `seal-key` are what it began with.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A new key in a file of its folder.
    pub fn make_key(&self, name: &str) -> Result<String> {
        make_key(&self.folder, name)?;
        Ok(self.file(name))
    }

    /// The servers that it has not of its own.
    pub fn stack(&self) -> &'static Stack {
        self.stack
    }

    /// Where its logs are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the broker's files are.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

fn start(name: &str, program: &Path, settings: &BTreeMap<&str, String>, log: &Path) -> Result<Process> {
    let env: Vec<(&str, String)> = settings.iter().map(|(name, value)| (*name, value.clone())).collect();
    Process::start(name, program, &[], &env, log)
}

fn make_key(folder: &Path, name: &str) -> Result<()> {
    std::fs::write(folder.join(name), key()).with_context(|| format!("cannot write {name}"))
}

/// What a program prints that is run with a word of its command line.
async fn says(program: &Path, word: &str, settings: &BTreeMap<&str, String>) -> Result<String> {
    let mut command = tokio::process::Command::new(program);
    let command = command.arg(word).env_clear().envs(settings).kill_on_drop(true);
    let ended = tokio::time::timeout(READY_WITHIN, command.output()).await.context("it ends in time")??;
    let notes = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{} {word} {}: {notes}", program.display(), ended.status);
    Ok(String::from_utf8(ended.stdout)?)
}

fn with(settings: &BTreeMap<&'static str, String>, more: Settings<'_>) -> BTreeMap<&'static str, String> {
    let mut all = settings.clone();
    all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    all
}

/// A running api instance.
#[derive(Debug)]
pub struct Api {
    /// A client of it.
    pub client: Client,
    /// Where it answers: `http://host:port`.
    pub url: String,
    /// Its process.
    pub process: Process,
    settings: BTreeMap<&'static str, String>,
    program: &'static Path,
}

impl Api {
    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        ready(&self.url, &mut self.process).await
    }

    /// What it says of its being ready: the status and the body.
    pub async fn readiness(&self) -> Result<(u16, Value)> {
        readiness(&self.url).await
    }

    /// Waits until it lists a region.
    pub async fn knows(&self, region: &RegionCode) -> Result<()> {
        let what = format!("{} lists the region {region}", self.url);
        until(&what, READY_WITHIN, async || {
            let regions = self.client.get("/k8s/regions").send().await?.ok()?;
            let listed = regions.as_array().is_some_and(|all| all.contains(&region.as_str().into()));
            Ok(listed.then_some(()))
        })
        .await
    }

    /// Starts it again with the same settings, after its end, and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.spawn_again()?;
        self.ready().await
    }

    /// Starts it again with the same settings, after its end, and does not wait.
    pub fn spawn_again(&mut self) -> Result<()> {
        self.spawn_again_with(&[])
    }

    /// The same with these variables besides, this once.
    pub fn spawn_again_with(&mut self, more: Settings<'_>) -> Result<()> {
        let log = self.process.log().to_owned();
        self.process = start("vkube-api", self.program, &with(&self.settings, more), &log)?;
        Ok(())
    }

    /// What its program prints that is run with a word of its command line: `settings`.
    pub async fn says(&self, word: &str, more: Settings<'_>) -> Result<String> {
        says(self.program, word, &with(&self.settings, more)).await
    }
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    /// Where it tells of its health: `http://host:port`.
    pub url: String,
    /// Its process.
    pub process: Process,
    settings: BTreeMap<&'static str, String>,
    program: &'static Path,
}

impl Worker {
    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        ready(&self.url, &mut self.process).await
    }

    /// What it says of its being ready: the status and the body.
    pub async fn readiness(&self) -> Result<(u16, Value)> {
        readiness(&self.url).await
    }

    /// Starts it again with the same settings, after its end, and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.spawn_again()?;
        self.ready().await
    }

    /// Starts it again with the same settings, after its end, and does not wait.
    pub fn spawn_again(&mut self) -> Result<()> {
        self.spawn_again_with(&[])
    }

    /// The same with these variables besides, this once.
    pub fn spawn_again_with(&mut self, more: Settings<'_>) -> Result<()> {
        let log = self.process.log().to_owned();
        self.process = start("vkube-worker", self.program, &with(&self.settings, more), &log)?;
        Ok(())
    }

    /// What its program prints that is run with a word of its command line: `settings`.
    pub async fn says(&self, word: &str, more: Settings<'_>) -> Result<String> {
        says(self.program, word, &with(&self.settings, more)).await
    }
}

async fn readiness(url: &str) -> Result<(u16, Value)> {
    let answer = http::plain()?.get(format!("{url}/readyz")).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

async fn ready(url: &str, process: &mut Process) -> Result<()> {
    let what = format!("{} at {url} is ready", process.name());
    until(&what, READY_WITHIN, async || {
        process.must_run()?;
        Ok(readiness(url).await.ok().filter(|(status, _)| *status == 200))
    })
    .await
    .map(|_| ())
    .with_context(|| crate::process::tail(process.log(), 10))
}

/// 32 random bytes in hex.
fn key() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    format!("{}{}", half(), half())
}

/// A host port that no other test of this run uses: below the ranges of random ports and of node ports.
pub fn host_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A name that no other system of this run has.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
