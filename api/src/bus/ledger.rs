//! The port ledger: who holds which port of which region. Looked up in this process's mirror, changed by compare-and-set
//! alone, so it stays true whoever else changes it at the same time.

mod due;

pub use due::Due;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use common::ledger::PortState;
use common::name::{JobId, OrderId, RegionCode};
use common::port::{HostPort, PortRange, Protocol};
use common::{stream, subject};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use rand::Rng as _;
use tokio::time;

use super::batch::{MAX_WRITES, WriteError, Writer};
use super::error::{BusError, ReserveError, Stale};
use super::link::Link;
use super::plan::{self, Desired, Write};
use super::ports::{Doubt, Entry, Ports, RegionPorts, Slot};
use super::watch::{Pulse, is_deleted};

/// How often a race is run again before it is given up.
const ATTEMPTS: u32 = 5;
/// How many keys are read from the server at a time.
const READS_AT_A_TIME: usize = 8;

/// The ledger as one api instance uses it.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    writer: Writer,
    ports: Arc<Ports>,
    pulse: Arc<Pulse>,
    cooling: Duration,
}

/// What one reservation wrote, so that it can be undone.
#[derive(Debug)]
#[must_use = "a reservation whose job does not come about is to be released"]
pub struct Reserved {
    region: RegionCode,
    /// Each port with the revision that reserved it and what was there before.
    written: Vec<(HostPort, u64, Slot)>,
}

/// The ledger at the time when PostgreSQL is about to be asked: see [`Ledger::settle`].
#[derive(Debug, Clone)]
pub struct View {
    region: RegionCode,
    order: OrderId,
    revision: u64,
}

/// How a settlement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an outdated settlement is to be tried again with a new view"]
pub enum Settled {
    /// The ledger says what was desired.
    Done,
    /// Somebody changed the order's ports since the view: what was desired may be outdated.
    Outdated,
}

impl Ledger {
    pub(super) fn new(link: Arc<Link>, ports: Arc<Ports>, pulse: Arc<Pulse>, cooling: Duration) -> Self {
        let writer = Writer::new(link.clone());
        Self { inner: Arc::new(Inner { link, writer, ports, pulse, cooling }) }
    }

    /// Which of these ports are occupied for everybody but `own`: held by another order, seen in use by somebody else, or
    /// denied by the region. Costs no message.
    pub fn occupied(
        &self,
        region: &RegionCode,
        ports: &[HostPort],
        own: Option<&OrderId>,
    ) -> Result<Vec<HostPort>, Stale> {
        self.check()?;
        let map = self.inner.ports.read();
        let Some(known) = map.regions.get(region) else { return Ok(Vec::new()) };
        Ok(ports.iter().copied().filter(|host| known.is_occupied(*host, own)).collect())
    }

    /// How many ports of a region are held. Costs no message.
    pub fn used(&self, region: &RegionCode) -> usize {
        self.inner.ports.read().regions.get(region).map_or(0, |known| known.held().count())
    }

    /// Every region of which a port is held. Costs no message.
    pub fn regions(&self) -> Vec<RegionCode> {
        let map = self.inner.ports.read();
        let used = map.regions.iter().filter(|(_, known)| known.held().next().is_some());
        used.map(|(region, _)| region.clone()).collect()
    }

    /// What an order holds, lowest port first. Costs no message.
    pub fn held_by(&self, region: &RegionCode, order: &OrderId) -> Vec<(HostPort, PortState)> {
        let map = self.inner.ports.read();
        let Some(known) = map.regions.get(region) else { return Vec::new() };
        let held = known.held_by(order).into_iter().filter_map(|host| match known.entry(host).slot {
            Slot::Held(state) => Some((host, state)),
            Slot::Free | Slot::Unreadable => None,
        });
        held.collect()
    }

    /// Reserves all of these ports for a job, or none. Ports bound to the order stay as they are; what it had reserved
    /// for another job, or was cooling, becomes this job's. One write when the mirror is right, none when there is
    /// nothing to change.
    pub async fn reserve(
        &self,
        region: &RegionCode,
        order: &OrderId,
        job: JobId,
        ports: &BTreeSet<HostPort>,
    ) -> Result<Reserved, ReserveError> {
        let listed: Vec<_> = ports.iter().copied().collect();
        let occupied = self.occupied(region, &listed, Some(order))?;
        if !occupied.is_empty() {
            return Err(ReserveError::Occupied(occupied));
        }
        let mut entries = self.entries(region, ports);
        for attempt in 1..=ATTEMPTS {
            let writes = plan::reserve(&entries, order, job, Timestamp::now()).map_err(ReserveError::Occupied)?;
            match self.write(region, &writes).await {
                Ok(written) => return Ok(Reserved::new(region, &entries, &written)),
                Err(WriteError::Bus(error)) => return Err(error.into()),
                Err(WriteError::Busy) => pause(attempt).await,
                Err(WriteError::Conflict) => {}
            }
            entries = self.read_true(region, ports).await?;
        }
        Err(ReserveError::Busy)
    }

