//! Lines out of a log as the apiserver streams it: bytes, each line with the time that the runtime wrote. Memory is
//! bounded whatever a container prints.

use std::collections::VecDeque;
use std::io;

use common::log::{MAX_LINE_BYTES, Mark};
use futures::{AsyncBufRead, AsyncBufReadExt as _};
use jiff::Timestamp;

/// The longest time at the beginning of a line.
const MAX_TIME_BYTES: usize = 40;
/// For how many different times their lines are counted: the last few, as outputs may be a little out of order.
const TIMES_COUNTED: usize = 64;

/// Reads lines. Dropping a call of [`Lines::next`] loses nothing.
pub struct Lines<R> {
    from: R,
    at: At,
    /// What was read of the time, or of the line.
    held: Vec<u8>,
    /// Whether what is held was given out.
    given: bool,
    counts: Counts,
}

/// Where in a line the reader is.
enum At {
    Time,
    Text(i64),
    /// In what has no time: the kubelet's own word, and no line of the container.
    Foreign,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The lines of this log.
    pub fn new(from: R) -> Self {
        Self { from, at: At::Time, held: Vec::new(), given: false, counts: Counts::default() }
    }

    /// Reads the next line, of [`MAX_LINE_BYTES`] at most: [`Lines::text`] is what it says. None = the log ends, though it
    /// may hold a part of a line.
    ///
    /// # Errors
    /// When the log breaks off.
    pub async fn next(&mut self) -> io::Result<Option<Mark>> {
        loop {
            if std::mem::take(&mut self.given) {
                self.held.clear();
            }
            let chunk = self.from.fill_buf().await?;
            let Some(first) = chunk.first() else { return Ok(None) };
            let until = |room: usize, ends: &dyn Fn(u8) -> bool| {
                let offered = chunk.get(..room).unwrap_or(chunk);
                let end = offered.iter().position(|byte| ends(*byte));
                (offered.get(..end.unwrap_or(offered.len())).unwrap_or_default(), end.is_some())
            };
            match self.at {
                At::Foreign => {
                    let (passed, ended) = until(usize::MAX, &|byte| byte == b'\n');
                    let length = passed.len() + usize::from(ended);
                    self.from.consume_unpin(length);
                    if ended {
                        self.at = At::Time;
                    }
                }
                At::Time => {
                    let (digits, ended) =
                        until(MAX_TIME_BYTES - self.held.len(), &|byte| byte == b' ' || byte == b'\n');
                    self.held.extend_from_slice(digits);
                    // A newline is left to whoever passes what is foreign.
                    let blank = ended && chunk.get(digits.len()) == Some(&b' ');
                    let length = digits.len() + usize::from(blank);
                    self.from.consume_unpin(length);
                    if ended || self.held.len() == MAX_TIME_BYTES {
                        self.at = time(&self.held).filter(|_| blank).map_or(At::Foreign, At::Text);
                        self.held.clear();
                    }
                }
                At::Text(time) => {
                    let full = self.held.len() == MAX_LINE_BYTES;
                    let (text, ended) = until(MAX_LINE_BYTES - self.held.len(), &|byte| byte == b'\n');
                    self.held.extend_from_slice(text);
                    let ended = ended || (full && *first == b'\n');
                    let length = text.len() + usize::from(ended);
                    self.from.consume_unpin(length);
                    if ended {
                        self.at = At::Time;
                    }
                    if ended || full {
                        return Ok(Some(self.give(time)));
                    }
                }
            }
        }
    }

    /// What the line that was read last says.
    pub fn text(&self) -> &[u8] {
        &self.held
    }

    /// Takes what the log holds of a line without an end: a line, if nothing is written to the log any more.
    pub fn rest(&mut self) -> Option<Mark> {
        match self.at {
            At::Text(time) if !self.given && !self.held.is_empty() => Some(self.give(time)),
            At::Text(_) | At::Time | At::Foreign => None,
        }
    }

    fn give(&mut self, time: i64) -> Mark {
        self.given = true;
        self.counts.next(time)
    }
}

