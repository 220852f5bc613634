//! Finds the line where reading begins. Only the exact line shows that nothing is missing: times are no order, and what
//! was rotated away is gone.
//!
//! The kubelet reads a log from its beginning whatever is asked for, and leaves out each single line that is older than the
//! time that is asked for: where the node's clock was set back, also later ones. Times that fall in an answer show that, and
//! all is asked for then. It is not seen where a container was silent while its clock came back to the time asked for.

use common::log::Mark;
use common::read::LogStart;
use jiff::Timestamp;

use crate::cluster::LogRange;

/// How far the times of neighbouring lines may be out of order.
const DISORDER_SECONDS: i64 = 2;
/// How much earlier than the line that is wanted reading begins: by more than lines are out of order, so that it is seen where
/// the clock was set back.
const BEFORE_SECONDS: i64 = 5;
const SECOND_NS: i64 = 1_000_000_000;

/// What is still to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seek {
    /// Nothing: every line is taken.
    Found,
    /// The time of the last lines, which the kubelet counts: parts of long ones too, so that the first may be no line.
    Tail(u32),
    /// The line that holds what was written at this time, in nanoseconds, among these lines.
    Holding(i64, LogRange),
    /// The first line of this time or younger, in nanoseconds.
    Since(i64),
    /// This line.
    At(Mark),
    /// The line after this one.
    After(Mark),
}

/// What is done with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It comes before.
    Skip,
    /// It is wanted.
    Give,
    /// It is wanted, and what was taken before is not.
    Begin,
    /// It says what else to look for.
    Look(Seek),
}

impl Seek {
    /// Looks for the beginning of a page.
    pub(super) fn start(start: LogStart) -> Self {
        match start {
            LogStart::Beginning => Self::Found,
            LogStart::Tail(count) => Self::Tail(count),
            LogStart::Since(second) => Self::Since(second.saturating_mul(SECOND_NS)),
            LogStart::At(mark) => Self::At(mark),
            LogStart::After(mark) => Self::After(mark),
        }
    }

    /// What to look for where the exact line is not there any more. A line of a time to come says no time.
    pub(super) fn without_the_line(self, now: i64) -> Self {
        match self {
            Self::At(mark) | Self::After(mark) if mark.time_ns > now => Self::Found,
            Self::At(mark) => Self::Since(mark.time_ns),
            Self::After(mark) => Self::Since(mark.time_ns.saturating_add(1)),
            Self::Found | Self::Tail(_) | Self::Holding(..) | Self::Since(_) => self,
        }
    }

    /// Which lines to ask for: some before the one that is wanted, as they may be out of order; all where the node's clock
    /// was set back since, or is ahead of ours.
    pub(super) fn range(self, now: i64) -> LogRange {
        match self {
            Self::At(mark) | Self::After(mark) if mark.time_ns > now => LogRange::All,
            Self::Found => LogRange::All,
            Self::Tail(count) => LogRange::Tail(count),
            Self::Holding(_, range) => range,
            Self::Since(time_ns) => since(time_ns),
            Self::At(mark) | Self::After(mark) => since(mark.time_ns),
        }
    }

    /// The exact line that is looked for and was not found yet.
    pub(super) fn line(self) -> Option<Mark> {
        match self {
            Self::At(mark) | Self::After(mark) => Some(mark),
            Self::Found | Self::Tail(_) | Self::Holding(..) | Self::Since(_) => None,
        }
    }

    /// Whether there is such a line.
    pub(super) fn is_open(self) -> bool {
        self.line().is_some()
    }

    /// Looks at the next line.
    pub(super) fn take(&mut self, line: Mark) -> Taken {
        let taken = match *self {
            Self::Tail(_) => return Taken::Look(Self::Holding(line.time_ns, since(line.time_ns))),
            Self::Holding(time_ns, _) if line.time_ns < time_ns => return Taken::Begin,
            Self::Holding(time_ns, _) if line.time_ns == time_ns => {
                *self = Self::Found;
                return Taken::Begin;
            }
            Self::Found | Self::Holding(..) => Taken::Give,
            Self::Since(time_ns) if line.time_ns >= time_ns => Taken::Give,
            Self::At(mark) if mark == line => Taken::Give,
            Self::After(mark) if mark == line => {
                *self = Self::Found;
                return Taken::Skip;
            }
            Self::Since(_) | Self::At(_) | Self::After(_) => Taken::Skip,
        };
        if taken == Taken::Give {
            *self = Self::Found;
        }
        taken
    }
}

/// Whether lines may be left out in an answer of this range: the clock was set back between this line and the one before.
pub(super) fn lacks_lines(range: LogRange, before: Option<Mark>, line: Mark) -> bool {
    let is_set_back = |before: Mark| line.time_ns.saturating_add(DISORDER_SECONDS * SECOND_NS) < before.time_ns;
    matches!(range, LogRange::Since(_)) && before.is_some_and(is_set_back)
}

