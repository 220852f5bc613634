//! How long to wait before something is tried again: longer each time, and never all at once.

use std::time::Duration;

use rand::Rng as _;

/// The shortest of the waits.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest of the waits.
const LONGEST: Duration = Duration::from_secs(30);

/// A row of waits: 1, 2, 4, ... 30 seconds, each shortened by up to a half at random.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let whole = SHORTEST.saturating_mul(1 << self.failures.min(5)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Begins anew, after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        for longest in [1, 2, 4, 8, 16, 30, 30, 30] {
            let (wait, longest) = (backoff.next(), Duration::from_secs(longest));
            assert!(wait <= longest && wait >= longest / 2, "{wait:?} of {longest:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }
}