/// A time as Kubernetes prints it, in nanoseconds since 1970.
fn time(text: &[u8]) -> Option<i64> {
    let time: Timestamp = str::from_utf8(text).ok()?.parse().ok()?;
    time.as_nanosecond().try_into().ok()
}

/// Numbers lines of the same time.
#[derive(Default)]
struct Counts {
    newest: Option<i64>,
    last: VecDeque<(i64, u32)>,
}

impl Counts {
    fn next(&mut self, time_ns: i64) -> Mark {
        if self.newest.is_some_and(|newest| time_ns <= newest)
            && let Some((_, count)) = self.last.iter_mut().rev().find(|(time, _)| *time == time_ns)
        {
            *count = count.saturating_add(1);
            return Mark { time_ns, nth: *count };
        }
        self.newest = self.newest.max(Some(time_ns));
        if self.last.len() == TIMES_COUNTED {
            self.last.pop_front();
        }
        self.last.push_back((time_ns, 0));
        Mark { time_ns, nth: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::{BufReader, Cursor};
    use proptest::prelude::*;

    type Found = (i64, u32, Vec<u8>);

    /// All lines, read in pieces of so many bytes.
    async fn read(text: &[u8], piece: usize) -> Vec<Found> {
        let mut lines = Lines::new(BufReader::with_capacity(piece, Cursor::new(text.to_vec())));
        let mut found = Vec::new();
        while let Some(mark) = lines.next().await.unwrap() {
            found.push((mark.time_ns, mark.nth, lines.text().to_vec()));
        }
        if let Some(mark) = lines.rest() {
            found.push((mark.time_ns, mark.nth, lines.text().to_vec()));
        }
        found
    }

    #[tokio::test]
    async fn lines_are_found_wherever_the_stream_is_cut() {
        let text = b"1970-01-01T00:00:01.000000001Z one\n\
            1970-01-01T00:00:01.000000001Z \n\
            no time at all, and too long for one, as the kubelet's own words are\n\
            \n\
            short\n\
            1970-01-01T01:00:01.000000000+01:00 t\xffo \r words\n\
            1970-01-01T00:00:01.000000001Z again\n\
            1970-01-01T00:00:02.5Z no end";
        let expected: Vec<Found> = vec![
            (1_000_000_001, 0, b"one".to_vec()),
            (1_000_000_001, 1, b"".to_vec()),
            (1_000_000_000, 0, b"t\xffo \r words".to_vec()),
            (1_000_000_001, 2, b"again".to_vec()),
            (2_500_000_000, 0, b"no end".to_vec()),
        ];
        for piece in [1, 2, 3, 7, 31, 64, 4096] {
            assert_eq!(read(text, piece).await, expected, "in pieces of {piece} bytes");
        }
    }

    #[tokio::test]
    async fn a_long_line_is_cut_at_the_same_places_however_it_comes() {
        let time = "1970-01-01T00:00:01Z ";
        for (case, length, expected) in [
            ("fits", MAX_LINE_BYTES, vec![MAX_LINE_BYTES]),
            ("one byte more", MAX_LINE_BYTES + 1, vec![MAX_LINE_BYTES, 1]),
            ("two whole ones", 2 * MAX_LINE_BYTES, vec![MAX_LINE_BYTES, MAX_LINE_BYTES]),
        ] {
            let text = format!("{time}{}\n{time}next\n", "x".repeat(length));
            for piece in [1000, 65_536, 1 << 20] {
                let found = read(text.as_bytes(), piece).await;
                let lengths: Vec<usize> = found.iter().map(|(_, _, text)| text.len()).collect();
                assert_eq!(lengths, [expected.clone(), vec![4]].concat(), "{case} in pieces of {piece}");
                let numbers: Vec<u32> = found.iter().map(|(_, nth, _)| *nth).collect();
                assert_eq!(numbers, (0..u32::try_from(found.len()).unwrap()).collect::<Vec<_>>(), "{case}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>, piece in 1..50_usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (whole, cut) = runtime.block_on(async { (read(&bytes, 4096).await, read(&bytes, piece).await) });
            prop_assert_eq!(whole, cut);
        }
    }
}
