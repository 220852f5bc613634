//! `log-follow`: a run's log from a place on, until the run is over and all of it was told. Whatever breaks off is opened
//! again and goes on after the last line.

use std::time::Duration;

use common::log::{FollowEnd, Mark};
use common::name::OrderId;
use common::read::LogFollowQuery;
use tokio::time::{Instant, sleep, timeout_at};

use super::place::{Found, Place, WATCH_BEHIND, changed, find};
use super::seek::{Seek, Taken, lacks_lines, now_ns};
use crate::cluster::{ClusterError, LogRange, LogSource};
use crate::context::Context;

/// How long to wait before a log is opened again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// How soon a log must begin of which a line is there.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
/// How soon the line to go on after must be found: it is there already, whatever is written meanwhile.
const FOUND_WITHIN: Duration = Duration::from_secs(5);
/// How soon after a pod it shows whether another takes its place, or its Deployment goes too.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// A log that has been silent for this long is opened again: shorter than what load balancers cut in silence.
const QUIET: Duration = Duration::from_secs(200);

/// Who listens to a follow. An error is why it must end.
pub trait Listener: Send {
    /// Takes a line; waits while there is no room for it.
    fn line(&mut self, mark: Mark, text: &[u8]) -> impl Future<Output = Result<(), FollowEnd>> + Send;

    /// Takes it that lines are lost before the next one.
    fn gap(&mut self) -> impl Future<Output = Result<(), FollowEnd>> + Send;

    /// Waits for something, and sends what is to be sent meanwhile.
    fn during<T: Send>(
        &mut self,
        wait: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Result<T, FollowEnd>> + Send;
}

/// Follows a run's log until it is over, or its listener is.
pub async fn follow(
    context: &Context,
    order: &OrderId,
    query: &LogFollowQuery,
    listener: &mut impl Listener,
) -> FollowEnd {
    let mut follow = Follow { context, order, query, after: query.after, told: false, exact: true, all: false };
    let ended = follow.run(listener).await;
    ended.unwrap_or_else(|end| end)
}

struct Follow<'a> {
    context: &'a Context,
    order: &'a OrderId,
    query: &'a LogFollowQuery,
    /// The last line that was told.
    after: Option<Mark>,
    /// Whether everything that the log held was told when it was last read.
    told: bool,
    /// Whether to go on after exactly that line: otherwise it is not there any more.
    exact: bool,
    /// Whether to ask for all next time, as the clock was set back.
    all: bool,
}

/// How a reading ended.
enum Read {
    /// The log ended.
    Ended,
    /// Nothing came for long.
    Quiet,
    /// The line to go on after is not there.
    Missed,
    /// The run is not where it was found.
    Changed,
    /// The clock was set back, so all must be asked for.
    SetBack,
    /// It broke off, or could not be opened.
    Broken(ClusterError),
}

