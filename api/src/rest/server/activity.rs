//! What a connection is doing, and from when on it has done nothing for too long: the time for the head of a request, for
//! silence between requests, and for taking what it was given.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{self, Instant};

use super::UNREAD;

/// How long the head of a request may take, from its first byte; and the first one, from the connection's begin.
const HEAD: Duration = Duration::from_secs(30);
/// How long a kept connection may be silent.
const IDLE: Duration = Duration::from_mins(2);

/// What a connection is doing. Cheap to clone.
#[derive(Clone)]
pub(super) struct Activity(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// That a request ended, or a head began.
    changed: Notify,
}

struct State {
    in_work: usize,
    /// The number of the next request.
    next: u64,
    /// Since when requests' clients have not taken all that they were given. TCP tells nothing of it where HTTP/2 does the waiting.
    unread: HashMap<u64, Instant>,
    /// When it must have done something, unless a request is in work.
    due: Instant,
    /// That bytes came since the last request ended.
    is_coming: bool,
}

/// A request in work, until it is dropped.
pub(super) struct InWork {
    of: Arc<Inner>,
    number: u64,
}

impl Activity {
    /// Of a connection that begins now.
    pub(super) fn new() -> Self {
        let due = Instant::now() + HEAD;
        let state = State { in_work: 0, next: 0, unread: HashMap::new(), due, is_coming: true };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new() }))
    }

    /// A request has come whole, but for its body.
    pub(super) fn request(&self) -> InWork {
        let number = self.0.with(|state| {
            state.in_work += 1;
            state.next += 1;
            state.next
        });
        InWork { of: self.0.clone(), number }
    }

    /// Bytes have come.
    fn came(&self) {
        let begins = self.0.with(|state| {
            let begins = state.in_work == 0 && !state.is_coming;
            if begins {
                (state.is_coming, state.due) = (true, Instant::now() + HEAD);
            }
            begins
        });
        if begins {
            self.0.changed.notify_one();
        }
    }

    /// Ends when the connection has done nothing for too long.
    pub(super) async fn overdue(&self) {
        loop {
            let now = Instant::now();
            let due = self.0.with(|state| match state.in_work {
                0 => state.due,
                _ => state.unread.values().min().copied().unwrap_or(now) + UNREAD,
            });
            if due <= now {
                return;
            }
            drop(time::timeout_at(due, self.0.changed.notified()).await);
        }
    }

    /// Whether a request is in work.
    pub(super) fn is_working(&self) -> bool {
        self.0.with(|state| state.in_work > 0)
    }

    /// Ends when no request is in work.
    pub(super) async fn quiet(&self) {
        while self.is_working() {
            self.0.changed.notified().await;
        }
    }
}

impl Inner {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InWork {
    /// The client is given some of the answer.
    pub(super) fn given(&self) {
        self.of.with(|state| state.unread.insert(self.number, Instant::now()));
    }

    /// It has taken all of that.
    pub(super) fn taken(&self) {
        self.of.with(|state| state.unread.remove(&self.number));
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.of.with(|state| {
            state.in_work -= 1;
            state.unread.remove(&self.number);
            (state.is_coming, state.due) = (false, Instant::now() + IDLE);
        });
        self.of.changed.notify_one();
    }
}

/// A stream whose reads are noted.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds it is overdue, an hour at most.
    async fn overdue_after(activity: &Activity) -> Option<u64> {
        let begun = Instant::now();
        time::timeout(Duration::from_hours(1), activity.overdue()).await.ok()?;
        Some((begun.elapsed() + Duration::from_millis(500)).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_nothing_has_the_time_of_a_head() {
        let activity = Activity::new();
        time::advance(Duration::from_secs(20)).await;
        activity.came();
        assert_eq!(overdue_after(&activity).await, Some(10), "a byte now and then gains no time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_work_may_take_its_time_and_silence_after_it_some() {
        let activity = Activity::new();
        let work = activity.request();
        assert_eq!(overdue_after(&activity).await, None);
        let other = activity.request();
        drop(work);
        assert_eq!(overdue_after(&activity).await, None);
        drop(other);
        assert_eq!(overdue_after(&activity).await, Some(120));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_what_he_is_given_has_a_minute() {
        let activity = Activity::new();
        let (stream, other) = (activity.request(), activity.request());
        for _ in 0..3 {
            stream.given();
            time::advance(Duration::from_secs(59)).await;
            stream.taken();
        }
        assert_eq!(overdue_after(&activity).await, None, "silence is no fault of the client");
        other.given();
        time::advance(Duration::from_secs(20)).await;
        stream.given();
        assert_eq!(overdue_after(&activity).await, Some(40));
        drop(other);
        assert_eq!(overdue_after(&activity).await, Some(20));
        assert!(activity.is_working());
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_further_request_has_its_time_from_the_first_byte() {
        let activity = Activity::new();
        drop(activity.request());
        let watch = tokio::spawn({
            let activity = activity.clone();
            async move { overdue_after(&activity).await }
        });
        time::sleep(Duration::from_secs(100)).await;
        activity.came();
        time::sleep(Duration::from_secs(25)).await;
        activity.came();
        assert_eq!(watch.await.unwrap(), Some(130));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_quiet_once_nothing_is_in_work() {
        let activity = Activity::new();
        activity.quiet().await;
        let work = activity.request();
        assert!(time::timeout(Duration::from_secs(1), activity.quiet()).await.is_err());
        drop(work);
        activity.quiet().await;
    }
}
