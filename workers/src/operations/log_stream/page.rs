//! `log-page`: a part of a log, of bounded size. Costs one request, two for the last lines, and a small one more where all
//! lines are so young that the container may have restarted meanwhile.

use std::time::Duration;

use common::log::{Begins, Mark, PAGE_BYTES, PageHead, write_line, write_page};
use common::name::OrderId;
use common::read::{LogPageQuery, LogStart};
use tokio::time::{Instant, timeout_at};

use super::super::{Operation, OperationError, RetryCause};
use super::place::{Found, Place, WATCH_BEHIND, changed, find, no_log};
use super::seek::{Seek, Taken, lacks_lines, now_ns};
use crate::cluster::{ClusterError, LogRange, LogSource};
use crate::context::Context;

/// The longest that a page is read: shorter than anybody waits for it.
const READ_WITHIN: Duration = Duration::from_secs(7);
/// How often a page is read at most.
const ATTEMPTS: usize = 6;

/// What was read.
enum Read {
    Lines {
        lines: Vec<u8>,
        at_end: bool,
        /// The oldest line that was read, unless the exact line shows whose log it is.
        oldest: Option<Mark>,
    },
    /// This is to be looked for.
    Look(Seek),
    /// The clock was set back, so all must be asked for.
    SetBack,
    /// The line to begin with is not there.
    Missed {
        /// Whether one was read that is not younger: it is the log of the same run then.
        same_run: bool,
    },
    /// There is no such log.
    NoLog,
}

impl Operation for LogPageQuery {
    type About = OrderId;
    type Output = Vec<u8>;

    async fn run(&self, context: &Context, order: &OrderId) -> Result<Vec<u8>, OperationError> {
        let deadline = Instant::now() + READ_WITHIN;
        let start = (Seek::start(self.from), Begins::There, false);
        let (mut seek, mut begins, mut all) = start;
        for _ in 0..ATTEMPTS {
            let found = find(context, order, self.container.as_ref(), self.run.as_ref())?;
            let page = |begins, lines: &[u8], at_end, over| {
                let Found { container, run, present, .. } = found.clone();
                write_page(&PageHead { container, run, present, over, begins, at_end }, lines)
            };
            let nowhere = || page(Begins::Nowhere, &[], true, found.over);
            let Place::Here(source) = &found.place else {
                // Another worker, whose watch of pods is ahead, may have shown it.
                let within = match self.from {
                    LogStart::At(mark) | LogStart::After(mark) => found.doubt(mark, now_ns()),
                    LogStart::Beginning | LogStart::Tail(_) | LogStart::Since(_) => WATCH_BEHIND,
                };
                if changed(context, order, &found, within).await {
                    (seek, begins, all) = start;
                    continue;
                }
                return Ok(nowhere());
            };
            let is_lost = found.node_lost && found.over.is_some() && self.run.is_some();
            let read = match read(context, source, seek, all, deadline).await {
                Err(error) if error.is_of_the_node() && is_lost => return Ok(nowhere()),
                read => read?,
            };
            let within = match &read {
                Read::Lines { oldest: Some(oldest), .. } => doubt(context, &found, source, *oldest, deadline).await,
                Read::Lines { oldest: None, .. } | Read::Look(_) | Read::SetBack | Read::Missed { same_run: true } => {
                    Duration::ZERO
                }
                Read::Missed { same_run: false } | Read::NoLog => WATCH_BEHIND,
            };
            if changed(context, order, &found, within).await {
                (seek, begins, all) = start;
                continue;
            }
            match read {
                Read::Lines { lines, at_end, .. } => {
                    return Ok(page(begins, &lines, at_end, found.over.filter(|_| !source.live)));
                }
                Read::Look(next) => seek = next,
                Read::SetBack => all = true,
                Read::Missed { .. } => (seek, begins) = (seek.without_the_line(now_ns()), Begins::Later),
                // A kubelet that was just started again does not know the pod yet.
                Read::NoLog if self.run.is_none() || (source.live && found.over.is_none()) => return Err(no_log()),
                Read::NoLog => return Ok(nowhere()),
            }
        }
        Err(OperationError::Retry(RetryCause::Contended))
    }
}

/// For how long it may turn out that these lines are of a newer run. Where the log begins is asked only if it matters.
async fn doubt(context: &Context, found: &Found, source: &LogSource, oldest: Mark, deadline: Instant) -> Duration {
    let doubt = found.doubt(oldest, now_ns());
    if doubt.is_zero() {
        return doubt;
    }
    let within = deadline.saturating_duration_since(Instant::now());
    let first = async {
        let mut lines = context.cluster.log_lines(source, LogRange::First, false, within).await.ok()?;
        lines.next().await.ok()?.or_else(|| lines.rest())
    };
    let first = timeout_at(deadline, first).await.ok().flatten();
    first.map_or(doubt, |first| found.doubt(first, now_ns()))
}

async fn read(
    context: &Context,
    source: &LogSource,
    mut seek: Seek,
    all: bool,
    deadline: Instant,
) -> Result<Read, ClusterError> {
    let range = if all { LogRange::All } else { seek.range(now_ns()) };
    let within = deadline.saturating_duration_since(Instant::now());
    let mut lines = match context.cluster.log_lines(source, range, false, within).await {
        Ok(lines) => lines,
        Err(error) if error.is_of_no_log() => return Ok(Read::NoLog),
        Err(error) => return Err(error),
    };
    let (sought, mut same_run, mut oldest, mut last) = (seek.line(), false, None, None);
    // Of the last lines any part says when they begin.
    let parts = !source.live || matches!(seek, Seek::Tail(_));
    // What is held may have begun before all that is asked for.
    let mut unsure = match (seek, range) {
        (Seek::Holding(time, _), LogRange::Since(_)) => Some(Seek::Holding(time, LogRange::All)),
        _ => None,
    };
    let (mut page, mut first) = (Vec::new(), true);
    let at_end = loop {
        let line = match timeout_at(deadline, lines.next()).await {
            Ok(Ok(line)) => line,
            // What came until then is true all the same.
            Ok(Err(_)) | Err(_) if !page.is_empty() && !matches!(seek, Seek::Holding(..)) => break false,
            Ok(Err(error)) => return Err(ClusterError::broken("read log", error)),
            Err(_) => return Err(ClusterError::timeout("read log", READ_WITHIN)),
        };
        let Some(mark) = line.or_else(|| lines.rest().filter(|_| parts)) else { break true };
        oldest = oldest.or(Some(mark));
        same_run |= sought.is_some_and(|sought| mark.time_ns <= sought.time_ns);
        let before = last.replace(mark);
        if !seek.is_open() && lacks_lines(range, before, mark) {
            return Ok(Read::SetBack);
        }
        match seek.take(mark) {
            Taken::Skip => {}
            Taken::Give => write_line(&mut page, mark, lines.text()),
            Taken::Begin => {
                page.clear();
                write_line(&mut page, mark, lines.text());
                if !first || !matches!(seek, Seek::Holding(..)) {
                    unsure = None;
                }
            }
            Taken::Look(next) => return Ok(Read::Look(next)),
        }
        first = false;
        if page.len() >= PAGE_BYTES {
            break false;
        }
    };
    Ok(match unsure {
        Some(next) => Read::Look(next),
        None if seek.is_open() => Read::Missed { same_run },
        None => {
            let oldest = oldest.filter(|_| sought.is_none() && !page.is_empty());
            Read::Lines { lines: page, at_end, oldest }
        }
    })
}
