//! Events to the letter (`wire.md` §5.1): no space after a colon, no comment ever, a bare blank line while there is nothing
//! to say.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::log::Position;
use futures::Stream;
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep};

use super::time;
use crate::app::log_stream::{Batch, EndReason, Event};

/// How long a stream is silent before it says that it is alive: clients give up after 3 s.
const SILENCE: Duration = Duration::from_millis(1500);

/// Which clients are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Those that read events as the standard says: with ids, and with every byte of a line brought through the parser.
    WithIds,
    /// Those of before, which print what comes after `data:`.
    Plain,
}

/// Events as bytes.
pub(super) fn write(batch: &Batch, dialect: Dialect) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let place = |after, over| Some(Position { run: batch.run.clone(), after, over });
    for event in &batch.events {
        match event {
            Event::Line { mark, text } => {
                head(&mut out, place(Some(*mark), false), "message", dialect);
                data(&mut out, text, dialect);
            }
            Event::Gap { after, before, message } => {
                head(&mut out, place(*after, false), "gap", dialect);
                let body = json!({ "message": message, "after": after.map(time), "before": before.map(time) });
                data(&mut out, body.to_string().as_bytes(), dialect);
            }
            // They print what they are told, ask again, and skip as many lines as they have seen: this would cost them others.
            Event::End {
                reason:
                    EndReason::ServerShutdown | EndReason::RegionUnavailable | EndReason::Unfollowed | EndReason::EndReached,
                ..
            } if dialect == Dialect::Plain => continue,
            Event::End { after, reason } => {
                let over = matches!(reason, EndReason::Run(_));
                // Before the log's first line is not before the first that was asked for: the same query leads there again.
                let place = if after.is_some() || over { place(*after, over) } else { None };
                head(&mut out, place, "end", dialect);
                let (reason, message) = reason.words();
                data(&mut out, json!({ "reason": reason, "message": message }).to_string().as_bytes(), dialect);
            }
        }
        out.push(b'\n');
    }
    out.into()
}

fn head(out: &mut Vec<u8>, place: Option<Position>, event: &str, dialect: Dialect) {
    // Writing to memory does not fail.
    if let (Some(place), Dialect::WithIds) = (place, dialect) {
        let _ = writeln!(out, "id:{place}");
    }
    let _ = writeln!(out, "event:{event}");
}

fn data(out: &mut Vec<u8>, text: &[u8], dialect: Dialect) {
    let mut part = |part: &[u8], space: bool| {
        out.extend_from_slice(if space { b"data: " } else { b"data:" });
        out.extend_from_slice(part);
        out.push(b'\n');
    };
    match dialect {
        Dialect::Plain => part(text, false),
        // A carriage return ends a line of the stream; of blanks after the colon the parser drops the first.
        Dialect::WithIds => text.split(|byte| *byte == b'\r').for_each(|line| part(line, line.starts_with(b" "))),
    }
}

/// A stream of bytes that is never silent for long.
pub(super) struct KeepAlive<S, F> {
    batches: S,
    write: F,
    silence: Pin<Box<Sleep>>,
}

impl<S, F> KeepAlive<S, F> {
    /// Keeps these batches alive, written so.
    pub(super) fn new(batches: S, write: F) -> Self {
        Self { batches, write, silence: Box::pin(sleep(SILENCE)) }
    }
}

