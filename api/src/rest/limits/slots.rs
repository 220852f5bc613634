//! A fixed number of places that keys are spread over by their hash: what strangers send makes nothing grow. Two keys may
//! fall on one place and then share what it counts; as the hash is keyed anew by each process, nobody chooses with whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};

/// How many places there are.
const SLOTS: u32 = 1 << 16;

/// A state for each place.
pub(super) struct Slots<T>(Box<[T]>);

impl<T: Default> Slots<T> {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| T::default()).collect())
    }

    /// The state of a key, by its hash.
    #[expect(clippy::indexing_slicing, reason = "the rest of a division by the length is within it")]
    #[expect(clippy::cast_possible_truncation, reason = "a part of the hash is as good as the whole")]
    pub(super) fn of(&self, key: u64) -> &T {
        &self.0[key as usize % self.0.len()]
    }
}

impl StateStore for Slots<InMemoryState> {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.of(*key).measure_and_replace(&NotKeyed::NonKey, f)
    }
}

/// How many of something each key may have at once.
pub(in crate::rest) struct Shares {
    taken: Arc<Slots<AtomicUsize>>,
    most: usize,
}

/// One of them, until it is dropped.
pub(in crate::rest) struct Share {
    taken: Arc<Slots<AtomicUsize>>,
    key: u64,
}

impl Shares {
    /// At most this many a key; 0 = as many as they like.
    pub(in crate::rest) fn new(most: usize) -> Self {
        Self { taken: Arc::new(Slots::new()), most: if most == 0 { usize::MAX } else { most } }
    }

    /// One more for this key, unless it has all of its own.
    pub(in crate::rest) fn take(&self, key: u64) -> Option<Share> {
        let more = |taken: usize| (taken < self.most).then(|| taken + 1);
        self.taken.of(key).fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Share { taken: self.taken.clone(), key })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.taken.of(self.key).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_share_and_no_more_and_others_have_theirs() {
        let shares = Shares::new(2);
        let (first, _second) = (shares.take(1).unwrap(), shares.take(1).unwrap());
        assert!(shares.take(1).is_none());
        assert!(shares.take(2).is_some());
        drop(first);
        assert!(shares.take(1).is_some());
    }

    #[test]
    fn without_a_limit_there_is_no_end() {
        let shares = Shares::new(0);
        let all: Vec<_> = (0..10_000).map_while(|_| shares.take(1)).collect();
        assert_eq!(all.len(), 10_000);
    }
}
