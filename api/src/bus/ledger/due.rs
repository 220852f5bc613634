//! Ports that time may have freed.

use common::ledger::PortState;
use common::name::{OrderId, RegionCode};
use common::port::HostPort;
use jiff::Timestamp;

use super::Ledger;
use crate::bus::batch::WriteError;
use crate::bus::error::BusError;
use crate::bus::plan::{self, Write};

/// A port that may be free: PostgreSQL knows whether anything still wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Where it is.
    pub region: RegionCode,
    /// Who holds it.
    pub order: OrderId,
    /// Which it is.
    pub host: HostPort,
    /// Reserved for long, or cooled.
    pub state: PortState,
    revision: u64,
}

impl Due {
    /// Whether nothing that reserved it can be accepted any more, by PostgreSQL's clock, which decides on that.
    pub fn is_over(&self, at: Timestamp) -> bool {
        match &self.state {
            PortState::Reserved { since, .. } => plan::is_old(*since, at),
            PortState::Bound { .. } | PortState::Cooling { .. } => true,
        }
    }
}

impl Ledger {
    /// What may be free: cooled ports that the region has since said nobody uses, and reservations that are not young.
    /// Costs no message.
    pub fn due(&self) -> Vec<Due> {
        if self.check().is_err() {
            return Vec::new();
        }
        let now = Timestamp::now();
        let map = self.inner.ports.read();
        let mut due = Vec::new();
        for (region, known) in &map.regions {
            due.extend(known.held().filter_map(|(host, revision, state)| {
                let is_due = match state {
                    PortState::Bound { .. } => false,
                    PortState::Reserved { since, .. } => plan::is_old(*since, now),
                    PortState::Cooling { until, .. } => *until <= now && known.is_seen_free_since(host, revision),
                };
                let order = state.order().clone();
                is_due.then(|| Due { region: region.clone(), order, host, state: state.clone(), revision })
            }));
        }
        due
    }

    /// Frees a port that is still as it was when it was due; false when it is not. One that was reserved while it cooled goes
    /// on cooling.
    pub async fn free(&self, due: &Due) -> Result<bool, BusError> {
        let write = Write { host: due.host, expected: due.revision, state: plan::undone(&due.state) };
        match self.write(&due.region, &[write]).await {
            Ok(_) => Ok(true),
            Err(WriteError::Conflict) => Ok(false),
            Err(WriteError::Busy) => Err(BusError::Busy),
            Err(WriteError::Bus(error)) => Err(error),
        }
    }
}
