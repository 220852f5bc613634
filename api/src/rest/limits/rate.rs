//! A token bucket for each key: so many a minute, and ten seconds' worth of them at once.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::InMemoryState;
use governor::{Quota, RateLimiter};
use poem::http::{HeaderMap, HeaderName, HeaderValue};

use super::slots::Slots;

/// The part of a minute's number that may come at once.
const BURST_PART: u32 = 6;

/// The most that may come at once.
pub(in crate::rest) const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// How many of them are left.
pub(in crate::rest) const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// In how many seconds all of them are there again.
pub(in crate::rest) const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

type Limiter = RateLimiter<u64, Slots<InMemoryState>, DefaultClock, StateInformationMiddleware>;

/// A rate that each key may have.
pub(super) struct Rate(Option<Limiter>);

/// How a caller stands with a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rest) struct Standing {
    /// The most that may come at once.
    limit: u32,
    /// How many of them are left.
    remaining: u32,
    /// When all are there again.
    full: Duration,
    /// When the next one is there.
    next: Duration,
}

impl Rate {
    /// This many a minute; 0 = as many as they like.
    pub(super) fn per_minute(most: u32) -> Self {
        let limiter = |most: NonZeroU32| {
            let burst = NonZeroU32::new(most.get().div_ceil(BURST_PART)).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_minute(most).allow_burst(burst);
            Limiter::new(quota, Slots::new(), DefaultClock::default())
        };
        Self(NonZeroU32::new(most).map(limiter))
    }

    /// One more of this key. None = there is no limit.
    ///
    /// # Errors
    /// When it has none left.
    pub(super) fn take(&self, key: u64) -> Result<Option<Standing>, Standing> {
        let Some(limiter) = &self.0 else { return Ok(None) };
        match limiter.check_key(&key) {
            Ok(state) => {
                let (limit, remaining) = (state.quota().burst_size().get(), state.remaining_burst_capacity());
                let next = state.quota().replenish_interval();
                Ok(Some(Standing { limit, remaining, full: next * limit.saturating_sub(remaining), next }))
            }
            Err(refused) => {
                let quota = refused.quota();
                let next = refused.wait_time_from(limiter.clock().now());
                let full = next + quota.replenish_interval() * quota.burst_size().get().saturating_sub(1);
                Err(Standing { limit: quota.burst_size().get(), remaining: 0, full, next })
            }
        }
    }
}

impl Standing {
    /// Whether that was the last one.
    pub(super) fn is_last(&self) -> bool {
        self.remaining == 0
    }

    /// When the next one is there, at the latest.
    pub(super) fn next(&self) -> Duration {
        self.next
    }

    /// Tells it, as the IETF's draft on rate limit headers names it.
    pub(in crate::rest) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        headers.insert(RESET, HeaderValue::from(seconds(self.full)));
    }
}

/// A wait in whole seconds, at least one unless there is none.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_worth_may_come_at_once_and_no_more() {
        let rate = Rate::per_minute(60);
        let taken: Vec<_> = (0..12).map(|_| rate.take(7)).collect();
        assert!(matches!(taken[0], Ok(Some(Standing { limit: 10, remaining: 9, .. }))), "{:?}", taken[0]);
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 10);
        let refused = taken[11].unwrap_err();
        assert_eq!((refused.limit, refused.remaining, seconds(refused.next)), (10, 0, 1));
        assert!(rate.take(8).is_ok(), "another key has its own");
    }

    #[test]
    fn a_rate_below_the_burst_still_lets_one_through() {
        let rate = Rate::per_minute(1);
        assert!(rate.take(1).is_ok());
        let wait = rate.take(1).unwrap_err().next;
        assert!((55..=60).contains(&seconds(wait)), "{wait:?}");
    }

    #[test]
    fn no_limit_is_none() {
        let rate = Rate::per_minute(0);
        assert!((0..1000).all(|_| rate.take(1) == Ok(None)));
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        for (wait, expected) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            assert_eq!(seconds(Duration::from_millis(wait)), expected, "{wait}");
        }
    }
}
