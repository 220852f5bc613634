//! A container's log as a stream of lines, followed or to its present end.

use std::time::Duration;

use futures::AsyncBufRead;
use jiff::Timestamp;
use kube::api::LogParams;
use kube::core::Request;
use tokio::time::timeout;

use super::call::{Cluster, ClusterError};
use super::log_lines::Lines;

/// A time as Kubernetes prints it, a blank, and the beginning of a line.
const FIRST_BYTES: i64 = 64;

/// Which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSource {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Of the run before the container's last.
    pub previous: bool,
    /// Whether the run still goes on.
    pub live: bool,
}

/// Which lines of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRange {
    /// All.
    All,
    /// The first one, cut short: enough to tell its time.
    First,
    /// The last ones, counted.
    Tail(u32),
    /// Those that are not older than this: whole seconds since 1970, as the apiserver counts no finer.
    Since(i64),
}

impl Cluster {
    /// Opens a log, which must begin within so long. Costs one request.
    pub async fn log_lines(
        &self,
        source: &LogSource,
        range: LogRange,
        follow: bool,
        within: Duration,
    ) -> Result<Lines<impl AsyncBufRead + Unpin + Send + use<>>, ClusterError> {
        let what = if follow { "follow log" } else { "read log" };
        let params = LogParams {
            container: Some(source.container.clone()),
            previous: source.previous,
            follow,
            timestamps: true,
            since_time: match range {
                LogRange::Since(second) => Timestamp::from_second(second).ok(),
                LogRange::All | LogRange::First | LogRange::Tail(_) => None,
            },
            tail_lines: match range {
                LogRange::Tail(count) => Some(i64::from(count)),
                LogRange::All | LogRange::First | LogRange::Since(_) => None,
            },
            limit_bytes: (range == LogRange::First).then_some(FIRST_BYTES),
            ..LogParams::default()
        };
        let request = Request::new(format!("/api/v1/namespaces/{}/pods", source.namespace)).logs(&source.pod, &params);
        let request = request.map_err(|error| ClusterError::request(what, error))?;
        let client = self.client();
        let stream = timeout(within, client.request_stream(request)).await;
        let stream = stream.map_err(|_| ClusterError::timeout(what, within))?;
        let stream = stream.map_err(|error| ClusterError::kube(what, error))?;
        Ok(Lines::new(Box::pin(stream)))
    }
}
