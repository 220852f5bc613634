//! `GET /k8s/pod/logs`: a container's log as a stream that survives what happens below it (`wire.md` §5.1). A follower
//! reads pages until it has caught up with its run's hub, and then listens there; slow readers and those who come back do
//! the same.

mod event;
mod follower;
mod hub;
mod progress;
mod ring;
mod secrets;
mod turns;

pub use event::{Batch, EndReason, Event};
pub use follower::Follower;

use std::sync::Arc;

use bytes::Bytes;
use common::failure::Reason;
use common::log::{LinesError, Mark, PageHead, Position, RunId, take_head, take_line};
use common::name::{ContainerName, OrderId, RegionCode};
use common::read::{LogPageQuery, LogStart, Query};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use super::admission::{Admission, AdmissionSettings, Admissions, NotAdmitted};
use super::error::AppError;
use super::read::deployed;
use crate::bus::Bus;
use crate::store::log_anchors::AnchorKey;
use crate::store::orders::Order;
use follower::Begun;
use hub::Hubs;
use secrets::Secrets;
use turns::Turns;

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub struct LogRequest {
    /// Which container; none = the only one.
    pub container: Option<ContainerName>,
    /// After which event; goes before the fields that say where else to begin.
    pub after: Option<Position>,
    /// The last lines, counted.
    pub tail_lines: Option<u32>,
    /// Lines of this time or younger: seconds since 1970.
    pub start: Option<i64>,
    /// Lines of this time or older: seconds since 1970.
    pub end: Option<i64>,
    /// End when all that there is has been shown.
    pub unfollow: bool,
}

/// All streams of this instance.
pub(super) struct LogStreams {
    admissions: Admissions,
    pages: Turns,
    secrets: Arc<Secrets>,
    hubs: Arc<Hubs>,
}

impl LogStreams {
    pub(super) fn new(followers: AdmissionSettings, bus: Bus, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            admissions: Admissions::new(followers),
            pages: Turns::new(),
            secrets: Arc::new(Secrets::new(tasks.clone(), stop.clone())),
            hubs: Arc::new(Hubs::new(bus, tasks, stop)),
        }
    }

    fn admit(&self, order: &OrderId) -> Result<Admission, AppError> {
        self.admissions.admit(order).map_err(|why| {
            let message = match why {
                NotAdmitted::InAll => "too many logs are followed; try again later",
                NotAdmitted::OfOrder => "the order's logs are followed too many times; end another stream first",
            };
            AppError::new(Reason::Overloaded, message)
        })
    }
}

/// A page of a log.
#[derive(Debug)]
struct Page {
    head: PageHead,
    lines: Bytes,
}

impl Page {
    fn read(mut body: Bytes) -> Result<Self, AppError> {
        let head = take_head(&mut body).map_err(AppError::internal)?;
        Ok(Self { head, lines: body })
    }

    /// The first line, which stays.
    fn first(&self) -> Result<Option<Mark>, LinesError> {
        Ok(take_line(&mut self.lines.clone())?.map(|line| line.mark))
    }
}

impl App {
    /// Opens a stream of a container's log, by this secret of the order's.
    ///
    /// # Errors
    /// As [`App::log`]; [`Reason::Overloaded`] where too many follow. What fails later is told by events.
    pub async fn follow_log(
        &self,
        order: &Order,
        secret: Option<&str>,
        request: LogRequest,
    ) -> Result<Follower, AppError> {
        let (region, _) = deployed(order)?;
        let admission = self.log_streams.admit(&order.id)?;
        let page = |run, from| self.log_page(&order.id, region, request.container.clone(), run, from);
        let (page, skip_first) = match (&request.after, request.tail_lines, request.start) {
            (Some(Position { run, after, .. }), ..) => {
                let from = after.map_or(LogStart::Beginning, LogStart::After);
                (page(Some(run.clone()), from).await?, false)
            }
            (None, Some(count), start) => {
                // Of no line at all, the one before it is kept.
                let newest = page(None, LogStart::Tail(count.max(1))).await?;
                let first = newest.first().map_err(AppError::internal)?;
                let PageHead { container, run, .. } = &newest.head;
                let start_at = start.unwrap_or_default();
                let key = AnchorKey { order: &order.id, container, run, tail_lines: count, start_at };
                let anchor = self.store.log_anchor(&key, first).await?;
                let page = if anchor == first {
                    newest
                } else {
                    let from = anchor.map_or(LogStart::Beginning, LogStart::At);
                    page(Some(run.clone()), from).await?
                };
                let skip = count == 0 && anchor.is_some() && page.first().map_err(AppError::internal)? == anchor;
                (page, skip)
            }
            (None, None, Some(start)) => (page(None, LogStart::Since(start)).await?, false),
            (None, None, None) => (page(None, LogStart::Beginning).await?, false),
        };
        let digest = self.secrets.digest(&[secret.unwrap_or_default()]);
        let revoked = self.log_streams.secrets.revoked(&self.store, digest);
        Follower::begin(self.clone(), Begun { admission, revoked, region: region.clone(), request, page, skip_first })
    }

    /// A part of a log. Waits for its turn.
    async fn log_page(
        &self,
        order: &OrderId,
        region: &RegionCode,
        container: Option<ContainerName>,
        run: Option<RunId>,
        from: LogStart,
    ) -> Result<Page, AppError> {
        let turn = timeout(self.settings.read_deadline, self.log_streams.pages.take(region, order)).await;
        let _turn = turn.map_err(|late| AppError::overloaded("too many logs are read; try again in a moment", late))?;
        Page::read(self.ask(order, region, Query::LogPage(LogPageQuery { container, run, from })).await?)
    }
}