impl<S: Stream + Unpin, F: FnMut(S::Item) -> Bytes + Unpin> Stream for KeepAlive<S, F> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let bytes = match Pin::new(&mut this.batches).poll_next(context) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(batch)) => (this.write)(batch),
            Poll::Pending => match this.silence.as_mut().poll(context) {
                Poll::Ready(()) => Bytes::from_static(b"\n"),
                Poll::Pending => return Poll::Pending,
            },
        };
        this.silence.as_mut().reset(Instant::now() + SILENCE);
        Poll::Ready(Some(Ok(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::log::{FollowEnd, Mark};
    use futures::{StreamExt as _, stream};

    fn line(text: &'static [u8]) -> Event {
        Event::Line { mark: Mark { time_ns: 1_500_000_000, nth: 2 }, text: Bytes::from_static(text) }
    }

    fn written(event: Event, dialect: Dialect) -> Vec<u8> {
        let batch = Batch { run: "1a2b3c4d-0123456789ab".parse().unwrap(), events: vec![event] };
        write(&batch, dialect).to_vec()
    }

    #[test]
    fn lines_are_written_to_the_letter() {
        const HEAD: &str = "id:1a2b3c4d-0123456789ab.1500000000.2\nevent:message\n";
        for (text, plain, with_ids) in [
            (&b"line 1"[..], &b"data:line 1\n\n"[..], &b"data:line 1\n\n"[..]),
            (b"", b"data:\n\n", b"data:\n\n"),
            (b" two  blanks", b"data: two  blanks\n\n", b"data:  two  blanks\n\n"),
            (b"10%\r20%\r", b"data:10%\r20%\r\n\n", b"data:10%\ndata:20%\ndata:\n\n"),
            (b"\xff\x00\xfe", b"data:\xff\x00\xfe\n\n", b"data:\xff\x00\xfe\n\n"),
            (b": no comment", b"data:: no comment\n\n", b"data:: no comment\n\n"),
        ] {
            assert_eq!(written(line(text), Dialect::Plain), [b"event:message\n", plain].concat());
            assert_eq!(written(line(text), Dialect::WithIds), [HEAD.as_bytes(), with_ids].concat());
        }
    }

    #[test]
    fn gaps_and_ends_say_what_happened() {
        let gap = Event::Gap { after: Some(Mark { time_ns: 1_500_000_000, nth: 2 }), before: None, message: "gone" };
        let text = String::from_utf8(written(gap, Dialect::WithIds)).unwrap();
        insta::assert_snapshot!(text, @r#"
        id:1a2b3c4d-0123456789ab.1500000000.2
        event:gap
        data:{"after":"1970-01-01T00:00:01.5Z","before":null,"message":"gone"}
        "#);
        let end = || Event::End { after: None, reason: EndReason::Run(FollowEnd::ContainerRestarted) };
        let text = String::from_utf8(written(end(), Dialect::WithIds)).unwrap();
        insta::assert_snapshot!(text, @r#"
        id:1a2b3c4d-0123456789ab.end
        event:end
        data:{"message":"the container was started again; ask again for its new log","reason":"ContainerRestarted"}
        "#);
        let text = String::from_utf8(written(end(), Dialect::Plain)).unwrap();
        assert!(text.starts_with("event:end\ndata:{") && text.ends_with("}\n\n"), "{text}");
    }

    #[test]
    fn an_end_before_any_line_leads_to_no_other_line_than_was_asked_for() {
        let mark = Mark { time_ns: 1_500_000_000, nth: 2 };
        for (after, reason, expected) in [
            (None, EndReason::ServerShutdown, None),
            (None, EndReason::EndReached, None),
            (None, EndReason::Run(FollowEnd::PodStopped), Some("id:1a2b3c4d-0123456789ab.end")),
            (Some(mark), EndReason::ServerShutdown, Some("id:1a2b3c4d-0123456789ab.1500000000.2")),
        ] {
            let text = String::from_utf8(written(Event::End { after, reason }, Dialect::WithIds)).unwrap();
            assert_eq!(text.lines().find(|line| line.starts_with("id:")), expected, "{reason:?}");
        }
    }

    #[test]
    fn clients_that_count_lines_are_told_no_end_but_the_runs() {
        for reason in
            [EndReason::ServerShutdown, EndReason::RegionUnavailable, EndReason::Unfollowed, EndReason::EndReached]
        {
            let end = || Event::End { after: None, reason };
            assert_eq!(written(end(), Dialect::Plain), b"", "{reason:?}");
            assert!(written(end(), Dialect::WithIds).ends_with(b"\n\n"), "{reason:?}");
        }
        let end = Event::End { after: None, reason: EndReason::Run(FollowEnd::PodStopped) };
        assert!(written(end, Dialect::Plain).starts_with(b"event:end\ndata:"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_says_every_other_second_that_it_is_alive() {
        let silent = stream::pending::<()>().boxed();
        let mut alive = KeepAlive::new(silent, |()| Bytes::from_static(b"x"));
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(alive.next().await.unwrap().unwrap(), "\n");
            assert_eq!(begun.elapsed(), SILENCE);
        }
        let busy = stream::iter([1, 2]).boxed();
        let mut alive = KeepAlive::new(busy, |_| Bytes::from_static(b"x"));
        assert_eq!((&mut alive).count().await, 2);
    }
}
