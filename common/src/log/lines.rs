//! Lines as they travel from a region to the api, alone in chunks and behind a head in pages. A line is bytes, and no text:
//! only a container knows its encoding.

use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{MAX_LINE_BYTES, Mark, RunId};
use crate::name::ContainerName;

/// Lines that are not in their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("lines of a log are not in their form")]
pub struct LinesError;

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
    /// That line is not there: the lines are those that are not older, or all if it is of a time to come.
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

    proptest! {
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
