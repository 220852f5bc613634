//! One client's way through a log: pages until it has caught up, then its run's hub, and pages again whenever it falls
//! behind. It has no task of its own: whoever reads the stream drives it, and dropping it ends it.

use std::time::Duration;

use bytes::Bytes;
use common::failure::Reason;
use common::log::{Begins, FollowEnd, Mark, PageHead, Position, RunId, take_line};
use common::name::{ContainerName, RegionCode};
use common::read::LogStart;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::hub::{Key, Seat};
use super::ring::{News, Place};
use super::{Admission, LogRequest, Page};
use crate::app::App;
use crate::app::error::AppError;

/// About how many bytes of lines are given out at once.
const BATCH_BYTES: usize = 32 << 10;
/// How long to wait before a page is asked for again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long after `end` a line of before may still come.
const LATE_NS: i64 = 2 * SECOND_NS;
/// How far a region's clock may be ahead of ours: lines beyond were written after the stream began.
const CLOCKS_NS: i64 = 60 * SECOND_NS;
const SECOND_NS: i64 = 1_000_000_000;

/// Some events of one run's log.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// In their order; at least one.
    pub events: Vec<Event>,
}

/// What happens in a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The container wrote a line.
    Line {
        /// Which.
        mark: Mark,
        /// What it says: bytes without a newline.
        text: Bytes,
    },
    /// Lines after this one, and before the next, may be missing.
    Gap {
        /// The last line before; none = from the beginning.
        after: Option<Mark>,
        /// The first line after, if there is one.
        before: Option<Mark>,
        /// What is missing and why.
        message: &'static str,
    },
    /// Nothing more comes.
    End {
        /// The last line.
        after: Option<Mark>,
        /// Why.
        reason: EndReason,
    },
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The run is over.
    Run(FollowEnd),
    /// The time that was asked for is over.
    EndReached,
    /// All that there was has been shown, and no more was asked for.
    Unfollowed,
    /// This process ends.
    ServerShutdown,
}

impl EndReason {
    /// The stable word, and what it means to the client.
    pub fn words(self) -> (&'static str, &'static str) {
        let message = match self {
            Self::Run(FollowEnd::ContainerRestarted) => "the container was started again; ask again for its new log",
            Self::Run(FollowEnd::PodReplaced) => "the pod was replaced by another; ask again for its log",
            Self::Run(FollowEnd::PodStopped) => "the pod runs no more",
            Self::Run(FollowEnd::Shutdown | FollowEnd::Unheard) => "the region ends the stream; ask again",
            Self::EndReached => "endTimestamp is reached",
            Self::Unfollowed => "this is all that there is now",
            Self::ServerShutdown => "the server is shutting down; ask again, another one goes on",
        };
        let word = match self {
            Self::Run(end) => end.as_str(),
            Self::EndReached => "EndReached",
            Self::Unfollowed => "Unfollowed",
            Self::ServerShutdown => "ServerShutdown",
        };
        (word, message)
    }
}

/// What a follower begins with.
pub(super) struct Begun {
    pub(super) admission: Admission,
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
    region: RegionCode,
    container: ContainerName,
    /// The run that is shown.
    run: RunId,
    /// The last line that was shown.
    after: Option<Mark>,
    /// The run with which the stream ends: the present one when it began.
    last_run: RunId,
    /// Lines before the first of this time are not shown.
    not_before: Option<i64>,
    /// The first line beyond this time ends the stream.
    until: Option<(i64, EndReason)>,
    unfollow: bool,
    at: At,
    pause: Duration,
    over: bool,
}

/// Where a follower is.
enum At {
    /// In a page.
    Page(Page),
    /// Before the next page.
    Fetch,
    /// All was shown that there was a moment ago.
    CaughtUp(Option<Seat>),
    /// At the hub, before the line of this number.
    Live(Seat, u64),
}

