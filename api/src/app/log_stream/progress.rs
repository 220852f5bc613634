//! How far a client has come in a log, and what it is told of what is read next. Pure: it neither asks nor waits.

use common::log::{Begins, FollowEnd, Mark, PageHead, RunId, take_line};
use common::read::LogStart;

use super::event::{EndReason, Event};
use super::ring::{Ended, Kept};
use super::{LogRequest, Page};

/// About how many bytes of lines are told at once.
pub(super) const BATCH_BYTES: usize = 32 << 10;
/// How long after `endTimestamp` a line of before may still come.
const LATE_NS: i64 = 2 * SECOND_NS;
/// How far a region's clock may be ahead of ours: lines beyond were written after the stream began.
const CLOCKS_NS: i64 = 60 * SECOND_NS;
const SECOND_NS: i64 = 1_000_000_000;

const ROTATED: &str = "lines were removed by the region before they could be read";
const LOG_GONE: &str = "what was left of the log is not there any more";

/// A client's place.
#[derive(Debug)]
pub(super) struct Progress {
    /// The run that is shown.
    pub(super) run: RunId,
    /// The last line that was shown; none = the next is the log's first.
    pub(super) after: Option<Mark>,
    /// The run with which the stream ends.
    last_run: RunId,
    /// Lines before the first of this time are not shown.
    not_before: Option<i64>,
    /// The first line beyond this time ends the stream.
    until: Option<(i64, EndReason)>,
    /// Why the stream ends when all was shown that there is; none = it goes on.
    ends: Option<EndReason>,
    /// Whether the client was told that the line after which it goes on is gone: until the next line it is nobody's place.
    lost: bool,
    /// Whether the client knows that nothing of the run is left: then it misses nothing when the log is gone.
    over: bool,
}

/// What comes after some events.
#[derive(Debug)]
pub(super) enum Next {
    /// More of this page.
    Page(Page),
    /// Another page.
    Fetch,
    /// Another page, as the rest of this one cannot be read.
    Broken,
    /// The run with which the stream ends: all was shown of the one before.
    LastRun,
    /// Another page after a while: nobody knows where the next line is.
    Lost,
    /// All was shown that there was a moment ago.
    CaughtUp,
    /// Nothing.
    Over,
}

/// The run with which a stream ends that begins with this page: the present one, unless that of the page goes on or was the
/// order's last. None = what comes after has not begun.
pub(super) fn last_run(head: &PageHead) -> Option<RunId> {
    match (head.over, &head.present) {
        (None, _) | (Some(FollowEnd::PodStopped), None) => Some(head.run.clone()),
        (Some(_), present) => present.clone(),
    }
}

impl Progress {
    /// A place before everything that is asked for. `now` is the time, in nanoseconds.
    pub(super) fn new(request: &LogRequest, run: RunId, last_run: RunId, now: i64) -> Self {
        let after = request.after.as_ref().and_then(|position| position.after);
        let end_of = |second: i64| second.saturating_mul(SECOND_NS).saturating_add(SECOND_NS - 1);
        let until = match (request.end, request.unfollow) {
            (Some(end), _) => Some((end_of(end), EndReason::EndReached)),
            (None, true) => Some((now.saturating_add(CLOCKS_NS), EndReason::Unfollowed)),
            (None, false) => None,
        };
        let not_before = request.start.map(|start| start.saturating_mul(SECOND_NS)).filter(|_| after.is_none());
        Self {
            run,
            after,
            last_run,
            not_before,
            until,
            ends: request.unfollow.then_some(EndReason::Unfollowed),
            lost: false,
            over: request.after.as_ref().is_some_and(|position| position.over),
        }
    }

    /// Where the next page begins.
    pub(super) fn start(&self) -> LogStart {
        self.after.map_or(LogStart::Beginning, LogStart::After)
    }

    /// How long a silent follow still waits; none = for ever.
    pub(super) fn left_ns(&self, now: i64) -> Option<i64> {
        self.until.map(|(until, _)| until.saturating_add(LATE_NS).saturating_sub(now))
    }

    /// Has the stream end with what there is now, if the time that was asked for is over.
    pub(super) fn look_at_the_time(&mut self, now: i64) {
        if let Some((_, reason)) = self.until
            && self.left_ns(now) <= Some(0)
        {
            self.ends = Some(reason);
        }
    }

    /// Whether the stream ends with what there is now.
    pub(super) fn is_to_end(&self) -> bool {
        self.ends.is_some()
    }

