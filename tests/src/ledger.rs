//! What stands in NATS, read directly: the port ledger and the results.

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::jetstream::kv::{Operation, Store};
use common::job::JobResult;
use common::ledger::{Observed, PortState};
use common::name::RegionCode;
use common::port::{HostPort, Protocol};
use common::{stream, subject};
use futures::StreamExt as _;

use crate::nats::Nats;
use crate::order::result;

/// The port ledger of one region.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    region: RegionCode,
}

/// One change of a port's entry; no state = free.
pub type Change = (String, Option<PortState>);

impl Ledger {
    /// Opens the ledger that an api has made.
    pub async fn open(nats: &Nats, region: &RegionCode) -> Result<Self> {
        let context = jetstream::new(nats.client().await?);
        let store = context.get_key_value(stream::HOSTPORTS).await.context("there is no ledger")?;
        Ok(Self { store, region: region.clone() })
    }

    fn key(&self, port: u16) -> String {
        format!("{}.tcp.{port}", self.region)
    }

    /// What it says of a TCP port.
    pub async fn port(&self, port: u16) -> Result<Option<PortState>> {
        self.host_port(HostPort { protocol: Protocol::Tcp, port: i64::from(port).try_into()? }).await
    }

    /// What it says of a port.
    pub async fn host_port(&self, port: HostPort) -> Result<Option<PortState>> {
        let entry = self.store.get(format!("{}.{port}", self.region)).await?;
        Ok(entry.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// What the region's workers see in use.
    pub async fn observed(&self) -> Result<Option<Observed>> {
        let entry = self.store.get(subject::observed_key(&self.region)).await?;
        Ok(entry.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// Every change of these TCP ports from now on, until the returned task is asked for what it saw.
    pub async fn watch(&self, ports: &[u16]) -> Result<Watch> {
        let keys = ports.iter().map(|port| self.key(*port));
        let mut changes = self.store.watch_many(keys).await?;
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let entry = tokio::select! {
                    biased;
                    entry = changes.next() => entry.context("the watch ended")??,
                    _ = &mut stopped => return Ok(seen),
                };
                let state = match entry.operation {
                    Operation::Put => Some(serde_json::from_slice(&entry.value)?),
                    Operation::Delete | Operation::Purge => None,
                };
                seen.push((entry.key, state));
            }
        });
        Ok(Watch { stop, task })
    }
}

/// A watch of some ports.
#[derive(Debug)]
pub struct Watch {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<Vec<Change>>>,
}

impl Watch {
    /// Ends the watch: all that it saw, in order.
    pub async fn seen(self) -> Result<Vec<Change>> {
        let _ = self.stop.send(());
        self.task.await?
    }
}

/// Every result of a region that RESULTS holds.
pub async fn results(nats: &Nats, region: &RegionCode) -> Result<Vec<JobResult>> {
    let context = jetstream::new(nats.client().await?);
    let stream = context.get_stream(stream::RESULTS).await?;
    let state = stream.cached_info().state.clone();
    let mut found = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await?;
        if message.subject.as_str().split('.').nth(2) == Some(region.as_str()) {
            found.push(result(&message.payload)?);
        }
    }
    Ok(found)
}
