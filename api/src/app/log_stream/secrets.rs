//! Secrets of open streams: each is looked at once a minute, however many streams it has opened, and when it opens nothing
//! any more they end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::store::digest::Digest;
use crate::store::{Store, StoreError};

/// How often a secret is looked at.
const EVERY: Duration = Duration::from_mins(1);

/// Secrets that have opened streams.
pub(super) struct Secrets {
    opened: Mutex<HashMap<[u8; 32], Weak<CancellationToken>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Secrets {
    pub(super) fn new(tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { opened: Mutex::default(), tasks, stop }
    }

    /// What is cancelled when this secret, which is valid now, opens nothing any more.
    pub(super) fn revoked(self: &Arc<Self>, store: &Store, digest: Digest) -> Arc<CancellationToken> {
        let mut opened = self.opened();
        let known = opened.get(&digest.current);
        if let Some(token) = known.and_then(Weak::upgrade) {
            return token;
        }
        let is_new = known.is_none();
        let token = Arc::new(CancellationToken::new());
        opened.insert(digest.current, Arc::downgrade(&token));
        if is_new {
            let (secrets, store, current) = (self.clone(), store.clone(), digest.current);
            let is_valid = move || {
                let (store, digest) = (store.clone(), digest.clone());
                async move { Ok(store.order_by_secret(&digest, None).await?.is_some()) }
            };
            self.tasks.spawn(async move { secrets.look_at(&current, is_valid).await });
        }
        token
    }

    /// Looks at a secret for as long as a stream is open that it has opened.
    async fn look_at<F>(&self, digest: &[u8; 32], is_valid: impl Fn() -> F)
    where
        F: Future<Output = Result<bool, StoreError>>,
    {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(EVERY) => {}
            }
            {
                let mut opened = self.opened();
                if opened.get(digest).is_none_or(|token| token.strong_count() == 0) {
                    opened.remove(digest);
                    return;
                }
            }
            match is_valid().await {
                Ok(true) => {}
                Ok(false) => {
                    if let Some(token) = self.opened().remove(digest).and_then(|token| token.upgrade()) {
                        token.cancel();
                    }
                    return;
                }
                // While nobody knows, streams go on.
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "secrets of streams are not looked at");
                }
            }
        }
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<[u8; 32], Weak<CancellationToken>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_secret_is_looked_at_once_a_minute_until_it_is_revoked_or_nobody_is_there() {
        let secrets = Secrets::new(TaskTracker::new(), CancellationToken::new());
        for (case, revoked_at, gone_at, looks, minutes) in
            [("revoked", 3, 100, 3, 3), ("nobody is there", 100, 4, 4, 5), ("not known for a while", 5, 100, 5, 5)]
        {
            let (digest, begun, looked) = ([7; 32], Instant::now(), AtomicUsize::new(0));
            let held = Mutex::new(Some(Arc::new(CancellationToken::new())));
            let token = held.lock().unwrap().clone().map(|token| (*token).clone()).unwrap();
            secrets.opened().insert(digest, Arc::downgrade(held.lock().unwrap().as_ref().unwrap()));
            let is_valid = || async {
                let look = looked.fetch_add(1, Ordering::Relaxed) + 1;
                if look == gone_at {
                    held.lock().unwrap().take();
                }
                if case == "not known for a while" && look < 3 {
                    return Err(StoreError::Row { column: "any" });
                }
                Ok(look < revoked_at)
            };
            secrets.look_at(&digest, is_valid).await;
            assert_eq!(looked.load(Ordering::Relaxed), looks, "{case}");
            assert_eq!(begun.elapsed(), EVERY * minutes, "{case}");
            assert_eq!(token.is_cancelled(), revoked_at < 100, "{case}");
            assert!(secrets.opened().is_empty(), "{case}");
        }
    }
}