impl Follower {
    pub(super) fn begin(app: App, begun: Begun) -> Result<Self, AppError> {
        let Begun { admission, region, request, page, skip_first } = begun;
        let after = request.after.and_then(|position| position.after);
        let PageHead { container, run, present, .. } = page.head.clone();
        let Some(last_run) = present else {
            let message = "the pod has not been made yet; try again in a moment";
            return Err(AppError::new(Reason::LogUnavailable, message));
        };
        let bound = |second: i64| second.saturating_add(1).saturating_mul(SECOND_NS) - 1;
        let now = now_ns().saturating_add(CLOCKS_NS);
        let until = match (request.end, request.unfollow) {
            (Some(end), _) => Some((bound(end), EndReason::EndReached)),
            (None, true) => Some((now, EndReason::Unfollowed)),
            (None, false) => None,
        };
        let mut follower = Self {
            app,
            admission,
            region,
            container,
            run,
            after,
            last_run,
            not_before: request.start.map(|start| start.saturating_mul(SECOND_NS)).filter(|_| after.is_none()),
            until,
            unfollow: request.unfollow,
            at: At::Page(page),
            pause: BACKOFF.0,
            over: false,
        };
        if skip_first && let At::Page(page) = &mut follower.at {
            follower.after = take_line(&mut page.lines).map_err(AppError::internal)?.map(|line| line.mark);
        }
        Ok(follower)
    }

    /// What comes next; none = the stream is over. Dropping the call ends nothing, but a page that was on its way is asked
    /// for again.
    pub async fn next(&mut self) -> Option<Batch> {
        let shutdown = self.app.shutdown.clone();
        while !self.over {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => self.end(EndReason::ServerShutdown, Vec::new()),
                batch = self.step() => batch,
            };
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    /// One step; none = take another.
    async fn step(&mut self) -> Option<Batch> {
        match std::mem::replace(&mut self.at, At::Fetch) {
            At::Page(page) => self.show_page(page),
            At::Fetch => self.fetch().await,
            At::CaughtUp(seat) => self.join(seat).await,
            At::Live(seat, next) => self.listen(seat, next).await,
        }
    }

    /// Some lines of a page, or what comes after it.
    fn show_page(&mut self, mut page: Page) -> Option<Batch> {
        let mut events = Vec::new();
        match page.head.begins {
            Begins::There => {}
            Begins::Later => {
                page.head.begins = Begins::There;
                if let Some(after) = self.after {
                    let before = page.first().ok().flatten();
                    let message = "lines were removed by the region before they could be read";
                    events.push(Event::Gap { after: Some(after), before, message });
                }
            }
            Begins::Nowhere => {
                let message = "the log of before is not there any more";
                events.push(Event::Gap { after: self.after, before: None, message });
            }
        }
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let line = match take_line(&mut page.lines) {
                Ok(Some(line)) => line,
                Ok(None) => return self.after_page(&page.head, events),
                Err(error) => {
                    tracing::warn!(region = %self.region, %error, "a page of a log cannot be read");
                    // The rest is asked for again, a little later.
                    return self.batch(events);
                }
            };
            bytes += line.text.len() + 64;
            if self.is_beyond(line.mark) {
                return self.end_beyond(events);
            }
            self.after = Some(line.mark);
            if self.not_before.is_none_or(|time| line.mark.time_ns >= time) {
                self.not_before = None;
                events.push(Event::Line { mark: line.mark, text: line.text });
            }
        }
        self.at = At::Page(page);
        self.batch(events)
    }

    fn after_page(&mut self, head: &PageHead, events: Vec<Event>) -> Option<Batch> {
        if !head.at_end {
            return self.batch(events);
        }
        if self.run != self.last_run {
            // What was left of the run before; the present one begins with its first line.
            let batch = self.batch(events);
            (self.run, self.after) = (self.last_run.clone(), None);
            return batch;
        }
        if let Some(end) = head.over {
            return self.end(EndReason::Run(end), events);
        }
        if self.unfollow {
            return self.end(EndReason::Unfollowed, events);
        }
        self.at = At::CaughtUp(None);
        self.batch(events)
    }

    /// Asks for the next page; after a failure, not at once.
    async fn fetch(&mut self) -> Option<Batch> {
        let from = self.after.map_or(LogStart::Beginning, LogStart::After);
        let (container, run) = (Some(self.container.clone()), Some(self.run.clone()));
        match self.app.log_page(&self.admission.order, &self.region, container, run, from).await {
            Ok(page) => {
                self.at = At::Page(page);
                None
            }
            Err(error) if error.reason == Reason::NotDeployed => {
                self.end(EndReason::Run(FollowEnd::PodStopped), Vec::new())
            }
            Err(error) => {
                tracing::debug!(error = %common::telemetry::Chain(&error), "a page of a log is not to be had");
                self.rest().await;
                None
            }
        }
    }