    /// Some events of a page, and what comes after them.
    pub(super) fn show_page(&mut self, mut page: Page) -> (Vec<Event>, Next) {
        let mut events = Vec::new();
        let begins = std::mem::replace(&mut page.head.begins, Begins::There);
        self.lost &= begins != Begins::There;
        let (message, before) = match begins {
            Begins::There => (None, None),
            Begins::Later => (self.after.map(|_| ROTATED), page.first().ok().flatten()),
            Begins::Nowhere => (Some(LOG_GONE), None),
        };
        if let Some(message) = message
            && !std::mem::replace(&mut self.lost, true)
            && !self.over
        {
            events.push(Event::Gap { after: self.after, before, message });
        }
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let line = match take_line(&mut page.lines) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    let next = self.after_page(&page.head, &mut events);
                    return (events, next);
                }
                Err(_) => return (events, Next::Broken),
            };
            bytes += line.text.len() + 64;
            if !self.show(Kept { line, gap: false }, &mut events) {
                return (events, Next::Over);
            }
        }
        (events, Next::Page(page))
    }

    fn after_page(&self, head: &PageHead, events: &mut Vec<Event>) -> Next {
        match (head.over, self.ends) {
            _ if !head.at_end => Next::Fetch,
            _ if self.run != self.last_run => Next::LastRun,
            (Some(end), _) => self.end(EndReason::Run(end), events),
            (None, Some(reason)) => self.end(reason, events),
            (None, None) if self.lost => Next::Lost,
            (None, None) => Next::CaughtUp,
        }
    }

    /// Goes to the first line of the run with which the stream ends.
    pub(super) fn go_to_last_run(&mut self) {
        (self.run, self.after) = (self.last_run.clone(), None);
        (self.over, self.lost) = (false, false);
    }

    /// Events of lines that came live, and whether more may follow.
    pub(super) fn show_lines(&mut self, lines: Vec<Kept>) -> (Vec<Event>, bool) {
        let mut events = Vec::with_capacity(lines.len());
        let goes_on = lines.into_iter().all(|kept| self.show(kept, &mut events));
        (events, goes_on)
    }

    /// Events of a run's end.
    pub(super) fn show_end(&self, ended: Ended) -> Vec<Event> {
        let gap = ended.gap.then_some(Event::Gap { after: self.after, before: None, message: LOG_GONE });
        let mut events: Vec<_> = gap.into_iter().collect();
        self.end(EndReason::Run(ended.end), &mut events);
        events
    }

    /// The last event.
    pub(super) fn show_reason(&self, reason: EndReason) -> Vec<Event> {
        vec![Event::End { after: self.after, reason }]
    }

    /// Shows a line, unless it is beyond the time that was asked for: then the end.
    fn show(&mut self, kept: Kept, events: &mut Vec<Event>) -> bool {
        let mark = kept.line.mark;
        if let Some((until, reason)) = self.until
            && mark.time_ns > until
        {
            self.end(reason, events);
            return false;
        }
        if kept.gap {
            events.push(Event::Gap { after: self.after, before: Some(mark), message: ROTATED });
        }
        (self.after, self.lost) = (Some(mark), false);
        if self.not_before.is_none_or(|time| mark.time_ns >= time) {
            self.not_before = None;
            events.push(Event::Line { mark, text: kept.line.text });
        }
        true
    }

    fn end(&self, reason: EndReason, events: &mut Vec<Event>) -> Next {
        events.push(Event::End { after: self.after, reason });
        Next::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::log::{Line, Position, write_line};

    const OLD: &str = "1a2b3c4d-000000000001";
    const NOW: &str = "1a2b3c4d-000000000002";

    fn run(text: &str) -> RunId {
        text.parse().unwrap()
    }

    fn mark(second: i64) -> Mark {
        Mark { time_ns: second * SECOND_NS, nth: 0 }
    }

    fn page(of: &str, seconds: &[i64], begins: Begins, over: Option<FollowEnd>) -> Page {
        let mut lines = Vec::new();
        for second in seconds {
            write_line(&mut lines, mark(*second), second.to_string().as_bytes());
        }
        let (container, present) = ("web".parse().unwrap(), Some(run(NOW)));
        let head = PageHead { container, run: run(of), present, over, begins, at_end: true };
        Page { head, lines: lines.into() }
    }

    fn progress(request: &LogRequest) -> Progress {
        Progress::new(request, run(NOW), run(NOW), 0)
    }

    /// Events in short: a line's second, `gap`, or the reason of the end.
    fn short(events: &[Event]) -> Vec<String> {
        let short = |event: &Event| match event {
            Event::Line { mark, .. } => (mark.time_ns / SECOND_NS).to_string(),
            Event::Gap { .. } => "gap".to_owned(),
            Event::End { reason, .. } => reason.words().0.to_owned(),
        };
        events.iter().map(short).collect()
    }

    #[test]
    fn a_page_is_shown_as_far_as_it_is_asked_for() {
        use Begins::{Later, Nowhere, There};
        let all = LogRequest::default();
        let since = LogRequest { start: Some(3), ..all.clone() };
        let until = LogRequest { end: Some(3), ..all.clone() };
        let once = LogRequest { unfollow: true, ..all.clone() };
        let back =
            LogRequest { after: Some(Position { run: run(NOW), after: Some(mark(1)), over: false }), ..since.clone() };
        let restarted = Some(FollowEnd::ContainerRestarted);
        for (case, request, begins, over, expected) in [
            ("all", &all, There, None, &["2", "3", "4"][..]),
            ("from a time on", &since, There, None, &["3", "4"]),
            ("to a time", &until, There, None, &["2", "3", "EndReached"]),
            ("once", &once, There, None, &["2", "3", "4", "Unfollowed"]),
            ("after an event, whatever else is said", &back, There, None, &["2", "3", "4"]),
            ("after one that is gone", &back, Later, None, &["gap", "2", "3", "4"]),
            ("from the beginning, which is gone", &all, Later, None, &["2", "3", "4"]),
            ("to its end", &all, There, restarted, &["2", "3", "4", "ContainerRestarted"]),
            ("gone", &back, Nowhere, restarted, &["gap", "2", "3", "4", "ContainerRestarted"]),
        ] {
            let (events, next) = progress(request).show_page(page(NOW, &[2, 3, 4], begins, over));
            assert_eq!(short(&events), expected, "{case}");
            let ends = expected.last().is_some_and(|last| last.len() > 3);
            assert_eq!(matches!(next, Next::Over), ends, "{case}");
            assert_eq!(matches!(next, Next::CaughtUp), !ends, "{case}");
        }
    }

    #[test]
    fn what_is_left_of_an_earlier_run_comes_before_the_present_one() {
        let after = Some(Position { run: run(OLD), after: Some(mark(1)), over: false });
        let request = LogRequest { after, ..LogRequest::default() };
        let mut progress = Progress::new(&request, run(OLD), run(NOW), 0);
        let rest = page(OLD, &[2], Begins::There, Some(FollowEnd::ContainerRestarted));
        let (events, next) = progress.show_page(rest);
        assert_eq!(short(&events), ["2"]);
        assert!(matches!(next, Next::LastRun), "{next:?}");
        progress.go_to_last_run();
        assert_eq!((progress.start(), progress.run.as_str()), (LogStart::Beginning, NOW));

        // Its log is gone: a client that was told of its end misses nothing.
        for (over, expected) in [(false, &["gap"][..]), (true, &[])] {
            let after = request.after.clone().map(|position| Position { over, ..position });
            let mut progress = Progress::new(&LogRequest { after, ..request.clone() }, run(OLD), run(NOW), 0);
            let (events, next) = progress.show_page(page(OLD, &[], Begins::Nowhere, Some(FollowEnd::PodReplaced)));
            assert_eq!(short(&events), expected);
            assert!(matches!(next, Next::LastRun), "{next:?}");
        }
    }

    #[test]
    fn a_stream_ends_with_the_present_run_unless_that_of_its_first_page_goes_on_or_was_the_last() {
        use FollowEnd::{ContainerRestarted, PodReplaced, PodStopped};
        for (case, over, present, expected) in [
            ("the present one", None, Some(OLD), Some(OLD)),
            ("one whose pod leaves while another runs already", None, Some(NOW), Some(OLD)),
            ("one whose pod leaves while another has not begun", None, None, Some(OLD)),
            ("the one before", Some(ContainerRestarted), Some(NOW), Some(NOW)),
            ("of a pod whose place another has taken", Some(PodReplaced), Some(NOW), Some(NOW)),
            ("of a pod whose place another will take", Some(PodReplaced), None, None),
            ("of an order that was stopped", Some(PodStopped), None, Some(OLD)),
        ] {
            let mut page = page(OLD, &[2], Begins::There, over);
            page.head.present = present.map(run);
            let last_run = last_run(&page.head);
            assert_eq!(last_run, expected.map(run), "{case}");
            if let Some(last_run) = last_run {
                let mut progress = Progress::new(&LogRequest::default(), run(OLD), last_run, 0);
                let (events, next) = progress.show_page(page);
                let ends = over.filter(|_| expected == Some(OLD)).map(|end| end.as_str().to_owned());
                assert_eq!(short(&events), ["2".to_owned()].into_iter().chain(ends).collect::<Vec<_>>(), "{case}");
                assert_eq!(matches!(next, Next::LastRun), expected == Some(NOW), "{case}: {next:?}");
            }
        }
    }

    #[test]
    fn a_large_page_is_shown_in_parts_and_a_broken_one_as_far_as_it_goes() {
        let seconds: Vec<i64> = (0..2000).collect();
        let (mut progress, mut shown, mut parts) = (progress(&LogRequest::default()), Vec::new(), 0);
        let mut next = Next::Page(page(NOW, &seconds, Begins::There, None));
        while let Next::Page(page) = next {
            let (events, after) = progress.show_page(page);
            shown.extend(short(&events));
            (next, parts) = (after, parts + 1);
        }
        assert!(parts > 2 && shown.iter().eq(seconds.iter().map(i64::to_string).collect::<Vec<_>>().iter()));

        let mut broken = page(NOW, &[7], Begins::There, None);
        broken.lines = [&broken.lines[..], b"no line\n"].concat().into();
        let (events, next) = progress.show_page(broken);
        assert_eq!((short(&events), progress.after), (vec!["7".to_owned()], Some(mark(7))));
        assert!(matches!(next, Next::Broken), "{next:?}");
    }

    #[test]
    fn lines_that_come_live_are_shown_with_their_gaps_and_the_end() {
        let line = |second, gap| Kept { line: Line { mark: mark(second), text: "x".into() }, gap };
        let request = LogRequest { end: Some(8), ..LogRequest::default() };
        let mut progress = progress(&request);
        let (events, goes_on) = progress.show_lines(vec![line(5, false), line(7, true)]);
        assert_eq!((short(&events), goes_on), (vec!["5".into(), "gap".into(), "7".into()], true));
        let gap = Event::Gap { after: Some(mark(5)), before: Some(mark(7)), message: ROTATED };
        assert_eq!(events[1], gap);
        assert_eq!(progress.left_ns(8 * SECOND_NS), Some(3 * SECOND_NS - 1));
        let ended = Ended { end: FollowEnd::PodReplaced, gap: true };
        assert_eq!(short(&progress.show_end(ended)), ["gap", "PodReplaced"]);
        let (events, goes_on) = progress.show_lines(vec![line(9, false), line(8, false)]);
        assert_eq!((short(&events), goes_on), (vec!["EndReached".into()], false));
    }

    #[test]
    fn when_the_time_is_over_what_is_left_is_shown_before_the_end() {
        let mut progress = progress(&LogRequest { end: Some(8), ..LogRequest::default() });
        for (now, seconds, expected) in [(10, &[5][..], &["5"][..]), (11, &[6, 7], &["6", "7", "EndReached"])] {
            progress.look_at_the_time(now * SECOND_NS);
            let (events, next) = progress.show_page(page(NOW, seconds, Begins::There, None));
            assert_eq!(short(&events), expected, "{now}");
            assert_eq!(matches!(next, Next::Over), now == 11, "{next:?}");
        }
    }

    #[test]
    fn a_line_that_is_gone_is_told_once_and_nobody_is_placed_by_it() {
        for (case, over, begins) in [
            ("rotated away", false, Begins::Later),
            ("gone", false, Begins::Nowhere),
            ("at the end of a run that goes on", true, Begins::Later),
        ] {
            let after = Some(Position { run: run(NOW), after: Some(mark(9_000)), over });
            let mut progress = progress(&LogRequest { after, ..LogRequest::default() });
            for expected in [if over { &[][..] } else { &["gap"] }, &[], &[]] {
                let (events, next) = progress.show_page(page(NOW, &[], begins, None));
                assert_eq!(short(&events), expected, "{case}");
                assert!(matches!(next, Next::Lost), "{case}: {next:?}");
            }
            let (events, next) = progress.show_page(page(NOW, &[4], begins, None));
            assert_eq!((short(&events), progress.after), (vec!["4".to_owned()], Some(mark(4))), "{case}");
            assert!(matches!(next, Next::CaughtUp), "{case}: {next:?}");
            // Found again.
            progress.show_page(page(NOW, &[], begins, None));
            let (events, next) = progress.show_page(page(NOW, &[], Begins::There, None));
            assert!(events.is_empty() && matches!(next, Next::CaughtUp), "{case}: {next:?}");
        }
    }
}
