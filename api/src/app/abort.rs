//! The end of an order by its operator: what runs is deleted, its ports cool and become free.

use std::time::Duration;

use common::failure::Reason;
use common::name::JobId;
use serde_json::Value;

use super::App;
use super::change::Wait;
use super::error::AppError;
use super::json::{Field, Problems};
use crate::store::acceptance::{Acceptance, Accepted};
use crate::store::jobs::Job;

impl App {
    /// Aborts an order. An order that was never deployed has nothing to delete, and no job.
    ///
    /// # Errors
    /// Every problem of the body; [`Reason::NotFound`]; [`Reason::OrderEnded`] when it was aborted before.
    pub async fn abort_order(&self, id: &str, body: &Value, wait: Option<Duration>) -> Result<Option<Job>, AppError> {
        let mut problems = Problems::default();
        let reason = read_reason(body, &mut problems);
        let Some(reason) = reason.filter(|_| problems.is_empty()) else { return Err(AppError::invalid(problems)) };
        let order = self.find_order(id).await?;
        let deployed_to = order.purchase.region.clone().filter(|_| order.last_revision.is_some());
        let (order, region) = match deployed_to {
            Some(region) => (order, region),
            None if self.store.abort_unplaced(&order.id).await?.is_some() => {
                tracing::info!(order = %order.id, reason, "order aborted");
                return Ok(None);
            }
            // It has ended, or was deployed a moment ago.
            None => {
                let order = self.find_order(id).await?;
                let region = order.purchase.region.clone().ok_or_else(ended)?;
                (order, region)
            }
        };
        let acceptance = Acceptance { order: &order.id, region: &region, job: JobId::new(), idempotency: None };
        let Accepted::Yes(job) = self.store.accept_abort(&acceptance).await? else { return Err(ended()) };
        tracing::info!(order = %order.id, reason, "order aborted");
        let result = self.run(&job.message(None)?, wait.map_or(Wait::No, Wait::For)).await;
        Ok(Some(match result {
            Some(result) => job.ended(result),
            None => job,
        }))
    }
}

/// `reason`: why, for the log; at most 512 characters.
fn read_reason(body: &Value, problems: &mut Problems) -> Option<String> {
    let mut body = Field::root(body).object(problems)?;
    let reason = body.required("reason", problems).and_then(|field| field.short_text(512, problems));
    body.finish(problems);
    reason
}

fn ended() -> AppError {
    AppError::new(Reason::OrderEnded, "the order has been aborted before")
}
