//! A container's log as a stream (`design.md` §5): which run of a container, where in its log, and the form in which lines
//! travel from a region to the api. A line is bytes, and no text: only a container knows its encoding.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::name::ContainerName;

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

/// Lines that are not in their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("lines of a log are not in their form")]
pub struct LinesError;

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

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub mark: Mark,
    /// What it says, without its end.
    pub text: Bytes,
}

/// Writes a line as it travels: `<time> <nth> <text>` and a newline. The text must hold none.
pub fn write_line(into: &mut Vec<u8>, mark: Mark, text: &[u8]) {
    into.extend_from_slice(format!("{} {} ", mark.time_ns, mark.nth).as_bytes());
    into.extend_from_slice(text);
    into.push(b'\n');
}

/// Takes the first of several lines, without copying its text; none = there is no more.
///
/// # Errors
/// When it is not in its form.
pub fn take_line(from: &mut Bytes) -> Result<Option<Line>, LinesError> {
    if from.is_empty() {
        return Ok(None);
    }
    let end = from.iter().position(|byte| *byte == b'\n').ok_or(LinesError)?;
    let mut text = from.split_to(end + 1);
    text.truncate(end);
    let time_ns = take_number(&mut text)?;
    let nth = take_number(&mut text)?;
    if text.len() > MAX_LINE_BYTES {
        return Err(LinesError);
    }
    Ok(Some(Line { mark: Mark { time_ns, nth }, text }))
}

fn take_number<T: FromStr>(text: &mut Bytes) -> Result<T, LinesError> {
    let end = text.iter().take(24).position(|byte| *byte == b' ').ok_or(LinesError)?;
    let digits = text.split_to(end + 1);
    let digits = digits.get(..end).and_then(|digits| str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or(LinesError)
}

/// Whether a page begins where it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begins {
    /// It does.
    There,
    /// That line is not there any more: the lines are those that are younger.
    Later,
    /// The whole log of the run is not there any more.
    Nowhere,
}

/// The head of a page: one line of JSON before its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageHead {
    /// The container.
    pub container: ContainerName,
    /// The run whose log this is.
    pub run: RunId,
    /// The container's present or last run; none = there is no pod.
    pub present: Option<RunId>,
    /// What has become of the run, if it is not the present one any more.
    pub over: Option<FollowEnd>,
    /// Whether the page begins where it was asked to.
    pub begins: Begins,
    /// Whether this is all that there is now.
    pub at_end: bool,
}

/// A page as it travels.
pub fn write_page(head: &PageHead, lines: &[u8]) -> Vec<u8> {
    // A head of texts and booleans prints.
    let mut page = serde_json::to_vec(head).unwrap_or_default();
    page.push(b'\n');
    page.extend_from_slice(lines);
    page
}

/// Reads the head of a page; its lines remain.
///
/// # Errors
/// When it is not in its form.
pub fn take_head(from: &mut Bytes) -> Result<PageHead, LinesError> {
    let end = from.iter().position(|byte| *byte == b'\n').ok_or(LinesError)?;
    let head = from.split_to(end + 1);
    serde_json::from_slice(&head).map_err(|_| LinesError)
}

/// Why a run is not followed any more: told by a header of the last chunk, or the head of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowEnd {
    /// The container runs anew.
    ContainerRestarted,
    /// Another pod has taken the pod's place, or will.
    PodReplaced,
    /// The pod is gone and none takes its place.
    PodStopped,
    /// The worker ends; another goes on.
    Shutdown,
    /// Nobody renewed the credit.
    Unheard,
}

impl FollowEnd {
    const ALL: [Self; 5] =
        [Self::ContainerRestarted, Self::PodReplaced, Self::PodStopped, Self::Shutdown, Self::Unheard];

    /// The header's value, and the word that clients are told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContainerRestarted => "ContainerRestarted",
            Self::PodReplaced => "PodReplaced",
            Self::PodStopped => "PodStopped",
            Self::Shutdown => "Shutdown",
            Self::Unheard => "Unheard",
        }
    }

    /// Reads the header's value.
    pub fn from_header(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.as_str() == text)
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

        #[test]
        fn lines_read_back(lines in proptest::collection::vec((any::<i64>(), any::<u32>(), "[^\n]{0,40}"), 0..20)) {
            let mut written = Vec::new();
            for (time_ns, nth, text) in &lines {
                write_line(&mut written, Mark { time_ns: *time_ns, nth: *nth }, text.as_bytes());
            }
            let (mut from, mut read) = (Bytes::from(written), Vec::new());
            while let Some(line) = take_line(&mut from).unwrap() {
                read.push((line.mark.time_ns, line.mark.nth, String::from_utf8(line.text.to_vec()).unwrap()));
            }
            prop_assert_eq!(read, lines);
        }
    }

    #[test]
    fn lines_that_are_not_in_their_form_are_refused() {
        for text in ["1 2 no end", "1\n", "x 2 text\n", "1 x text\n", " \n", "111111111111111111111111111111 1 x\n"] {
            assert_eq!(take_line(&mut Bytes::from(text)), Err(LinesError), "{text}");
        }
    }

    #[test]
    fn a_page_reads_back() {
        let head = PageHead {
            container: "web".parse().unwrap(),
            run: "1a2b3c4d-0123456789ab".parse().unwrap(),
            present: None,
            over: Some(FollowEnd::PodReplaced),
            begins: Begins::Later,
            at_end: true,
        };
        let mut page = Bytes::from(write_page(&head, b"1 0 a\n"));
        assert_eq!(take_head(&mut page), Ok(head));
        assert_eq!(page, "1 0 a\n");
        assert_eq!(take_head(&mut Bytes::from("{}\n")), Err(LinesError));
    }
}
