//! The system that is broken: two api instances and two workers, each by way of proxies of its own, and orders that compete
//! for a narrow range of ports.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::asking::{ANSWER_WITHIN, Asking};
use super::customers::{Customer, Owned, make};
use super::journal::Journal;
use super::links::{Links, Part, Server};
use super::observe::Observer;
use super::provoke::Provoker;
use super::scripted::Scripted;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::database::Database;
use crate::postgres::Postgres;
use crate::process::{Process, tail};
use crate::stack::Stack;
use crate::system::{Medium, Settings, System, host_port};

/// How many api instances, and how many workers.
const EACH: usize = 2;
/// Every so many customers, one has its ports assigned.
const ASSIGNED_EVERY: usize = 5;
/// Host ports that customers choose from.
const CHOSEN_PORTS: usize = 12;
/// Where the range of assigned ports begins among those, and how many it has beyond them.
const ASSIGNED_FROM: usize = 8;
const ASSIGNED_BEYOND: u16 = 6;

/// What a customer does until it is told to stop; all orders that it had.
pub type Doing = LocalBoxFuture<'static, Result<Vec<Owned>>>;

/// How long after its start a process may still find that it cannot reach a server, and end.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A system in its world.
#[derive(Debug)]
pub struct World {
    /// The system.
    pub system: System,
    /// Its PostgreSQL server.
    pub postgres: Postgres,
    /// Every process's ways to servers.
    pub links: Links,
    /// What the processes of the product go by.
    pub clocks: BTreeMap<Part, Clock>,
    /// The cluster, as its administrator.
    pub cluster: Cluster,
    /// The API server that workers see.
    pub scripted: Scripted,
    /// Host ports that customers choose from.
    pub ports: Vec<u16>,
    /// All host ports that any order may have.
    pub all_ports: Vec<u16>,
    /// How to ask it.
    pub asking: Asking,
    /// What has it come to a step.
    pub provoker: Provoker,
    /// What watches it.
    pub observer: Observer,
    /// Processes that ended by themselves, and should not have.
    pub crashes: Vec<String>,
    /// Since when nothing is broken; none = something is.
    pub whole_since: Option<Instant>,
    spawned: BTreeMap<Part, Instant>,
}

