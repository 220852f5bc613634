//! Frees what time has freed: ports whose cooling is over, reservations whose job never reached the record, idempotency
//! keys of yesterday. The record is asked before anything is freed.

use std::time::Duration;

use common::failure::Reason;
use common::telemetry::Chain;
use tokio_util::sync::CancellationToken;

use super::App;
use super::error::AppError;

/// How often ports are looked at.
const PORTS_EVERY: Duration = Duration::from_secs(5);
/// How long a request may take from reserving its ports to its acceptance: statements and waits for connections are
/// bounded well below.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(15);
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
            if let Err(error) = self.sweep_ports().await {
                tracing::warn!(error = %Chain(&error), "ports not swept");
            }
            if round.is_multiple_of(KEYS_EVERY)
                && let Err(error) = self.store.forget_old_keys().await
            {
                tracing::warn!(error = %Chain(&error), "old idempotency keys not forgotten");
            }
        }
    }

    async fn sweep_ports(&self) -> Result<(), AppError> {
        if !self.bus.ledger.is_complete() {
            self.rebuild_ledger().await?;
        }
        for due in self.bus.ledger.due() {
            let holdings = self.store.holdings(&due.order).await?;
            let mut wanted = holdings.deployed.iter().map(|(_, ports)| ports);
            let mut pending = holdings.pending.iter().map(|(_, ports)| ports);
            if wanted.any(|ports| ports.contains(&due.host)) || pending.any(|ports| ports.contains(&due.host)) {
                self.settle(&due.region, &due.order, None).await?;
            } else if self.bus.ledger.free(&due).await? {
                let (order, region, host) = (&due.order, &due.region, due.host);
                tracing::info!(%order, %region, port = %host.port, protocol = %host.protocol, "port free");
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
                    // An order that cannot be settled holds up no other; what cannot be reached ends the attempt.
                    if error.reason != Reason::Internal {
                        return Err(error);
                    }
                    tracing::error!(%region, %order, error = %Chain(&error), "an order's ports are not in the ledger");
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
