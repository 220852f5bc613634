//! Reads `text/event-stream` from chunks that end anywhere, as the HTML standard says, but for the data: they are bytes.

/// The longest line, in bytes; the API splits log lines long before.
const MAX_LINE: usize = 1024 * 1024;
/// The longest event, in bytes.
const MAX_EVENT: usize = 4 * MAX_LINE;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Where to resume after it.
    pub(crate) id: Option<String>,
    /// `message` unless it says otherwise.
    pub(crate) kind: String,
    /// Its data, several lines joined by line feeds.
    pub(crate) data: Vec<u8>,
}

/// A line or event is longer than any that the API writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What was read so far of the line and event that are under way.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    line: Vec<u8>,
    after_cr: bool,
    id: Option<String>,
    kind: Option<String>,
    data: Option<Vec<u8>>,
}

impl Reader {
    /// Takes the next chunk and returns the events that it completes.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for byte in chunk {
            let follows_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&line)?);
                }
                _ if self.line.len() == MAX_LINE => return Err(TooLong),
                _ => self.line.push(*byte),
            }
        }
        Ok(events)
    }

    /// A line's field is noted; an empty line ends the event, if there is one.
    fn end_line(&mut self, line: &[u8]) -> Result<Option<Event>, TooLong> {
        if line.is_empty() {
            let (id, kind) = (self.id.take(), self.kind.take());
            let event = |data| Event { id, kind: kind.unwrap_or_else(|| "message".to_owned()), data };
            return Ok(self.data.take().map(event));
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, rest) = line.split_at(colon);
        let value = rest.strip_prefix(b":").unwrap_or(rest);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => match &mut self.data {
                Some(data) if data.len() + value.len() >= MAX_EVENT => return Err(TooLong),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"event" => self.kind = Some(String::from_utf8_lossy(value).into_owned()),
            b"id" => self.id = str::from_utf8(value).ok().filter(|id| !id.contains('\0')).map(str::to_owned),
            // Comments, `retry`, and what is not known yet.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, kind: &str, data: &str) -> Event {
        Event { id: id.map(str::to_owned), kind: kind.to_owned(), data: data.as_bytes().to_vec() }
    }

    #[test]
    fn streams_are_read_however_they_are_cut() {
        for (case, stream, expected) in [
            ("a line", "event:message\ndata:one\n\n", vec![event(None, "message", "one")]),
            ("an id", "id:a-1\nevent:message\ndata:one\n\n", vec![event(Some("a-1"), "message", "one")]),
            ("no name", "data:one\n\n", vec![event(None, "message", "one")]),
            ("an empty line of a log", "data:\n\n", vec![event(None, "message", "")]),
            ("only the word", "data\n\n", vec![event(None, "message", "")]),
            ("a blank after the colon", "data: one\n\n", vec![event(None, "message", "one")]),
            ("indentation", "data:   one: two\n\n", vec![event(None, "message", "  one: two")]),
            (
                "CRLF",
                "id:1\r\ndata:one\r\n\r\ndata:two\r\n\r\n",
                vec![event(Some("1"), "message", "one"), event(None, "message", "two")],
            ),
            ("CR", "data:one\r\rdata:two\r\r", vec![event(None, "message", "one"), event(None, "message", "two")]),
            ("several lines", "data:one\ndata:\ndata:three\n\n", vec![event(None, "message", "one\n\nthree")]),
            ("kept alive", "\n\n\ndata:one\n\n\n", vec![event(None, "message", "one")]),
            ("comments", ": hello\nretry:5\ndata:one\n\n", vec![event(None, "message", "one")]),
            ("without data", "event:gap\nid:3\n\ndata:one\n\n", vec![event(None, "message", "one")]),
            ("not ended", "data:one\n", vec![]),
            ("another kind", "event:end\ndata:{\"reason\":\"x\"}\n\n", vec![event(None, "end", "{\"reason\":\"x\"}")]),
        ] {
            for size in [1, 2, 3, 7, stream.len()] {
                let mut reader = Reader::default();
                let chunks = stream.as_bytes().chunks(size);
                let events: Vec<Event> = chunks.flat_map(|chunk| reader.take(chunk).unwrap()).collect();
                assert_eq!(events, expected, "{case}, in chunks of {size}");
            }
        }
    }

    #[test]
    fn bytes_of_a_log_that_are_no_text_are_kept() {
        let events = Reader::default().take(b"data:\xff\xfe\n\n").unwrap();
        assert_eq!(events, [Event { id: None, kind: "message".into(), data: vec![0xff, 0xfe] }]);
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let mut line = Reader::default();
        assert_eq!(line.take(&vec![b'x'; MAX_LINE + 1]), Err(TooLong));
        let mut event = Reader::default();
        let long = [b"data:".as_slice(), &vec![b'x'; MAX_LINE - 10], b"\n"].concat();
        let ends = (0..6).map(|_| event.take(&long)).collect::<Vec<_>>();
        assert!(ends.contains(&Err(TooLong)));
    }
}
