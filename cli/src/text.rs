//! Words for people: server text made harmless to terminals, times, and notes beside the data.

use std::fmt::Write as _;
use std::io::Write;

use jiff::Timestamp;

/// Writes a line that is no data. If nobody reads them, that is no failure.
pub(crate) fn note(notes: &mut dyn Write, text: &str) {
    let _ = writeln!(notes, "vkube: {}", escaped(text));
}

/// Text of a server with control characters and changes of the writing direction spelled out: it can neither move the
/// cursor nor fake a line.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A time in whole seconds, RFC 3339, whatever the API writes: RFC 3339 or unix seconds. 0 = not set.
pub(crate) fn time(value: &serde_json::Value) -> String {
    let seconds = match value {
        serde_json::Value::String(text) => text.parse::<Timestamp>().ok().map(Timestamp::as_second),
        other => other.as_i64().filter(|seconds| *seconds != 0),
    };
    let whole = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    whole.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

/// An error and all its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(line, ": {cause}");
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn server_text_cannot_move_the_cursor() {
        for (case, text, expected) in [
            ("plain", "all well: é ü 漢", "all well: é ü 漢"),
            ("a colour", "\x1b[31mred", "\\u{1b}[31mred"),
            ("another line", "one\ntwo\r", "one\\ntwo\\r"),
            ("an 8-bit CSI", "\u{9b}2J", "\\u{9b}2J"),
            ("a change of direction", "a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(escaped(text), expected, "{case}");
        }
    }

    #[test]
    fn times_are_told_in_one_form() {
        for (given, expected) in [
            (json!("2026-01-02T03:04:05.678Z"), "2026-01-02T03:04:05Z"),
            (json!(1_620_962_741), "2021-05-14T03:25:41Z"),
            (json!(0), "-"),
            (json!(""), "-"),
            (json!(null), "-"),
            (json!("soon"), "-"),
        ] {
            assert_eq!(time(&given), expected, "{given}");
        }
    }
}
