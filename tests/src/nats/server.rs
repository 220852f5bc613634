//! One server: its configuration, its process, its store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::identities::Identities;
use super::{Connection, Denied};
use crate::agreement::at;
use crate::http;
use crate::process::{Process, free_port};
use crate::until::until;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take until it goes by a changed configuration.
const RELOADS_WITHIN: Duration = Duration::from_secs(5);
/// How long a server may take to end: as a lame duck it takes up to half a minute.
const ENDS_WITHIN: Duration = Duration::from_secs(50);
/// The configuration that operators are given.
const SHIPPED: &str = include_str!("../../../deploy/nats/nats.conf");

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    program: PathBuf,
    name: String,
    config: PathBuf,
    store: PathBuf,
    log: PathBuf,
    port: u16,
    monitor_port: u16,
    route_port: u16,
    /// Those of all servers of its cluster.
    routes: Vec<String>,
    identities: Identities,
    process: Option<Process>,
}

impl Server {
    /// A server that does not run yet. The first keeps its data in `store` itself.
    pub(super) fn new(
        program: &Path,
        number: usize,
        folder: &Path,
        store: &Path,
        identities: &Identities,
    ) -> Result<Self> {
        let name = if number == 0 { "nats".to_owned() } else { format!("nats-{number}") };
        Ok(Self {
            program: program.to_owned(),
            config: folder.join(format!("{name}.conf")),
            log: folder.join(format!("{name}.log")),
            store: if number == 0 { store.to_owned() } else { PathBuf::from(format!("{}-{number}", store.display())) },
            name,
            port: free_port()?,
            monitor_port: free_port()?,
            route_port: free_port()?,
            routes: Vec::new(),
            identities: identities.clone(),
            process: None,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn route(&self) -> String {
        format!("nats://127.0.0.1:{}", self.route_port)
    }

    /// Makes it one of the cluster of these routes.
    pub(super) fn join(&mut self, routes: &[String]) {
        self.routes = routes.to_vec();
    }

    pub(super) fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }

    pub(super) fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("NATS does not run")
    }

    /// Writes what operators are given, with what is different here after it: what comes last holds.
    fn configure(&self, denied: Option<Denied<'_>>) -> Result<()> {
        let folder = self.config.parent().context("a folder")?;
        let (shipped, users) = (folder.join("shipped.conf"), folder.join("users.conf"));
        std::fs::write(shipped, SHIPPED)?;
        std::fs::write(users, self.identities.configuration(denied))?;
        let (port, monitor_port, name, store) = (self.port, self.monitor_port, &self.name, self.store.display());
        let (certificate, key) = (self.identities.certificate(), self.identities.certificate_key());
        let (certificate, key) = (certificate.display(), key.display());
        let alone = format!(
            "include \"shipped.conf\"\nserver_name: {name}\n\
             listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor_port}\"\n\
             jetstream {{ store_dir: \"{store}\", sync_interval: always }}\n\
             tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}\n\
             lame_duck_duration: 30s\nlame_duck_grace_period: 1s\n"
        );
        // Clients go by the addresses that they were given: those of proxies.
        let (port, routes) = (self.route_port, &self.routes);
        let among =
            format!("cluster {{ name: e2e, listen: \"127.0.0.1:{port}\", no_advertise: true, routes: {routes:?} }}\n");
        let text = if routes.len() > 1 { alone + &among } else { alone };
        std::fs::write(&self.config, text).context("cannot write the configuration of NATS")
    }

    /// Starts it, and does not wait.
    pub(super) fn spawn(&mut self) -> Result<()> {
        self.configure(None)?;
        let config = self.config.display().to_string();
        self.process = Some(Process::start("nats-server", &self.program, &["-c", &config], &[], &self.log)?);
        Ok(())
    }

    /// Waits until it has all that it should have.
    pub(super) async fn ready(&mut self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/healthz", self.monitor_port);
        let http = http::plain()?;
        let process = self.process.as_mut().context("NATS does not run")?;
        until("NATS is healthy", READY_WITHIN, async || {
            process.must_run()?;
            Ok(http.get(&url).send().await.ok().filter(|answer| answer.status().is_success()))
        })
        .await
        .map(drop)
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        self.process.take().context("NATS does not run")?.kill().await
    }

    pub(super) async fn end(&mut self) -> Result<()> {
        let mut process = self.process.take().context("NATS does not run")?;
        process.ask_to_end()?;
        process.wait(ENDS_WITHIN).await.map(drop)
    }

    pub(super) async fn end_as_lame_duck(&mut self) -> Result<()> {
        let mut process = self.process.take().context("NATS does not run")?;
        process.make_lame_duck()?;
        process.wait(ENDS_WITHIN).await.map(drop)
    }

    pub(super) async fn deny(&self, denied: Option<Denied<'_>>) -> Result<()> {
        let before = self.configured_at().await?;
        self.configure(denied)?;
        self.process()?.reload()?;
        until("NATS goes by its new configuration", RELOADS_WITHIN, async || {
            Ok((self.configured_at().await? != before).then_some(()))
        })
        .await
    }

    /// What the server says of itself.
    async fn told(&self, what: &str) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/{what}", self.monitor_port);
        Ok(http::plain()?.get(url).send().await?.error_for_status()?.json().await?)
    }

    /// When it read its configuration.
    async fn configured_at(&self) -> Result<String> {
        Ok(at(&self.told("varz").await?, "/config_load_time").to_string())
    }

    /// How many of the others it leads, if it leads the cluster.
    pub(super) async fn leads(&self) -> Result<usize> {
        let told = self.told("jsz").await?;
        let others = at(&told, "/meta_cluster/replicas").as_array().into_iter().flatten();
        Ok(others.filter(|other| at(other, "/current") == true && at(other, "/offline") != true).count())
    }

    pub(super) async fn connections(&self) -> Result<Vec<Connection>> {
        let told = self.told("connz?limit=1024").await?;
        Ok(Vec::deserialize(at(&told, "/connections"))?)
    }

    fn copy(&self) -> PathBuf {
        PathBuf::from(format!("{}-copy", self.store.display()))
    }

    pub(super) fn copy_store(&self) -> Result<()> {
        copy_folder(&self.store, &self.copy())
    }

    pub(super) fn restore_store(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.store)?;
        std::fs::rename(self.copy(), &self.store).context("cannot restore the store of NATS")
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?;
        } else {
            std::fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}
