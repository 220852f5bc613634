//! The end of a container's log, by one request and in bounded memory, however long the log is.

use std::collections::VecDeque;
use std::time::Duration;

use common::read::{LogQuery, MAX_LOG_BYTES, USUAL_DEADLINE};
use futures::{AsyncBufRead, AsyncBufReadExt as _};
use kube::api::LogParams;
use kube::core::Request;
use tokio::time::{Instant, timeout_at};

use super::call::{Cluster, ClusterError};

/// The longest that a log may take to come. What came until then is answered, while somebody waits for it.
const LOG_TIMEOUT: Duration = USUAL_DEADLINE.saturating_sub(Duration::from_secs(2));

/// The last bytes of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// At most [`MAX_LOG_BYTES`], beginning with a whole line.
    pub bytes: Vec<u8>,
}

impl Cluster {
    /// The log of one container: the last [`MAX_LOG_BYTES`] of it. The apiserver's own limit would keep the first.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        query: &LogQuery,
    ) -> Result<Log, ClusterError> {
        let what = "read log";
        let params = LogParams {
            container: Some(container.to_owned()),
            previous: query.previous,
            timestamps: query.timestamps,
            since_seconds: query.since_seconds.map(i64::from),
            tail_lines: query.tail_lines.map(i64::from),
            ..LogParams::default()
        };
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods")).logs(pod, &params);
        let request = request.map_err(|error| ClusterError::request(what, error))?;
        let deadline = Instant::now() + LOG_TIMEOUT;
        let client = self.client();
        let stream = timeout_at(deadline, client.request_stream(request)).await;
        let stream = stream.map_err(|_| ClusterError::timeout(what, LOG_TIMEOUT))?;
        let stream = stream.map_err(|error| ClusterError::kube(what, error))?;
        tail(stream, deadline).await.map_err(|error| ClusterError::kube(what, kube::Error::ReadEvents(error)))
    }
}

/// Reads to the end or the deadline, and keeps the last bytes.
async fn tail(stream: impl AsyncBufRead, deadline: Instant) -> std::io::Result<Log> {
    futures::pin_mut!(stream);
    let mut kept: VecDeque<u8> = VecDeque::new();
    let mut cut = false;
    loop {
        let Ok(chunk) = timeout_at(deadline, stream.fill_buf()).await else { break };
        let chunk = chunk?;
        if chunk.is_empty() {
            break;
        }
        let length = chunk.len();
        let newest = chunk.get(length.saturating_sub(MAX_LOG_BYTES)..).unwrap_or_default();
        let too_many = (kept.len() + newest.len()).saturating_sub(MAX_LOG_BYTES);
        cut |= too_many > 0 || newest.len() < length;
        kept.drain(..too_many.min(kept.len()));
        kept.extend(newest);
        stream.consume_unpin(length);
    }
    let mut bytes = Vec::from(kept);
    if cut {
        // A line of which the beginning is gone says little, and may begin within a character.
        let whole = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            bytes.drain(..whole);
        }
    }
    Ok(Log { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;
    use futures::{StreamExt as _, TryStreamExt as _, stream};

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_short_log_is_whole() {
        let log = tail(Cursor::new(b"a\nb\n".to_vec()), far()).await.unwrap();
        assert_eq!(log.bytes, b"a\nb\n");
    }

    #[tokio::test]
    async fn of_a_log_that_does_not_end_in_time_what_came_is_kept() {
        let never_ends = stream::iter([Ok(b"a\nb".to_vec())]).chain(stream::pending()).into_async_read();
        let log = tail(never_ends, Instant::now() + Duration::from_millis(50)).await.unwrap();
        assert_eq!(log.bytes, b"a\nb");
    }

    #[tokio::test]
    async fn of_a_long_log_the_last_lines_are_kept() {
        let line = |n: u32| format!("{n:0>9}\n");
        let text: String = (0..300_000).map(line).collect();
        let log = tail(Cursor::new(text.clone().into_bytes()), far()).await.unwrap();
        assert!(log.bytes.len() <= MAX_LOG_BYTES && log.bytes.len() > MAX_LOG_BYTES - 10);
        assert!(text.as_bytes().ends_with(&log.bytes));
        assert_eq!(log.bytes.len() % 10, 0);
    }

    #[tokio::test]
    async fn a_log_without_lines_is_cut_all_the_same() {
        let log = tail(Cursor::new(vec![b'x'; MAX_LOG_BYTES + 7]), far()).await.unwrap();
        assert_eq!(log.bytes.len(), MAX_LOG_BYTES);
    }
}