    /// Reserves free ports of the range, drawn at random, one for each protocol wanted and in that order.
    pub async fn reserve_random(
        &self,
        region: &RegionCode,
        order: &OrderId,
        job: JobId,
        wanted: &[Protocol],
        range: PortRange,
    ) -> Result<(Reserved, Vec<HostPort>), ReserveError> {
        for attempt in 1..=ATTEMPTS {
            self.check()?;
            let drawn = {
                let map = self.inner.ports.read();
                map.regions.get(region).unwrap_or(&RegionPorts::default()).draw(wanted, range)
            };
            if drawn.len() < wanted.len() {
                return Err(ReserveError::Exhausted);
            }
            let entries = self.entries(region, &drawn.iter().copied().collect());
            // Drawn ports are nobody's, the order's own included.
            let plan = plan::reserve(&entries, order, job, Timestamp::now());
            let Some(writes) = plan.ok().filter(|writes| writes.len() == wanted.len()) else { continue };
            match self.write(region, &writes).await {
                Ok(written) => return Ok((Reserved::new(region, &entries, &written), drawn)),
                Err(WriteError::Bus(error)) => return Err(error.into()),
                Err(WriteError::Busy) => pause(attempt).await,
                Err(WriteError::Conflict) => {
                    self.read_true(region, &drawn.iter().copied().collect()).await?;
                }
            }
        }
        Err(ReserveError::Busy)
    }

    /// Undoes a reservation where nobody has changed it since. Best effort: what is left becomes [`due`](Self::due).
    pub async fn release(&self, reserved: Reserved) {
        let Reserved { region, written } = reserved;
        let undo = written.into_iter().map(|(host, expected, before)| {
            let state = if let Slot::Held(state) = before { Some(state) } else { None };
            Write { host, expected, state }
        });
        let writes: Vec<_> = undo.collect();
        let mut outcome = self.write(&region, &writes).await.map(drop);
        if matches!(outcome, Err(WriteError::Conflict)) {
            outcome = Ok(());
            for write in &writes {
                match self.write(&region, std::slice::from_ref(write)).await {
                    Ok(_) | Err(WriteError::Conflict) => {}
                    Err(error) => outcome = Err(error),
                }
            }
        }
        if let Err(error) = outcome {
            tracing::warn!(%region, ?error, "a reservation is left for the sweeper");
        }
    }

    /// The ledger as it is known now: to be taken before PostgreSQL is asked what an order should hold.
    pub fn view(&self, region: &RegionCode, order: &OrderId) -> View {
        View { region: region.clone(), order: order.clone(), revision: self.inner.ports.read().revision }
    }

    /// Makes an order's entries equal to what PostgreSQL said after the view was taken. Whoever asked PostgreSQL earlier
    /// never overwrites whoever asked later: that is [`Settled::Outdated`]. Harmless when repeated; one write (several, each
    /// true by itself, for more keys than one takes), or none when all is as desired.
    pub async fn settle(&self, view: &View, desired: &Desired) -> Result<Settled, BusError> {
        let View { region, order, revision } = view;
        if !self.inner.pulse.is_fresh() {
            return Err(Stale::Silent.into());
        }
        let mut concerned = desired.ports();
        if let Some(known) = self.inner.ports.read().regions.get(region) {
            concerned.extend(known.held_by(order));
        }
        let entries = self.entries(region, &concerned);
        if entries.values().any(|entry| entry.revision > *revision) {
            return Ok(Settled::Outdated);
        }
        let (writes, conflicts) = plan::settle(&entries, order, desired, Timestamp::now(), self.inner.cooling);
        if !conflicts.is_empty() {
            let ports: Vec<_> = conflicts.iter().map(|host| format!("{}/{}", host.port, host.protocol)).collect();
            tracing::error!(%region, %order, ?ports, "ports of a deployed order are another order's in the ledger");
        }
        for some in writes.chunks(MAX_WRITES) {
            match self.write(region, some).await {
                Ok(_) => {}
                Err(WriteError::Bus(error)) => return Err(error),
                Err(WriteError::Busy) => return Err(BusError::Busy),
                Err(WriteError::Conflict) => {
                    self.read_true(region, &concerned).await?;
                    return Ok(Settled::Outdated);
                }
            }
        }
        Ok(Settled::Done)
    }

    /// Whether the ledger holds all that PostgreSQL knows of. A bucket that was made anew does not: until every order is
    /// settled and [`complete`](Self::complete) is called, no port is looked up or reserved.
    pub fn is_complete(&self) -> bool {
        self.inner.ports.read().is_complete
    }

    /// Why this ledger is to be compared with PostgreSQL before ports are looked up or reserved; none = it was.
    pub fn doubt(&self) -> Option<Doubt> {
        self.inner.ports.read().doubt
    }

    /// Whether the ledger is an older copy of the one that was known: what was found a moment late is there by now.
    pub fn is_set_back(&self, doubt: Doubt) -> bool {
        self.inner.ports.read().revision < doubt.known
    }