    /// Finds its place at the hub, or goes on with another page.
    async fn join(&mut self, seat: Option<Seat>) -> Option<Batch> {
        let seat = seat.or_else(|| self.app.log_streams.hubs.join(&self.key(), self.after));
        let Some(mut seat) = seat else {
            // Too many hubs: now and then a page must do.
            self.rest().await;
            return None;
        };
        match seat.place(self.after) {
            Place::Before(next) => {
                self.pause = BACKOFF.0;
                self.at = At::Live(seat, next);
            }
            Place::Older => {}
            // The hub is a little behind, or waits for its region.
            Place::Unknown => {
                let known = async {
                    while seat.place(self.after) == Place::Unknown {
                        seat.changed().await;
                    }
                };
                let known = timeout(self.pause, known).await.is_ok();
                self.pause = if known { BACKOFF.0 } else { (self.pause * 2).min(BACKOFF.1) };
                if known {
                    self.at = At::CaughtUp(Some(seat));
                }
            }
        }
        None
    }

    /// Listens at the hub.
    async fn listen(&mut self, mut seat: Seat, next: u64) -> Option<Batch> {
        let lines = match seat.news(next, BATCH_BYTES) {
            News::Lines(lines) => lines,
            News::Lagging => return None,
            News::Ended(ended) => {
                let gap = ended.gap.then(|| {
                    let message = "the end of the log was gone before it could be read";
                    Event::Gap { after: self.after, before: None, message }
                });
                return self.end(EndReason::Run(ended.end), gap.into_iter().collect());
            }
            News::Nothing => {
                let left = self.until.map(|(until, _)| until.saturating_add(LATE_NS).saturating_sub(now_ns()));
                match left.map(|left| Duration::from_nanos(u64::try_from(left).unwrap_or_default())) {
                    Some(left) if timeout(left, seat.changed()).await.is_err() => return self.end_beyond(Vec::new()),
                    Some(_) => {}
                    None => seat.changed().await,
                }
                self.at = At::Live(seat, next);
                return None;
            }
        };
        let mut events = Vec::with_capacity(lines.len());
        let mut number = next;
        for kept in lines {
            if self.is_beyond(kept.line.mark) {
                return self.end_beyond(events);
            }
            let mark = kept.line.mark;
            if kept.gap {
                let message = "lines were removed by the region before they could be read";
                events.push(Event::Gap { after: self.after, before: Some(mark), message });
            }
            number += 1;
            self.after = Some(mark);
            if self.not_before.is_none_or(|time| mark.time_ns >= time) {
                self.not_before = None;
                events.push(Event::Line { mark, text: kept.line.text });
            }
        }
        self.at = At::Live(seat, number);
        self.batch(events)
    }

    /// The place after the last event, as far as the run is known.
    pub fn position(&self) -> Position {
        Position { run: self.run.clone(), after: self.after }
    }

    fn key(&self) -> Key {
        let (order, region) = (self.admission.order.clone(), self.region.clone());
        Key { order, region, container: self.container.clone(), run: self.run.clone() }
    }

    async fn rest(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(BACKOFF.1);
    }

    fn is_beyond(&self, line: Mark) -> bool {
        self.until.is_some_and(|(until, _)| line.time_ns > until)
    }

    fn end_beyond(&mut self, events: Vec<Event>) -> Option<Batch> {
        let reason = self.until.map_or(EndReason::EndReached, |(_, reason)| reason);
        self.end(reason, events)
    }

    fn end(&mut self, reason: EndReason, mut events: Vec<Event>) -> Option<Batch> {
        self.over = true;
        events.push(Event::End { after: self.after, reason });
        self.batch(events)
    }

    fn batch(&self, events: Vec<Event>) -> Option<Batch> {
        (!events.is_empty()).then(|| Batch { run: self.run.clone(), events })
    }
}

fn now_ns() -> i64 {
    Timestamp::now().as_nanosecond().try_into().unwrap_or(i64::MAX)
}
