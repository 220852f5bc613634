//! Where a secret might have got to.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use e2e::order::Order;
use e2e::system::System;
use e2e::test::Test;
use futures::StreamExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Enough of what is around a find to know it by.
const SHOWN: usize = 160;

/// Texts and bytes, each with where it is from.
#[derive(Default)]
pub(super) struct Places(Vec<(String, Vec<u8>)>);

impl Places {
    /// One more.
    pub(super) fn add(&mut self, place: &str, text: impl Into<Vec<u8>>) {
        self.0.push((place.to_owned(), text.into()));
    }

    /// Every row of every table, as text.
    pub(super) async fn add_tables(&mut self, system: &System) -> Result<()> {
        let client = system.database.connect().await?;
        let tables = "select table_name::text from information_schema.tables where table_schema = 'public'";
        let tables: Vec<String> = client.query(tables, &[]).await?.iter().map(|row| row.get(0)).collect();
        for table in ["orders", "revisions", "jobs", "history"] {
            anyhow::ensure!(tables.iter().any(|one| one == table), "{table} is among {tables:?}");
        }
        for table in tables {
            for row in client.query(&format!("select t::text from {table} t"), &[]).await? {
                self.add(&format!("table {table}"), row.get::<_, String>(0));
            }
        }
        Ok(())
    }

    /// All that the cluster has of an order, but for Secrets.
    pub(super) async fn add_objects(&mut self, t: &Test, order: &Order) -> Result<()> {
        let namespace = order.namespace();
        for (group, plurals) in [
            ("api/v1", &["pods", "configmaps", "events", "serviceaccounts", "resourcequotas", "services"][..]),
            ("apis/apps/v1", &["deployments", "replicasets"]),
            ("apis/networking.k8s.io/v1", &["networkpolicies", "ingresses"]),
        ] {
            for plural in plurals {
                for object in t.cluster.list(&format!("/{group}/namespaces/{namespace}/{plural}")).await? {
                    self.add(plural, object.to_string());
                }
            }
        }
        self.add("namespaces", t.cluster.raw("/api/v1/namespaces", &namespace).await?.to_string());
        for lease in t.cluster.list("/apis/coordination.k8s.io/v1/namespaces/vkube-system/leases").await? {
            self.add("leases", lease.to_string());
        }
        Ok(())
    }

    /// What `ps` shows of the product's processes.
    pub(super) fn add_processes(&mut self, system: &System) -> Result<()> {
        let apis = system.apis.iter().map(|api| &api.process);
        for process in apis.chain(system.workers.iter().map(|worker| &worker.process)) {
            self.add("arguments", std::fs::read(format!("/proc/{}/cmdline", process.id()))?);
        }
        Ok(())
    }

    /// All files below a folder, but for these.
    pub(super) fn add_files(&mut self, folder: &Path, but: &[&str]) -> Result<()> {
        for file in std::fs::read_dir(folder)? {
            let path = file?.path();
            let name = path.file_name().and_then(std::ffi::OsStr::to_str).context("a name")?;
            if path.is_dir() {
                self.add_files(&path, but)?;
            } else if !but.contains(&name) {
                self.add(&path.display().to_string(), std::fs::read(&path)?);
            }
        }
        Ok(())
    }

    /// Where a secret is, in clear, in hex or in base64, with what is around it.
    pub(super) fn with(&self, secret: &str) -> Vec<String> {
        let forms = [secret.to_owned(), hex(secret), STANDARD_NO_PAD.encode(secret)];
        let found = |(place, bytes): &(String, Vec<u8>), form: &String| {
            let at = bytes.windows(form.len()).position(|window| window == form.as_bytes())?;
            let around = bytes.get(at.saturating_sub(SHOWN)..(at + SHOWN).min(bytes.len())).unwrap_or_default();
            Some(format!("{form} in {place}: {}", String::from_utf8_lossy(around)))
        };
        self.0.iter().flat_map(|one| forms.iter().filter_map(|form| found(one, form))).collect()
    }
}

fn hex(text: &str) -> String {
    text.bytes()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Who hears all messages of a system, but for those between a service and the api: they are the door.
pub(super) struct Overheard {
    end: oneshot::Sender<()>,
    heard: JoinHandle<Vec<Vec<u8>>>,
}

impl Overheard {
    /// Listens from now on.
    pub(super) async fn listen(system: &System) -> Result<Self> {
        let client = system.nats.client().await?;
        let mut messages = client.subscribe(">").await?;
        client.flush().await?;
        let (end, mut ended) = oneshot::channel();
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            loop {
                let message = tokio::select! {
                    message = messages.next() => message,
                    _ = &mut ended => None,
                };
                let Some(message) = message else { return heard };
                let is_door = ["vkube.api.", "_INBOX_market."].iter().any(|door| message.subject.starts_with(door));
                if !is_door {
                    let mut bytes = format!("{} {:?} ", message.subject, message.headers).into_bytes();
                    bytes.extend_from_slice(&message.payload);
                    heard.push(bytes);
                }
            }
        });
        Ok(Self { end, heard })
    }

    /// What was heard.
    pub(super) async fn end(self) -> Result<Vec<Vec<u8>>> {
        let _ = self.end.send(());
        Ok(self.heard.await?)
    }
}
