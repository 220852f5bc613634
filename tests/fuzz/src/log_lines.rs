//! A container's log as the API server streams it, cut into lines by the worker, and lines as they travel to the api.

use bytes::Bytes;
use common::log::{MAX_LINE_BYTES, take_line, write_line};
use futures::executor::block_on;
use futures::io::{BufReader, Cursor};
use workers::cluster::log_lines::Lines;

/// However the stream is cut, its lines are the same, none is longer than the longest, none holds a newline, and each arrives
/// as it was sent. The first byte says how it is cut. The rest is a line in the form in which lines travel, too.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let Some((piece, log)) = data.split_first() else { return };
    let found = lines(log, usize::from(*piece).max(1));
    assert_eq!(found, lines(log, log.len().max(1)), "however it is cut");
    let mut sent = Vec::new();
    for (time_ns, nth, text) in &found {
        assert!(text.len() <= MAX_LINE_BYTES && !text.contains(&b'\n'));
        write_line(&mut sent, common::log::Mark { time_ns: *time_ns, nth: *nth }, text);
    }
    let mut sent = Bytes::from(sent);
    for (time_ns, nth, text) in found {
        let line = take_line(&mut sent).expect("its form").expect("a line");
        assert_eq!((line.mark.time_ns, line.mark.nth, &line.text[..]), (time_ns, nth, &text[..]));
    }
    assert!(sent.is_empty());
    let mut strange = Bytes::copy_from_slice(log);
    while let Ok(Some(line)) = take_line(&mut strange) {
        assert!(line.text.len() <= MAX_LINE_BYTES && !line.text.contains(&b'\n'));
    }
}

fn lines(log: &[u8], piece: usize) -> Vec<(i64, u32, Vec<u8>)> {
    let mut lines = Lines::new(BufReader::with_capacity(piece, Cursor::new(log)));
    block_on(async {
        let mut found = Vec::new();
        while let Some(mark) = lines.next().await.expect("memory can be read") {
            found.push((mark.time_ns, mark.nth, lines.text().to_vec()));
        }
        let rest = lines.rest();
        found.extend(rest.map(|mark| (mark.time_ns, mark.nth, lines.text().to_vec())));
        found
    })
}