/// The time, in nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    Timestamp::now().as_nanosecond().try_into().unwrap_or(i64::MAX)
}

fn since(time_ns: i64) -> LogRange {
    LogRange::Since(time_ns.div_euclid(SECOND_NS) - BEFORE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(time_ns: i64, nth: u32) -> Mark {
        Mark { time_ns, nth }
    }

    /// The numbers of the lines that are given; none = it is not there.
    fn given(mut seek: Seek, lines: &[Mark]) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            match seek.take(*line) {
                Taken::Skip => {}
                Taken::Begin => found = vec![number],
                Taken::Give => found.push(number),
                Taken::Look(_) => return None,
            }
        }
        (!seek.is_open()).then_some(found)
    }

    #[test]
    fn reading_goes_on_after_the_exact_line_in_the_order_of_the_log() {
        // Two lines of one time, and one that is older than the line before it.
        let lines = [mark(10, 0), mark(20, 0), mark(20, 1), mark(15, 0), mark(30, 0)];
        let set_back = [mark(10, 0), mark(9 * SECOND_NS, 0), mark(11, 0), mark(12, 0)];
        for (case, seek, lines, expected) in [
            ("all", Seek::Found, &lines[..], Some(vec![0, 1, 2, 3, 4])),
            ("after the first of two", Seek::After(mark(20, 0)), &lines, Some(vec![2, 3, 4])),
            ("after the second of two", Seek::After(mark(20, 1)), &lines, Some(vec![3, 4])),
            ("after one that is out of order", Seek::After(mark(15, 0)), &lines, Some(vec![4])),
            ("after the last", Seek::After(mark(30, 0)), &lines, Some(vec![])),
            ("at a line", Seek::At(mark(20, 1)), &lines, Some(vec![2, 3, 4])),
            ("a line that was never there", Seek::After(mark(20, 2)), &lines, None),
            ("what holds a time", Seek::Holding(16, LogRange::All), &lines, Some(vec![0, 1, 2, 3, 4])),
            ("what holds the time of its first part", Seek::Holding(20, LogRange::All), &lines, Some(vec![1, 2, 3, 4])),
            ("what holds the end of the last one", Seek::Holding(31, LogRange::All), &lines, Some(vec![4])),
            ("since a time", Seek::Since(16), &lines, Some(vec![1, 2, 3, 4])),
            ("since a time to come", Seek::Since(31), &lines, Some(vec![])),
            (
                "rotated away",
                Seek::After(mark(5, 0)).without_the_line(20 * SECOND_NS),
                &lines,
                Some(vec![0, 1, 2, 3, 4]),
            ),
            ("only younger ones", Seek::After(mark(20, 7)).without_the_line(20 * SECOND_NS), &lines, Some(vec![4])),
            ("after a line behind much younger ones", Seek::After(mark(11, 0)), &set_back, Some(vec![3])),
        ] {
            assert_eq!(given(seek, lines), expected, "{case}");
        }
    }

    #[test]
    fn times_that_fall_by_more_than_lines_are_out_of_order_show_a_clock_that_was_set_back() {
        let (at, second) = (|time_ns| mark(time_ns, 0), SECOND_NS);
        for (before, line, expected) in
            [(5 * second, 9 * second, false), (5 * second, 3 * second, false), (5 * second, 3 * second - 1, true)]
        {
            assert_eq!(lacks_lines(LogRange::Since(0), Some(at(before)), at(line)), expected, "{before} {line}");
            assert!(!lacks_lines(LogRange::All, Some(at(before)), at(line)), "{before} {line}");
        }
        assert!(!lacks_lines(LogRange::Since(0), Some(at(i64::MAX)), at(i64::MAX)));
    }

    #[test]
    fn some_lines_before_are_asked_for() {
        let range = |seek: Seek| seek.range(20 * SECOND_NS);
        assert_eq!(range(Seek::After(mark(10 * SECOND_NS + 5, 0))), LogRange::Since(5));
        assert_eq!(range(Seek::After(mark(-1, 0))), LogRange::Since(-6));
        assert_eq!(range(Seek::start(LogStart::Since(i64::MAX))), LogRange::Since(i64::MAX / SECOND_NS - 5));
    }

    #[test]
    fn a_line_of_a_time_to_come_is_looked_for_among_all() {
        let (now, seek) = (20 * SECOND_NS, Seek::After(mark(21 * SECOND_NS, 0)));
        assert_eq!((seek.range(now), seek.without_the_line(now)), (LogRange::All, Seek::Found));
        // The clock was set back after this line.
        let lines = [mark(10 * SECOND_NS, 0), mark(21 * SECOND_NS, 0), mark(11 * SECOND_NS, 0)];
        assert_eq!(given(seek, &lines), Some(vec![2]));
    }
}
