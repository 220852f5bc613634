//! A job that is watched: each change of it until its end, whichever instance and worker makes it.

use std::time::Duration;

use common::failure::Reason;
use common::telemetry::Chain;
use futures::stream::{self, Stream};
use tokio::time::Instant;

use super::App;
use super::admission::{Admission, NotAdmitted};
use super::change::Wait;
use super::error::AppError;
use crate::store::jobs::{Job, Queue};
use crate::store::orders::Order;

/// How often the record is asked whether a job has begun; its end is heard of at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a record that does not answer is asked again, before the watch ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// A job that waits in its region's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The region's jobs that have not ended.
    pub queue: Queue,
    /// The region's workers that are there.
    pub workers: usize,
}

impl App {
    /// How a job that has not begun stands in its region's queue; none = it has. One statement, for a job that has not.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn waiting(&self, job: &Job) -> Result<Option<Waiting>, AppError> {
        if job.started_at.is_some() || job.outcome.is_some() {
            return Ok(None);
        }
        let workers = self.bus.regions.workers(&job.region);
        let workers = workers.iter().filter(|(_, presence)| presence.ready).count();
        Ok(Some(Waiting { queue: self.store.queue(job).await?, workers }))
    }

    /// The job as it stands, and then each time that it has changed; the last one has an end, unless this instance shuts down
    /// or the record does not answer for long: whoever still wants to know asks again.
    ///
    /// # Errors
    /// [`Reason::NotFound`]; [`Reason::Overloaded`] when too many watch, in all or of the order.
    pub async fn watch_job(&self, order: &Order, id: &str) -> Result<impl Stream<Item = Job> + use<>, AppError> {
        let job = self.job(order, id).await?;
        let admission = self.watchers.admit(&order.id).map_err(|why| {
            let message = match why {
                NotAdmitted::InAll => "too many watch jobs at the moment; try again",
                NotAdmitted::OfOrder => "the order's jobs are watched too many times; end another stream first",
            };
            AppError::new(Reason::Overloaded, message)
        })?;
        let watch = Watch { app: self.clone(), job, _admission: admission };
        Ok(stream::unfold((watch, true), |(mut watch, first)| async move {
            let job = if first { watch.job.clone() } else { watch.next().await? };
            Some((job, (watch, false)))
        }))
    }
}

/// What of a job changes and is told.
fn shown(job: &Job) -> impl PartialEq + use<> {
    (job.state, job.attempts, job.started_at, job.finished_at)
}

struct Watch {
    app: App,
    /// As it was last told.
    job: Job,
    _admission: Admission,
}

impl Watch {
    /// The job, once it has changed. None = it has ended, or there is no more to be told.
    async fn next(&mut self) -> Option<Job> {
        let mut silent_since = None;
        while self.job.outcome.is_none() && !self.app.shutdown.is_cancelled() {
            match self.look().await {
                Ok(job) if shown(&job) != shown(&self.job) => {
                    self.job = job.clone();
                    return Some(job);
                }
                Ok(_) => silent_since = None,
                Err(error) => {
                    let since = *silent_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        tracing::warn!(job = %self.job.id, error = %Chain(&error), "a job is watched no longer");
                        return None;
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
        None
    }

    /// The job as it stands when it has ended, or a moment later.
    async fn look(&self) -> Result<Job, AppError> {
        let job = self.app.wait_for(self.job.clone(), Wait::For(LOOK_EVERY)).await;
        if job.outcome.is_some() {
            return Ok(job);
        }
        let job = self.app.store.job(&job.order, job.id).await?;
        job.ok_or_else(|| AppError::internal("a job on record stays there"))
    }
}
