//! When a call that is safe to repeat is sent again, after growing pauses or when the API says: a few times, or for as long as
//! something is watched.

use std::time::Duration;

use crate::error::Error;

/// How often a call is sent again.
const MOST: u32 = 4;
/// The shortest pause of a watch, whatever is asked for.
const AT_LEAST: Duration = Duration::from_millis(100);
/// The first pause; each later one is twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// The pause before another try, of which there were `tries`. None = that is the end of it.
pub(crate) fn pause(tries: u32, error: &Error) -> Option<Duration> {
    (tries < MOST && error.is_passing()).then(|| rest(tries, error))
}

/// The pause of a watch after this many failures in a row. None = it will not see again what it watches.
pub(crate) fn pause_of_watch(failures: u32, error: &Error) -> Option<Duration> {
    error.is_outlasted().then(|| rest(failures, error).max(AT_LEAST))
}

/// As long as the API says, or longer each time.
fn rest(failures: u32, error: &Error) -> Duration {
    let asked = match error {
        Error::Refused(refusal) => refusal.retry_after,
        _ => None,
    };
    asked.unwrap_or_else(|| backoff(failures)).min(LONGEST)
}

/// The pause after this many failures in a row.
pub(crate) fn backoff(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::error::Refusal;

    fn refused(status: u16, retry_after: Option<u64>) -> Error {
        let status = StatusCode::from_u16(status).unwrap();
        Error::Refused(Box::new(Refusal::read("http://x", status, retry_after.map(Duration::from_secs), b"")))
    }

    #[test]
    fn pauses_grow_unless_the_api_names_one_and_end() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        for (case, tries, error, expected) in [
            ("the first", 0, refused(503, None), Some(ms(500))),
            ("the second", 1, refused(503, None), Some(ms(1000))),
            ("the fourth", 3, refused(502, None), Some(ms(4000))),
            ("no more", 4, refused(502, None), None),
            ("as the API says", 0, refused(503, Some(5)), Some(s(5))),
            ("not longer than we like", 0, refused(429, Some(3600)), Some(s(30))),
            ("a limit without a time", 0, refused(429, None), None),
            ("what will not pass", 0, refused(409, Some(5)), None),
        ] {
            assert_eq!(pause(tries, &error), expected, "{case}");
        }
        assert_eq!(backoff(u32::MAX), s(30));
    }

    #[test]
    fn a_watch_outlasts_whatever_passes() {
        let late = || Error::TimedOut { url: "http://x".into(), within: Duration::from_secs(30) };
        let s = Duration::from_secs;
        for (case, failures, error, expected) in [
            ("long after others give up", 100, refused(503, None), Some(s(30))),
            ("no answer in time", 0, late(), Some(Duration::from_millis(500))),
            ("as the API says", 9, refused(429, Some(5)), Some(s(5))),
            ("what will not pass", 0, refused(404, None), None),
        ] {
            assert_eq!(pause_of_watch(failures, &error), expected, "{case}");
        }
        assert_eq!(pause(0, &late()), None, "a call takes no longer than was asked for");
    }
}