impl Follow<'_> {
    async fn run(&mut self, listener: &mut impl Listener) -> Result<FollowEnd, FollowEnd> {
        let (context, order) = (self.context, self.order);
        let (mut pause, mut known, mut settled) = (BACKOFF.0, false, false);
        loop {
            let Ok(found) = find(context, order, Some(&self.query.container), Some(&self.query.run)) else {
                // The cluster is not seen as it is.
                listener.during(sleep(pause)).await?;
                continue;
            };
            let source = match (&found.place, found.over) {
                (Place::Here(source), _) => {
                    known = true;
                    source
                }
                // Another worker, whose watch of pods is ahead, may have shown it.
                (Place::Gone, _) if !known => {
                    known = !self.changed(&found, WATCH_BEHIND, listener).await?;
                    continue;
                }
                (Place::Gone, Some(FollowEnd::PodReplaced))
                    if found.present.is_none() && !std::mem::replace(&mut settled, true) =>
                {
                    self.changed(&found, SETTLED_WITHIN, listener).await?;
                    continue;
                }
                (Place::Gone, over) => return self.end(over.unwrap_or(FollowEnd::PodStopped), listener).await,
            };
            let after = self.after;
            let read = self.read(&found, source, listener).await?;
            let within = match (read, found.over) {
                (Read::Quiet | Read::Changed | Read::SetBack, _) => continue,
                (Read::Ended, Some(end)) if !source.live => return self.end(end, listener).await,
                // Nothing more comes before the next run.
                (Read::Ended, None) if !source.live => Duration::MAX,
                (Read::Missed, _) => {
                    self.exact = self.changed(&found, WATCH_BEHIND, listener).await?;
                    continue;
                }
                (Read::Ended, _) => pause,
                (Read::Broken(error), Some(end)) if error.is_of_no_log() => {
                    if !self.changed(&found, WATCH_BEHIND, listener).await? {
                        return self.end(end, listener).await;
                    }
                    continue;
                }
                (Read::Broken(_), Some(end)) if found.node_lost => return self.end(end, listener).await,
                (Read::Broken(error), _) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a log breaks off");
                    pause
                }
            };
            pause = if after == self.after { (pause * 2).min(BACKOFF.1) } else { BACKOFF.0 };
            self.changed(&found, within, listener).await?;
        }
    }

    /// Says what is missing, if anything is.
    async fn end(&self, end: FollowEnd, listener: &mut impl Listener) -> Result<FollowEnd, FollowEnd> {
        if !self.told || !self.exact {
            listener.gap().await?;
        }
        Ok(end)
    }

    async fn changed(&self, found: &Found, within: Duration, listener: &mut impl Listener) -> Result<bool, FollowEnd> {
        listener.during(changed(self.context, self.order, found, within)).await
    }

    async fn read(
        &mut self,
        found: &Found,
        source: &LogSource,
        listener: &mut impl Listener,
    ) -> Result<Read, FollowEnd> {
        let mut seek = self.after.map_or(Seek::Found, Seek::After);
        if !self.exact {
            seek = seek.without_the_line(now_ns());
        }
        // The answer begins with the first line.
        let (asked, mut certain) = (Instant::now(), seek.is_open());
        let within = if seek.is_open() || !source.live { OPENED_WITHIN } else { QUIET };
        let range = if std::mem::take(&mut self.all) { LogRange::All } else { seek.range(now_ns()) };
        let opening = self.context.cluster.log_lines(source, range, source.live, within);
        let opened = listener.during(opening).await?;
        let mut lines = match opened {
            Ok(lines) => lines,
            Err(error) if within == QUIET && error.is_late() => return Ok(Read::Quiet),
            Err(error) => {
                // A log that ended well may have gone on: its kubelet may only have been started again.
                self.told &= error.is_of_no_log();
                return Ok(Read::Broken(error));
            }
        };
        let (find_until, mut last) = (Instant::now() + FOUND_WITHIN, None);
        loop {
            if !seek.is_open() {
                self.told = false;
            }
            let until = if seek.is_open() { find_until } else { Instant::now() + QUIET };
            let line = match listener.during(timeout_at(until, lines.next())).await? {
                Ok(Ok(line)) => line,
                Ok(Err(error)) => return Ok(Read::Broken(ClusterError::broken("follow log", error))),
                Err(_) => return Ok(if seek.is_open() { Read::Missed } else { Read::Quiet }),
            };
            // Of a run that goes on, more of its last line may come.
            let Some(mark) = line.or_else(|| lines.rest().filter(|_| !source.live)) else { break };
            if !std::mem::replace(&mut certain, true) {
                // Whatever the kubelet showed when it was asked the watch shows soon after.
                let doubt = found.doubt(mark, now_ns()).min(WATCH_BEHIND.saturating_sub(asked.elapsed()));
                if self.changed(found, doubt, listener).await? {
                    return Ok(Read::Changed);
                }
            }
            let before = last.replace(mark);
            if !seek.is_open() && lacks_lines(range, before, mark) {
                self.all = true;
                return Ok(Read::SetBack);
            }
            match seek.take(mark) {
                // Of those, only what is after a line is looked for.
                Taken::Skip | Taken::Look(_) => {}
                Taken::Give | Taken::Begin => self.tell(mark, lines.text(), listener).await?,
            }
        }
        if seek.is_open() {
            return Ok(Read::Missed);
        }
        self.told = lines.rest().is_none();
        Ok(Read::Ended)
    }

    async fn tell(&mut self, mark: Mark, text: &[u8], listener: &mut impl Listener) -> Result<(), FollowEnd> {
        if !std::mem::replace(&mut self.exact, true) {
            listener.gap().await?;
        }
        listener.line(mark, text).await?;
        self.after = Some(mark);
        Ok(())
    }
}
