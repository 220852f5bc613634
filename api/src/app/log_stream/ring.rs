//! The last lines of a followed log, shared by all who follow it. Each follower has only a number: that of its next line.

use std::collections::VecDeque;

use common::log::{FollowEnd, Line, Mark};

/// The most bytes of lines that are kept; a line counts with what is kept around it.
const MAX_BYTES: usize = 256 << 10;
const LINE_OVERHEAD: usize = 128;

/// A line as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) line: Line,
    /// Whether something is lost before it.
    pub(super) gap: bool,
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) end: FollowEnd,
    /// Whether something is lost after the last line.
    pub(super) gap: bool,
}

/// The lines.
#[derive(Debug)]
pub(super) struct Ring {
    /// The line before the first; none = the first is the log's.
    base: Option<Mark>,
    /// The number of the first.
    first: u64,
    lines: VecDeque<Kept>,
    bytes: usize,
    /// Whether the region does not follow the log.
    refused: bool,
    ended: Option<Ended>,
}

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The line after it has this number.
    Before(u64),
    /// It is older than what is kept.
    Older,
    /// It is not here, and may come.
    Unknown,
}

/// What there is from a number on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Lines.
    Lines(Vec<Kept>),
    /// The next line is not kept any more.
    Lagging,
    /// Nothing yet.
    Nothing,
    /// Nothing, until the region takes up a follow.
    Refused,
    /// Nothing, ever.
    Ended(Ended),
}

impl Ring {
    /// An empty ring; the first line will be the one after this.
    pub(super) fn new(base: Option<Mark>) -> Self {
        Self { base, first: 0, lines: VecDeque::new(), bytes: 0, refused: false, ended: None }
    }

    /// The last line that is or was here: the next one is the one after it.
    pub(super) fn last(&self) -> Option<Mark> {
        self.lines.back().map(|kept| kept.line.mark).or(self.base)
    }

    /// Adds a line; the oldest make room for it.
    pub(super) fn push(&mut self, line: Line, gap: bool) {
        self.bytes += line.text.len() + LINE_OVERHEAD;
        self.lines.push_back(Kept { line, gap });
        while self.bytes > MAX_BYTES
            && self.lines.len() > 1
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.line.text.len() + LINE_OVERHEAD;
            self.base = Some(oldest.line.mark);
            self.first += 1;
        }
    }

    /// Notes whether the region refuses to follow the log: lines must be had otherwise then. Says whether that is new.
    pub(super) fn set_refused(&mut self, refused: bool) -> bool {
        std::mem::replace(&mut self.refused, refused) != refused
    }

    /// Notes that nothing more comes.
    pub(super) fn end(&mut self, ended: Ended) {
        self.ended = Some(ended);
    }

    /// Looks for the place after a line.
    pub(super) fn place(&self, after: Option<Mark>) -> Place {
        if after == self.base {
            return Place::Before(self.first);
        }
        let Some(after) = after else { return Place::Older };
        let mut numbered = (self.first..).zip(&self.lines);
        if let Some((number, _)) = numbered.find(|(_, kept)| kept.line.mark == after) {
            return Place::Before(number + 1);
        }
        match self.base {
            Some(base) if after.time_ns < base.time_ns => Place::Older,
            Some(_) | None => Place::Unknown,
        }
    }

    /// Lines from a number on, of about so many bytes.
    pub(super) fn news(&self, from: u64, most: usize) -> News {
        let Some(skipped) = from.checked_sub(self.first) else { return News::Lagging };
        let mut bytes = 0;
        let wanted = self.lines.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        let lines: Vec<_> = wanted
            .take_while(|kept| {
                let room = bytes < most;
                bytes += kept.line.text.len() + LINE_OVERHEAD;
                room
            })
            .cloned()
            .collect();
        match (lines.is_empty(), self.ended) {
            (false, _) => News::Lines(lines),
            (true, Some(ended)) => News::Ended(ended),
            (true, None) if self.refused => News::Refused,
            (true, None) => News::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(time_ns: i64) -> Mark {
        Mark { time_ns, nth: 0 }
    }

    fn line(time_ns: i64, bytes: usize) -> Line {
        Line { mark: mark(time_ns), text: vec![b'x'; bytes].into() }
    }

    fn times(news: News) -> Vec<i64> {
        match news {
            News::Lines(lines) => lines.iter().map(|kept| kept.line.mark.time_ns).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn followers_find_their_place_by_the_exact_line() {
        let mut ring = Ring::new(Some(mark(5)));
        assert_eq!(ring.last(), Some(mark(5)));
        // Out of order, as lines may be.
        for time in [10, 30, 20] {
            ring.push(line(time, 1), false);
        }
        for (case, after, place) in [
            ("before the first", Some(mark(5)), Place::Before(0)),
            ("after the first", Some(mark(10)), Place::Before(1)),
            ("after one that is out of order", Some(mark(20)), Place::Before(3)),
            ("after one of the same time", Some(Mark { time_ns: 20, nth: 1 }), Place::Unknown),
            ("older than all", Some(mark(4)), Place::Older),
            ("the beginning", None, Place::Older),
            ("to come", Some(mark(40)), Place::Unknown),
        ] {
            assert_eq!(ring.place(after), place, "{case}");
        }
        assert_eq!(times(ring.news(1, 1000)), [30, 20]);
        assert_eq!(times(ring.news(0, 1)), [10], "at least one");
        assert_eq!(ring.news(3, 1000), News::Nothing);
        assert_eq!(ring.last(), Some(mark(20)));
    }

    #[test]
    fn a_ring_holds_so_many_bytes_and_who_lags_is_told() {
        let mut ring = Ring::new(None);
        for time in 0..100 {
            ring.push(line(time, 10_000), false);
        }
        assert!(ring.bytes <= MAX_BYTES && ring.lines.len() == 25, "{} {}", ring.bytes, ring.lines.len());
        assert_eq!(ring.news(74, 1000), News::Lagging);
        assert_eq!(times(ring.news(75, 1000)), [75]);
        assert_eq!((ring.place(Some(mark(74))), ring.place(Some(mark(73)))), (Place::Before(75), Place::Older));
        assert_eq!(ring.place(None), Place::Older);
        ring.push(line(100, MAX_BYTES), true);
        assert_eq!((ring.lines.len(), ring.last()), (1, Some(mark(100))), "the newest is always there");
    }

    #[test]
    fn the_end_comes_after_the_last_line() {
        let mut ring = Ring::new(None);
        ring.push(line(1, 1), true);
        let ended = Ended { end: FollowEnd::PodReplaced, gap: false };
        ring.end(ended);
        assert_eq!(times(ring.news(0, 1000)), [1]);
        assert_eq!(ring.news(1, 1000), News::Ended(ended));
    }
}