    /// Says that the ledger was compared with PostgreSQL, and that every order that differed was settled.
    pub fn clear(&self, doubt: Doubt) {
        self.inner.ports.clear(doubt);
    }

    /// The ports that are bound to each order. Costs no message.
    pub fn bound(&self) -> BTreeMap<(RegionCode, OrderId), BTreeSet<HostPort>> {
        let map = self.inner.ports.read();
        let mut bound: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (region, known) in &map.regions {
            for (host, _, state) in known.held() {
                if let PortState::Bound { order, .. } = state {
                    bound.entry((region.clone(), order.clone())).or_default().insert(host);
                }
            }
        }
        bound
    }

    /// Says that every order has been settled since the bucket was made. Harmless when repeated. The server takes it only
    /// while this mirror is up to date, so it never lands in a bucket that was made anew meanwhile.
    pub async fn complete(&self) -> Result<(), BusError> {
        let bucket = stream::bucket_stream(stream::HOSTPORTS);
        let key = subject::bucket_subject(stream::HOSTPORTS, subject::LEDGER_COMPLETE_KEY);
        for attempt in 1..=ATTEMPTS {
            if self.is_complete() {
                return Ok(());
            }
            self.inner.link.check_connected()?;
            let last = self.inner.ports.read().revision;
            let message = PublishMessage::build().payload("{}".into());
            let message = message.expected_last_sequence(last).expected_last_subject_sequence(0);
            match async { self.inner.link.context.send_publish(key.clone(), message).await?.await }.await {
                Ok(_) => self.inner.ports.set_complete(),
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => pause(attempt).await,
                Err(error) => return Err(BusError::of_publish(&bucket, error)),
            }
        }
        if self.is_complete() { Ok(()) } else { Err(BusError::Busy) }
    }

    /// Why the mirror may not be believed, if so.
    pub(super) fn check(&self) -> Result<(), Stale> {
        if !self.inner.pulse.is_fresh() {
            return Err(Stale::Silent);
        }
        if self.is_complete() && self.doubt().is_none() { Ok(()) } else { Err(Stale::Incomplete) }
    }

    fn entries(&self, region: &RegionCode, ports: &BTreeSet<HostPort>) -> BTreeMap<HostPort, Entry> {
        let map = self.inner.ports.read();
        let known = map.regions.get(region);
        ports.iter().map(|host| (*host, known.map_or(Entry::NONE, |known| known.entry(*host)))).collect()
    }

    async fn write(&self, region: &RegionCode, writes: &[Write]) -> Result<Vec<(HostPort, Entry)>, WriteError> {
        let written = self.inner.writer.write(region, writes).await?;
        self.inner.ports.learn(region, written.iter().cloned());
        Ok(written)
    }

    /// Asks the stream's leader, which is never behind.
    async fn read_true(
        &self,
        region: &RegionCode,
        ports: &BTreeSet<HostPort>,
    ) -> Result<BTreeMap<HostPort, Entry>, BusError> {
        let bucket = stream::bucket_stream(stream::HOSTPORTS);
        let stream = self.inner.link.context.get_stream_no_info(&bucket).await;
        let stream = stream.map_err(|error| BusError::refused("the port ledger", error))?;
        let reads = futures::stream::iter(ports.iter().copied()).map(|host| {
            let stream = &stream;
            async move {
                let key = subject::port_key(region, host);
                let subject = subject::bucket_subject(stream::HOSTPORTS, &key);
                match stream.get_last_raw_message_by_subject(&subject).await {
                    Ok(message) => {
                        let value = Some(&*message.payload).filter(|_| !is_deleted(Some(&message.headers)));
                        Ok((host, Entry::read(&key, message.sequence, value)))
                    }
                    Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((host, Entry::NONE)),
                    Err(error) => Err(BusError::refused("an entry of the port ledger", error)),
                }
            }
        });
        let entries: BTreeMap<_, _> = reads.buffer_unordered(READS_AT_A_TIME).try_collect().await?;
        self.inner.ports.learn(region, entries.iter().map(|(host, entry)| (*host, entry.clone())));
        Ok(entries)
    }
}

impl Reserved {
    /// Two reservations of one job as one.
    #[must_use = "a reservation whose job does not come about is to be released"]
    pub fn and(mut self, more: Self) -> Self {
        self.written.extend(more.written);
        self
    }

    fn new(region: &RegionCode, before: &BTreeMap<HostPort, Entry>, written: &[(HostPort, Entry)]) -> Self {
        let before = |host| before.get(host).map_or(Slot::Free, |entry| entry.slot.clone());
        let written = written.iter().map(|(host, entry)| (*host, entry.revision, before(host))).collect();
        Self { region: region.clone(), written }
    }
}

/// Lets others finish: a little longer each time.
async fn pause(attempt: u32) {
    let longest = u64::from(attempt) * 40;
    let wait = rand::rng().random_range(5..=longest);
    time::sleep(Duration::from_millis(wait)).await;
}
