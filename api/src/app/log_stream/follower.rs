//! One client's way through a log: pages until it has caught up, then its run's hub, and pages again whenever it falls
//! behind. It has no task of its own: whoever reads the stream drives it, and dropping it ends it.

use std::sync::Arc;
use std::time::Duration;

use common::failure::Reason;
use common::log::{PageHead, take_line};
use common::name::{ContainerName, RegionCode};
use common::telemetry::Chain;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::event::{Batch, EndReason, Event};
use super::hub::{Key, Seat};
use super::progress::{BATCH_BYTES, Next, Progress, last_run};
use super::ring::{News, Place};
use super::{Admission, LogRequest, Page};
use crate::app::App;
use crate::app::error::AppError;

/// How long to wait before a page is asked for again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long a stream that only shows what there is waits for a region that does not show it.
const GIVES_UP_AFTER: Duration = Duration::from_secs(30);

/// What a follower begins with.
pub(super) struct Begun {
    pub(super) admission: Admission,
    /// Cancelled when the secret that opened the stream is revoked.
    pub(super) revoked: Arc<CancellationToken>,
    pub(super) region: RegionCode,
    pub(super) request: LogRequest,
    pub(super) page: Page,
    /// Whether the first line only marks the place.
    pub(super) skip_first: bool,
}

/// One client's stream.
pub struct Follower {
    app: App,
    admission: Admission,
    revoked: Arc<CancellationToken>,
    region: RegionCode,
    container: ContainerName,
    progress: Progress,
    at: At,
    pause: Duration,
    /// Since when no page is to be had.
    failing_since: Option<Instant>,
    /// Whether the last pages brought anything.
    brought: bool,
}

/// Where a follower is.
enum At {
    /// In a page.
    Page(Page),
    /// Before the next page.
    Fetch,
    /// A while before the next page.
    Rest,
    /// All was shown that there was a moment ago.
    CaughtUp(Option<Seat>),
    /// At the hub, before the line of this number.
    Live(Seat, u64),
    /// At the end.
    Over,
}

impl Follower {
    pub(super) fn begin(app: App, begun: Begun) -> Result<Self, AppError> {
        let Begun { admission, revoked, region, request, mut page, skip_first } = begun;
        let PageHead { container, run, .. } = page.head.clone();
        let Some(last_run) = last_run(&page.head) else {
            let message = "the container has not been started again yet; try again in a moment";
            return Err(AppError::new(Reason::LogUnavailable, message));
        };
        let mut progress = Progress::new(&request, run, last_run, now_ns());
        if skip_first {
            progress.after = take_line(&mut page.lines).map_err(AppError::internal)?.map(|line| line.mark);
        }
        Ok(Self {
            app,
            admission,
            revoked,
            region,
            container,
            progress,
            at: At::Page(page),
            pause: BACKOFF.0,
            failing_since: None,
            brought: true,
        })
    }

