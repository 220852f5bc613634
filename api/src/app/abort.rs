//! The end of an order by its operator: what runs is deleted, its ports cool and become free.

use common::name::JobId;
use serde_json::Value;

use super::App;
use super::change::Wait;
use super::error::AppError;
use super::operator::{OperatorRequest, ended, read};
use crate::store::acceptance::{Acceptance, Accepted};
use crate::store::history::{Changed, Detail};
use crate::store::jobs::Job;

impl App {
    /// Aborts an order. An order that was never deployed has nothing to delete, and no job. A repeated key gives the same job.
    ///
    /// # Errors
    /// Every problem of the body; [`Reason::NotFound`](common::failure::Reason::NotFound);
    /// [`Reason::OrderEnded`](common::failure::Reason::OrderEnded) when it was aborted or deleted before.
    pub async fn abort_order(
        &self,
        id: &str,
        request: OperatorRequest<'_>,
        wait: Wait,
    ) -> Result<Option<Job>, AppError> {
        let reason = read_reason(request.body)?;
        let order = self.find_order(id).await?;
        let digest = self.request_digest("abort_order", request.body);
        if let Some(earlier) = self.done_before(&order.id, request, &digest).await? {
            return self.end_of(earlier.job, wait).await;
        }
        let told = || tracing::info!(order = %id, by = request.operator.name, "order aborted");
        let word = request.word(Detail { reason: Some(reason), ..Detail::default() }, &digest);
        let deployed_to = order.purchase.region.clone().filter(|_| order.last_revision.is_some());
        let (order, region) = if let Some(region) = deployed_to {
            (order, region)
        } else {
            if let Changed::Yes(_) = self.store.abort_unplaced(&order.id, &word).await? {
                told();
                return Ok(None);
            }
            // Another request with the same key came first, or the order has ended, or was deployed a moment ago.
            if let Some(earlier) = self.done_before(&order.id, request, &digest).await? {
                return self.end_of(earlier.job, wait).await;
            }
            let order = self.find_order(id).await?;
            let region = order.purchase.region.clone().filter(|_| order.last_revision.is_some());
            (order, region.ok_or_else(ended)?)
        };
        let acceptance = Acceptance { order: &order.id, region: &region, job: JobId::new(), idempotency: None };
        let job = match self.store.accept_abort(&acceptance, &word).await? {
            Accepted::Yes(job) => {
                told();
                job
            }
            // Another request with the same key may have come first.
            Accepted::KeyTaken | Accepted::No => {
                let earlier = self.done_before(&order.id, request, &digest).await?.ok_or_else(ended)?;
                return self.end_of(earlier.job, wait).await;
            }
        };
        Ok(Some(match self.run(&job.message(None)?, wait).await {
            Some(result) => job.ended(result),
            None => job,
        }))
    }

    /// The same job again, with its end if that comes in time.
    async fn end_of(&self, job: Option<Job>, wait: Wait) -> Result<Option<Job>, AppError> {
        match job {
            Some(job) => Ok(Some(self.wait_for(job, wait).await)),
            None => Ok(None),
        }
    }
}

/// `reason`: why, for the history; at most 512 characters.
fn read_reason(body: &Value) -> Result<String, AppError> {
    read(body, |body, problems| body.required("reason", problems)?.short_text(512, problems))
}
