//! A container's log as a stream (`design.md` §5): which run of a container, where in its log, and how much of it travels
//! at once.

mod lines;

pub use lines::{Begins, FollowEnd, Line, LinesError, PageHead, take_head, take_line, write_line, write_page};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most bytes of one line; a longer one is cut into lines of this length, always at the same places.
pub const MAX_LINE_BYTES: usize = 256 << 10;
/// A page is full when it has this many bytes; its last line may go beyond.
pub const PAGE_BYTES: usize = 512 << 10;
/// A chunk of a follow is sent when it has this many bytes; its last line may go beyond.
pub const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks a worker sends beyond the last one that the api has taken.
pub const FOLLOW_WINDOW: u64 = 16;
/// A follow whose listener has renewed no credit for this long ends, in seconds.
pub const CREDIT_SECONDS: u64 = 10;
/// The payload of a credit that asks the worker to end.
pub const CREDIT_STOP: &str = "stop";

/// Not the text of a run, a mark or a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an event of this stream")]
pub struct PositionError;

/// One run of a container: 8 hex digits of its pod's uid, `-`, 12 of its runtime's id. A restart makes a new one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// How many digits of the pod's uid, and of the container's id.
const RUN_DIGITS: (usize, usize) = (8, 12);

impl RunId {
    /// The run of a container (`containerd://<hex>`) in the pod of this uid; none if they do not look like that.
    pub fn of(pod_uid: &str, container_id: &str) -> Option<Self> {
        let id = container_id.rsplit_once("//").map_or(container_id, |(_, id)| id);
        format!("{}-{}", pod_uid.get(..RUN_DIGITS.0)?, id.get(..RUN_DIGITS.1)?).parse().ok()
    }

    /// Whether it was in the pod of this uid.
    pub fn is_of_pod(&self, uid: &str) -> bool {
        uid.get(..RUN_DIGITS.0).is_some_and(|digits| self.0.starts_with(digits))
    }

    /// The run as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let hex = |part: &str, digits| {
            part.len() == digits && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let (pod, container) = text.split_once('-').ok_or(PositionError)?;
        let valid = hex(pod, RUN_DIGITS.0) && hex(container, RUN_DIGITS.1);
        valid.then(|| Self(text.to_owned())).ok_or(PositionError)
    }
}

impl TryFrom<String> for RunId {
    type Error = PositionError;

    fn try_from(text: String) -> Result<Self, PositionError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line of a run's log. Times need not rise from line to line: each of a container's outputs has its own writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// When it was written, by the runtime's clock: nanoseconds since 1970.
    pub time_ns: i64,
    /// How many lines of exactly this time come before it.
    pub nth: u32,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time_ns, self.nth)
    }
}

impl FromStr for Mark {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (time, nth) = text.split_once('.').ok_or(PositionError)?;
        let mark =
            Self { time_ns: time.parse().map_err(|_| PositionError)?, nth: nth.parse().map_err(|_| PositionError)? };
        // One text a mark: no sign, no leading zero.
        if mark.to_string() == text { Ok(mark) } else { Err(PositionError) }
    }
}

/// A place in a container's log, as the id of an event: `<run>` is before its first line, `<run>.<mark>` after that line;
/// with `.end` behind it nothing of the run is left to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// In the log of this run.
    pub run: RunId,
    /// After this line; none = before the first.
    pub after: Option<Mark>,
    /// Whether the run was over, and all of it told.
    pub over: bool,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.run)?;
        if let Some(mark) = &self.after {
            write!(f, ".{mark}")?;
        }
        f.write_str(if self.over { ".end" } else { "" })
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let place = text.strip_suffix(".end");
        let (over, place) = (place.is_some(), place.unwrap_or(text));
        match place.split_once('.') {
            Some((run, mark)) => Ok(Self { run: run.parse()?, after: Some(mark.parse()?), over }),
            None => Ok(Self { run: place.parse()?, after: None, over }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_is_named_after_its_pod_and_its_container() {
        let uid = "1a2b3c4d-ac96-774b-bcce-b302099a8057";
        let run = RunId::of(uid, "containerd://0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(run.as_str(), "1a2b3c4d-0123456789ab");
        assert!(run.is_of_pod(uid) && !run.is_of_pod("1a2b3c4e-ac96-774b-bcce-b302099a8057") && !run.is_of_pod(""));
        for (uid, id) in
            [("", "containerd://0123456789ab"), (uid, ""), (uid, "docker://XYZ456789abc"), ("ž23456789", "")]
        {
            assert_eq!(RunId::of(uid, id), None, "{uid} {id}");
        }
    }

    #[test]
    fn what_strangers_send_as_a_position_is_checked() {
        for text in [
            "",
            ".",
            "1a2b3c4d",
            "1a2b3c4d-0123456789ab.",
            "1a2b3c4d-0123456789ab.1",
            "1a2b3c4d-0123456789ab.1.",
            "1a2b3c4d-0123456789ab.1.2.3",
            "1a2b3c4d-0123456789ab.1.end",
            "1a2b3c4d-0123456789ab.end.end",
            ".end",
            "1a2b3c4d-0123456789ab.+1.2",
            "1a2b3c4d-0123456789ab.01.2",
            "1a2b3c4d-0123456789ab.1.4294967296",
            "1a2b3c4d-0123456789ab.9223372036854775808.0",
            "1A2B3C4D-0123456789ab",
            "1a2b3c4d-0123456789ab ",
            "ž",
        ] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn positions_read_back(pod in "[0-9a-f]{8}", container in "[0-9a-f]{12}", mark: Option<(i64, u32)>, over: bool) {
            let run: RunId = format!("{pod}-{container}").parse().unwrap();
            let position = Position { run, after: mark.map(|(time_ns, nth)| Mark { time_ns, nth }), over };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".{0,80}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }

    }
}
