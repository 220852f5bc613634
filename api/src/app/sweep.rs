//! Frees what time has freed: ports whose cooling is over, reservations whose job never reached the record, idempotency
//! keys of yesterday. The record is asked before anything is freed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::failure::Reason;
use common::ledger::PortState;
use common::name::{OrderId, RegionCode};
use common::telemetry::Chain;
use tokio_util::sync::CancellationToken;

use super::App;
use super::error::AppError;
use crate::bus::{Doubt, Due};
use crate::store::acceptance::ACCEPTED_WITHIN;

/// How often ports are looked at.
const PORTS_EVERY: Duration = Duration::from_secs(5);
/// How often the ledger is compared with the record without a reason, in rounds of [`PORTS_EVERY`].
const COMPARED_EVERY: u64 = 60;
/// How often old keys are forgotten, in rounds of [`PORTS_EVERY`].
const KEYS_EVERY: u64 = 720;

impl App {
    /// Sweeps until shutdown. Several instances may: every write is a compare-and-set.
    pub async fn sweep(self, shutdown: CancellationToken) {
        let mut every = tokio::time::interval(PORTS_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for round in 0_u64.. {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            if let Err(error) = self.sweep_ports(round.is_multiple_of(COMPARED_EVERY)).await {
                tracing::warn!(error = %Chain(&error), "ports not swept");
            }
            if round.is_multiple_of(KEYS_EVERY)
                && let Err(error) = self.forget_old_keys().await
            {
                tracing::warn!(error = %Chain(&error), "old idempotency keys not forgotten");
            }
            if round.is_multiple_of(KEYS_EVERY)
                && let Err(error) = self.store.forget_old_log_anchors().await
            {
                tracing::warn!(error = %Chain(&error), "old anchors of logs not forgotten");
            }
        }
    }

    async fn forget_old_keys(&self) -> Result<(), AppError> {
        while self.store.forget_old_keys().await? > 0 {}
        self.store.forget_old_operator_keys().await?;
        Ok(())
    }

    async fn sweep_ports(&self, compares: bool) -> Result<(), AppError> {
        if !self.bus.ledger.is_complete() {
            let doubt = self.bus.ledger.doubt();
            self.rebuild_ledger().await?;
            if let Some(doubt) = doubt {
                self.bus.ledger.clear(doubt);
            }
        }
        match self.bus.ledger.doubt() {
            Some(doubt) => self.clear_doubt(doubt).await?,
            None if compares => self.compare_ledger().await?,
            None => {}
        }
        let mut orders: BTreeMap<(RegionCode, OrderId), Vec<Due>> = BTreeMap::new();
        for due in self.bus.ledger.due() {
            orders.entry((due.region.clone(), due.order.clone())).or_default().push(due);
        }
        for ((region, order), due) in orders {
            match self.sweep_order(&region, &order, &due).await {
                Ok(()) => {}
                Err(error) if error.took_too_long() => {
                    tracing::warn!(%region, %order, error = %Chain(&error), "an order's ports are left for the next round");
                }
                Err(error) => held_up(&region, &order, error)?,
            }
        }
        Ok(())
    }

    /// Frees what of an order's ports nothing wants any more, by the record. One statement, and no write where a reservation
    /// waits for its own job.
    async fn sweep_order(&self, region: &RegionCode, order: &OrderId, due: &[Due]) -> Result<(), AppError> {
        let holdings = self.store.holdings(region, order).await?;
        let deployed = |due: &Due| holdings.deployed.iter().any(|(_, ports)| ports.contains(&due.host));
        let pending = |due: &Due| holdings.pending.iter().any(|(_, ports)| ports.contains(&due.host));
        let waits = |due: &Due| match &due.state {
            PortState::Reserved { job, .. } => {
                holdings.pending.iter().any(|(pending, ports)| pending == job && ports.contains(&due.host))
            }
            PortState::Bound { .. } | PortState::Cooling { .. } => false,
        };
        let mut unsettled = false;
        for due in due.iter().filter(|due| !waits(due)) {
            if deployed(due) || pending(due) {
                unsettled = true;
            } else if !due.is_over(holdings.at) {
                // By our clock alone.
            } else if self.bus.ledger.free(due).await? {
                tracing::info!(%order, %region, port = %due.host.port, protocol = %due.host.protocol, "port no longer held");
            }
        }
        if unsettled { self.settle(region, order, None).await } else { Ok(()) }
    }

    /// Makes a ledger that was found equal to the record. One that was set back may lack, for as long as an acceptance takes,
    /// reservations of jobs that are not on record yet.
    async fn clear_doubt(&self, doubt: Doubt) -> Result<(), AppError> {
        let is_set_back = self.bus.ledger.is_set_back(doubt);
        self.compare_ledger().await?;
        if is_set_back {
            tracing::warn!("the port ledger was set back to an older copy");
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(ACCEPTED_WITHIN) => {}
            }
            self.compare_ledger().await?;
        }
        self.bus.ledger.clear(doubt);
        Ok(())
    }

    /// Settles every order whose bound ports are not those of the record. One statement, where none differs.
    async fn compare_ledger(&self) -> Result<(), AppError> {
        let (record, ledger) = (self.store.deployed_ports().await?, self.bus.ledger.bound());
        let orders: BTreeSet<_> = record.keys().chain(ledger.keys()).collect();
        for place in orders {
            let (region, order) = place;
            if record.get(place) == ledger.get(place) {
                continue;
            }
            tracing::info!(%region, %order, "the port ledger differs from the record");
            if let Err(error) = self.settle(region, order, None).await {
                held_up(region, order, error)?;
            }
        }
        Ok(())
    }

    /// Fills a ledger that was made anew from the record: every order that holds ports is settled. Where there are any, it
    /// is done twice, the second time after whatever was reserved in the ledger before it has reached the record or never
    /// will.
    async fn rebuild_ledger(&self) -> Result<(), AppError> {
        for round in 1..=2 {
            let orders = self.store.orders_with_ports().await?;
            tracing::info!(orders = orders.len(), round, "the port ledger is rebuilt from PostgreSQL");
            for (region, order) in &orders {
                if let Err(error) = self.settle(region, order, None).await {
                    held_up(region, order, error)?;
                }
            }
            if orders.is_empty() {
                break;
            }
            if round == 1 {
                tokio::select! {
                    () = self.shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(ACCEPTED_WITHIN) => {}
                }
            }
        }
        Ok(self.bus.ledger.complete().await?)
    }
}

/// An order whose ports cannot be looked after holds up no other; what cannot be reached ends the attempt.
fn held_up(region: &RegionCode, order: &OrderId, error: AppError) -> Result<(), AppError> {
    if error.reason != Reason::Internal {
        return Err(error);
    }
    tracing::error!(%region, %order, error = %Chain(&error), "the ledger does not follow an order");
    Ok(())
}
