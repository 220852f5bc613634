//! What becomes of results: the end goes on record, and the ledger follows the record.

use common::fail_point::FailPoint;
use common::failure::Reason;
use common::job::{JobResult, Outcome};
use common::name::{JobId, OrderId, RegionCode};
use common::telemetry::Chain;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::App;
use super::error::AppError;
use crate::bus::{Desired, Ended, EndedJob, Settled};
use crate::store::Store;

/// The most jobs that are marked by one statement.
const MARKS_AT_A_TIME: usize = 256;
/// How often a settlement is tried while others change the order's ports.
const ATTEMPTS: u32 = 8;

/// Marks jobs that the broker has, many at a time, until the core is gone or `stop`.
pub(super) async fn mark_published(store: Store, mut published: Receiver<(JobId, u64)>, stop: CancellationToken) {
    let mut jobs = Vec::new();
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => published.try_recv().map(|job| jobs.push(job)).map_or(0, |()| 1),
            received = published.recv_many(&mut jobs, MARKS_AT_A_TIME) => received,
        };
        if received == 0 {
            return;
        }
        if let Err(error) = store.jobs_published(&jobs).await {
            tracing::warn!(jobs = jobs.len(), error = %Chain(&error), "jobs not marked published");
        }
        jobs.clear();
    }
}

impl App {
    /// Records every result that this instance's share of the consumer brings, until shutdown.
    pub async fn record_results(self, shutdown: CancellationToken) {
        let app = &self;
        let record = |ended: Ended| async move { app.record(&ended.region, &ended.result).await };
        self.bus.results().run(record, shutdown).await;
    }

    /// Records that workers have begun jobs, until shutdown. These notices may be lost: nothing depends on them.
    pub async fn record_starts(self, shutdown: CancellationToken) {
        let Some(mut started): Option<Receiver<_>> = self.bus.take_started() else { return };
        loop {
            let notice = tokio::select! {
                () = shutdown.cancelled() => return,
                notice = started.recv() => notice,
            };
            let Some(notice) = notice else { return };
            if let Err(error) = self.store.job_started(&notice).await {
                tracing::debug!(job = %notice.id, error = %Chain(&error), "start not recorded");
            }
        }
    }

    /// Records one result: harmless when repeated. A result from another region than the job's is no end of that job.
    pub(super) async fn record(&self, region: &RegionCode, result: &JobResult) -> Result<(), AppError> {
        FailPoint::ResultTaken.reached();
        self.store.job_ended(region, result).await?;
        FailPoint::EndRecorded.reached();
        let may_have_run = !matches!(result.outcome, Outcome::Failed(_));
        self.settle(region, &result.order, Some(EndedJob { id: result.id, may_have_run })).await?;
        FailPoint::PortsSettled.reached();
        let (job, order, attempts) = (result.id, &result.order, result.attempts);
        tracing::info!(%job, %order, %region, attempts, outcome = ?result.outcome, "job ended");
        Ok(())
    }

    /// Makes the ledger equal to what the record says of an order's ports.
    pub(super) async fn settle(
        &self,
        region: &RegionCode,
        order: &OrderId,
        ended: Option<EndedJob>,
    ) -> Result<(), AppError> {
        for _ in 0..ATTEMPTS {
            let view = self.bus.ledger.view(region, order);
            let holdings = self.store.holdings(region, order).await?;
            let desired = Desired { at: holdings.at, bound: holdings.deployed, pending: holdings.pending, ended };
            if self.bus.ledger.settle(&view, &desired).await? == Settled::Done {
                return Ok(());
            }
        }
        // Or the ledger is another one than the one that is watched.
        self.bus.suspect();
        Err(AppError::new(Reason::Overloaded, "others keep changing the order's ports"))
    }
}