impl World {
    /// Starts a system, and waits until it is ready.
    pub async fn start(journal: Journal, nats_servers: usize) -> Result<Self> {
        let stack = Stack::get()?;
        let postgres = Postgres::start(stack, &stack.folder).await?;
        // What is committed stays, whatever is killed.
        let database = Database::create(&postgres.url(), "chaos", true).await?;
        let mut system = System::empty_with("chaos", &stack.region, Medium::Memory, database, nats_servers).await?;
        let (mut links, mut clocks) = (Links::default(), BTreeMap::new());
        let database = system.database.url()?;
        for number in 0..EACH {
            let nats = links.through(Part::Api(number), Server::Nats, &system.nats.url()).await?;
            let database = links.through(Part::Api(number), Server::Postgres, &database).await?;
            let clock = Clock::new(&system.folder().join(format!("clock-api-{number}")))?;
            let settings: Settings<'_> = &[
                ("VKUBE_NATS_URL", &nats),
                ("VKUBE_NATS_REPLICAS", &nats_servers.to_string()),
                // The first streams of a cluster that is new: it takes seconds to agree on the leader of each.
                ("VKUBE_NATS_CONNECT_TIMEOUT_MS", "25000"),
                ("VKUBE_POSTGRES_URL", &database),
                ("VKUBE_POSTGRES_OWNER_URL", &Database::owner_url(&database)),
            ];
            let api = system.spawn_api(&with_clock(settings, &clock.environment()))?;
            clocks.insert(Part::Api(number), clock);
            system.apis.push(api);
        }
        for api in &mut system.apis {
            api.ready().await?;
        }
        let ports: Vec<u16> = (0..CHOSEN_PORTS).map(|_| host_port()).collect();
        let (first, last) = (ports.first().context("a port")?, ports.last().context("a port")?);
        let (from, to) = (ports.get(ASSIGNED_FROM).context("a port")?, last + ASSIGNED_BEYOND);
        // Nobody else's either.
        for _ in 0..ASSIGNED_BEYOND {
            host_port();
        }
        let assigned = format!("{from}-{to}");
        let cluster = Cluster::connect(stack).await?;
        let scripted = Scripted::start(Cluster::as_worker(stack).await?).await?;
        for number in 0..EACH {
            let nats = links.through(Part::Worker(number), Server::Nats, &system.nats.url()).await?;
            let kubeconfig = system.folder().join(format!("kubeconfig-{number}.json"));
            links
                .kubeconfig(Part::Worker(number), &scripted.url(), stack.worker_kubeconfig().await?, &kubeconfig)
                .await?;
            let clock = Clock::new(&system.folder().join(format!("clock-worker-{number}")))?;
            let settings: Settings<'_> = &[
                ("VKUBE_NATS_URL", &nats),
                ("VKUBE_KUBE_KUBECONFIG", &kubeconfig.display().to_string()),
                ("VKUBE_PORTS_RANDOM_RANGE", &assigned),
                ("VKUBE_JOB_ROLLOUT_TIMEOUT_SECONDS", "30"),
            ];
            let worker = system.new_worker(&with_clock(settings, &clock.environment()))?;
            clocks.insert(Part::Worker(number), clock);
            system.workers.push(worker);
        }
        system.ready().await?;
        let observer =
            Observer::start(system.nats.client().await?, cluster.clone(), system.database.clone(), &system.region)
                .await?;
        let apis = system.apis.iter().map(|api| api.client.clone()).collect();
        let (operator_token, journal) = (system.operator_token.clone(), Arc::new(journal));
        let asking = Asking { apis, operator_token, within: ANSWER_WITHIN, journal };
        let provoker = Provoker::new(asking.clone(), system.region.as_str()).await?;
        let all_ports = (*first..=to).collect();
        let (crashes, whole_since, spawned) = (Vec::new(), Some(Instant::now()), BTreeMap::new());
        Ok(Self {
            system,
            postgres,
            links,
            clocks,
            cluster,
            scripted,
            ports,
            all_ports,
            asking,
            provoker,
            observer,
            crashes,
            whole_since,
            spawned,
        })
    }

    /// All processes of the product.
    pub fn parts(&self) -> Vec<Part> {
        let apis = (0..self.system.apis.len()).map(Part::Api);
        apis.chain((0..self.system.workers.len()).map(Part::Worker)).collect()
    }

    /// A process.
    pub fn process(&mut self, part: Part) -> Result<&mut Process> {
        match part {
            Part::Api(number) => self.system.apis.get_mut(number).map(|api| &mut api.process),
            Part::Worker(number) => self.system.workers.get_mut(number).map(|worker| &mut worker.process),
        }
        .context("there is no such process")
    }

    /// Starts again whatever has ended, as a supervisor does. What cannot reach its servers when it starts may end.
    pub fn look_after(&mut self) -> Result<()> {
        self.look_after_these(&self.parts())
    }

    /// The same for these processes alone.
    pub fn look_after_these(&mut self, parts: &[Part]) -> Result<()> {
        for part in parts {
            let Some(status) = self.process(*part)?.ended()? else { continue };
            self.ended_by_itself(*part, status)?;
            self.spawn_again(*part)?;
        }
        Ok(())
    }

    /// Takes note of a process that ended by itself, unless it was started while something was broken and says that it cannot
    /// begin.
    pub fn ended_by_itself(&mut self, part: Part, status: ExitStatus) -> Result<()> {
        let may_fail = |spawned: &Instant| {
            spawned.elapsed() < STARTS_WITHIN && self.whole_since.is_none_or(|since| *spawned < since)
        };
        if status.code() != Some(1) || !self.spawned.get(&part).is_some_and(may_fail) {
            let log = tail(self.process(part)?.log(), 3);
            self.crashes.push(format!("{part:?} ended by itself with {status}: {log}"));
        }
        Ok(())
    }

    /// Starts a process again after its end, and does not wait until it is ready.
    pub fn spawn_again(&mut self, part: Part) -> Result<()> {
        self.spawn_again_with(part, &[])
    }

    /// The same with these variables besides, this once.
    pub fn spawn_again_with(&mut self, part: Part, more: Settings<'_>) -> Result<()> {
        self.spawned.insert(part, Instant::now());
        match part {
            Part::Api(number) => self.system.apis.get_mut(number).context("an api")?.spawn_again_with(more),
            Part::Worker(number) => self.system.workers.get_mut(number).context("a worker")?.spawn_again_with(more),
        }
    }

    /// Gives so many customers an order each. What each of them does, until it is told to stop.
    pub async fn customers(&self, count: usize, random: &mut StdRng, going: &Arc<AtomicBool>) -> Result<Vec<Doing>> {
        let mut customers: Vec<Doing> = Vec::new();
        for number in 0..count {
            let owned = make(&self.system.client()?, &self.asking.operator_token, number % ASSIGNED_EVERY == 0).await?;
            let customer = Customer {
                random: StdRng::seed_from_u64(random.random()),
                region: self.system.region.to_string(),
                ports: self.ports.clone(),
                asking: self.asking.clone(),
                orders: vec![owned],
            };
            customers.push(customer.run(going.clone()).boxed_local());
        }
        Ok(customers)
    }
}

/// These settings of a process, and those of its clock.
fn with_clock<'a>(
    settings: &[(&'static str, &'a str)],
    clock: &'a [(&'static str, String)],
) -> Vec<(&'static str, &'a str)> {
    settings.iter().copied().chain(clock.iter().map(|(name, value)| (*name, value.as_str()))).collect()
}
