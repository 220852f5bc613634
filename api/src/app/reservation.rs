//! The host ports of a deploy: chosen by the customer or assigned by the system, all reserved or none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::failure::Reason;
use common::name::{JobId, RegionCode};
use common::pod::{Pod, Port};
use common::port::{HostPort, PortNumber, Protocol};
use rand::Rng as _;

use super::App;
use super::error::AppError;
use crate::bus::{ReserveError, Reserved};
use crate::store::orders::{Order, PortSpecification};

/// How often a reservation is tried while others change the same ports; each try is several of the ledger's own.
const ATTEMPTS: u32 = 4;
/// The longest pause between two tries, in milliseconds.
const PAUSE_MS: u64 = 250;

/// A port as containers know it; unique in a pod.
type Inside = (Protocol, PortNumber);

/// Each port of a pod, and its host port as far as it is known.
type Ports = BTreeMap<Inside, Option<PortNumber>>;

/// Why ports were not reserved.
#[derive(Debug)]
pub(super) enum NotReserved {
    /// Others kept changing the same ports.
    Busy(AppError),
    /// It cannot be.
    Refused(AppError),
}

impl From<AppError> for NotReserved {
    fn from(error: AppError) -> Self {
        Self::Refused(error)
    }
}

impl From<ReserveError> for NotReserved {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Occupied(ports) => {
                let names: Vec<String> = ports.iter().map(|host| format!("{} {}", host.protocol, host.port)).collect();
                let message = format!("host port(s) occupied: {}; choose others", names.join(", "));
                Self::Refused(AppError::new(Reason::PortOccupied, message))
            }
            ReserveError::Exhausted => {
                let message = "the region has no port left to assign; try again later";
                let error = AppError::new(Reason::PortsExhausted, message);
                Self::Refused(error.retry_after(Duration::from_mins(1)))
            }
            ReserveError::Busy => {
                let message = "others are changing the same ports at the moment; try again";
                Self::Busy(AppError::overloaded(message, error))
            }
            ReserveError::Stale(_) | ReserveError::Bus(_) => {
                Self::Refused(AppError::overloaded("ports cannot be reserved at the moment; try again", error))
            }
        }
    }
}

impl App {
    /// Reserves the pod's host ports for a job and puts them into the pod: those that the customer chose, or some from the
    /// region's range. An order with assigned ports keeps those that it had for the same container port.
    pub(super) async fn reserve_ports(
        &self,
        order: &Order,
        region: &RegionCode,
        job: JobId,
        pod: &mut Pod,
    ) -> Result<Reserved, NotReserved> {
        let mut attempt = 1;
        let (reserved, ports) = loop {
            match self.try_to_reserve_ports(order, region, job, pod).await {
                Err(NotReserved::Busy(_)) if attempt < ATTEMPTS => attempt += 1,
                reserved => break reserved?,
            }
            let pause = rand::rng().random_range(1..=PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        };
        for port in pod.containers.iter_mut().flat_map(|container| &mut container.ports) {
            port.host_port = ports.get(&inside(*port)).copied().flatten();
        }
        Ok(reserved)
    }

    async fn try_to_reserve_ports(
        &self,
        order: &Order,
        region: &RegionCode,
        job: JobId,
        pod: &Pod,
    ) -> Result<(Reserved, Ports), NotReserved> {
        let ledger = &self.bus.ledger;
        let ports = pod.containers.iter().flat_map(|container| &container.ports);
        let mut ports: Ports = ports.map(|port| (inside(*port), port.host_port)).collect();
        let assigned_by_system = order.purchase.port_specification == PortSpecification::Random;
        if assigned_by_system {
            self.keep_ports(order, region, &mut ports).await?;
        }
        let host = |((protocol, _), port): (&Inside, &Option<PortNumber>)| {
            port.map(|port| HostPort { protocol: *protocol, port })
        };
        let chosen: BTreeSet<HostPort> = ports.iter().filter_map(host).collect();
        let reserved = ledger.reserve(region, &order.id, job, &chosen).await?;
        let open = ports.iter().filter(|(_, port)| assigned_by_system && port.is_none());
        let open: Vec<Inside> = open.map(|(inside, _)| *inside).collect();
        if open.is_empty() {
            return Ok((reserved, ports));
        }
        let Some(range) = self.bus.regions.random_range(region) else {
            ledger.release(reserved).await;
            return Err(AppError::region_unavailable(region).into());
        };
        let wanted: Vec<Protocol> = open.iter().map(|(protocol, _)| *protocol).collect();
        match ledger.reserve_random(region, &order.id, job, &wanted, range).await {
            Ok((more, assigned)) => {
                ports.extend(open.into_iter().zip(assigned).map(|(inside, host)| (inside, Some(host.port))));
                Ok((reserved.and(more), ports))
            }
            Err(error) => {
                ledger.release(reserved).await;
                Err(error.into())
            }
        }
    }

    /// Fills in the ports that the order's newest revision, or the one that runs, had for the same container port, as far as
    /// the order still holds them and nobody else was seen on them.
    async fn keep_ports(&self, order: &Order, region: &RegionCode, ports: &mut Ports) -> Result<(), NotReserved> {
        let held = self.bus.ledger.held_by(region, &order.id);
        if held.is_empty() {
            return Ok(());
        }
        let held: Vec<HostPort> = held.into_iter().map(|(host, _)| host).collect();
        let taken = self.bus.ledger.occupied(region, &held, Some(&order.id)).map_err(ReserveError::from)?;
        let revisions: BTreeSet<_> = order.deployed_revision().into_iter().chain(order.last_revision).collect();
        for revision in revisions {
            let before = self.store.pod(&order.id, revision).await.map_err(AppError::from)?;
            for port in before.iter().flat_map(|pod| &pod.containers).flat_map(|container| &container.ports) {
                if let (Some(kept), Some(host)) = (ports.get_mut(&inside(*port)), port.host())
                    && held.contains(&host)
                    && !taken.contains(&host)
                {
                    *kept = Some(host.port);
                }
            }
        }
        Ok(())
    }
}

fn inside(port: Port) -> Inside {
    (port.protocol, port.container_port)
}