    /// What comes next; none = the stream is over.
    pub async fn next(&mut self) -> Option<Batch> {
        let (shutdown, revoked) = (self.app.shutdown.clone(), self.revoked.clone());
        while !matches!(self.at, At::Over) {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => self.end(self.progress.show_reason(EndReason::ServerShutdown)),
                () = revoked.cancelled() => self.end(self.progress.show_reason(EndReason::SecretRevoked)),
                batch = self.step() => batch,
            };
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    /// One step; none = take another. What was shown is given out before anything is waited for: a step may be dropped.
    async fn step(&mut self) -> Option<Batch> {
        match std::mem::replace(&mut self.at, At::Fetch) {
            At::Page(page) => self.show(page),
            At::Fetch => self.fetch().await,
            At::Rest => {
                self.rest().await;
                None
            }
            At::CaughtUp(seat) => {
                self.join(seat).await;
                None
            }
            At::Live(seat, number) => self.listen(seat, number).await,
            At::Over => self.end(Vec::new()),
        }
    }

    /// Some events of a page.
    fn show(&mut self, page: Page) -> Option<Batch> {
        let before = self.progress.after;
        let (events, next) = self.progress.show_page(page);
        self.brought |= before != self.progress.after;
        let batch = self.batch(events);
        self.at = match next {
            Next::Page(page) => At::Page(page),
            Next::Fetch => At::Fetch,
            Next::Lost => At::Rest,
            Next::Broken => {
                tracing::warn!(region = %self.region, "a page of a log cannot be read");
                At::Rest
            }
            Next::LastRun => {
                self.progress.go_to_last_run();
                At::Fetch
            }
            Next::CaughtUp => At::CaughtUp(None),
            Next::Over => At::Over,
        };
        batch
    }

    /// Asks for the next page; after a failure, not at once. Of the time that was asked for the last page shows the end.
    async fn fetch(&mut self) -> Option<Batch> {
        self.progress.look_at_the_time(now_ns());
        let (container, run) = (Some(self.container.clone()), Some(self.progress.run.clone()));
        let page = self.app.log_page(&self.admission.order, &self.region, container, run, self.progress.start());
        match page.await {
            Ok(page) => {
                self.failing_since = None;
                self.at = At::Page(page);
            }
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "a page of a log is not to be had");
                let since = *self.failing_since.get_or_insert_with(Instant::now);
                if self.progress.is_to_end() && since.elapsed() >= GIVES_UP_AFTER {
                    return self.end(self.progress.show_reason(EndReason::RegionUnavailable));
                }
                self.rest().await;
            }
        }
        None
    }

    /// Finds its place at the hub, or goes on with another page.
    async fn join(&mut self, seat: Option<Seat>) {
        let after = self.progress.after;
        let seat = seat.or_else(|| self.app.log_streams.hubs.join(&self.key(), after));
        let Some(mut seat) = seat else {
            // Too many hubs: now and then a page must do.
            return self.rest().await;
        };
        match seat.place(after) {
            Place::Before(number) => self.at = At::Live(seat, number),
            // Pages bring what is between, unless they already have.
            Place::Older if !std::mem::take(&mut self.brought) => self.rest().await,
            Place::Older => {}
            // The hub is a little behind, or waits for its region.
            Place::Unknown => {
                let known = async {
                    while seat.place(after) == Place::Unknown {
                        seat.changed().await;
                    }
                };
                if timeout(self.pause, known).await.is_ok() {
                    self.at = At::CaughtUp(Some(seat));
                } else {
                    self.pause = (self.pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Listens at the hub.
    async fn listen(&mut self, mut seat: Seat, number: u64) -> Option<Batch> {
        match seat.news(number, BATCH_BYTES) {
            News::Lines(lines) => {
                self.pause = BACKOFF.0;
                let next = number + lines.len() as u64;
                let (events, goes_on) = self.progress.show_lines(lines);
                self.at = if goes_on { At::Live(seat, next) } else { At::Over };
                self.batch(events)
            }
            News::Lagging => None,
            // Pages must do, until it does.
            News::Refused => {
                self.rest().await;
                None
            }
            News::Ended(ended) => self.end(self.progress.show_end(ended)),
            News::Nothing => {
                let left = self.progress.left_ns(now_ns()).map(|left| u64::try_from(left).unwrap_or_default());
                match left.map(Duration::from_nanos) {
                    // What the hub has not heard of a page shows.
                    Some(left) if timeout(left, seat.changed()).await.is_err() => return None,
                    Some(_) => {}
                    None => seat.changed().await,
                }
                self.at = At::Live(seat, number);
                None
            }
        }
    }

    fn key(&self) -> Key {
        let (order, region) = (self.admission.order.clone(), self.region.clone());
        Key { order, region, container: self.container.clone(), run: self.progress.run.clone() }
    }

    async fn rest(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(BACKOFF.1);
    }

    fn end(&mut self, events: Vec<Event>) -> Option<Batch> {
        self.at = At::Over;
        self.batch(events)
    }

    fn batch(&self, events: Vec<Event>) -> Option<Batch> {
        (!events.is_empty()).then(|| Batch { run: self.progress.run.clone(), events })
    }
}

fn now_ns() -> i64 {
    Timestamp::now().as_nanosecond().try_into().unwrap_or(i64::MAX)
}
