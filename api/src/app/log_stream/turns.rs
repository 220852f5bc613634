//! Turns to ask regions for pages: so many at once in all, and of each region, so that one that does not answer holds up no
//! other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use common::name::RegionCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// The most pages that this instance asks for at once: reads of other kinds find room beside them.
const MAX_PAGES: usize = 64;
/// The most of one region.
const MAX_PAGES_OF_REGION: usize = 8;

/// All turns.
pub(super) struct Turns {
    all: Semaphore,
    /// Of regions that are asked at the moment.
    regions: Mutex<HashMap<RegionCode, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
pub(super) struct Turn<'a> {
    // The semaphores are never closed.
    _of_region: Option<OwnedSemaphorePermit>,
    _of_all: Option<SemaphorePermit<'a>>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { all: Semaphore::new(MAX_PAGES), regions: Mutex::default() }
    }

    /// Waits for a turn to ask this region.
    pub(super) async fn take(&self, region: &RegionCode) -> Turn<'_> {
        let of_region = self.of_region(region).acquire_owned().await.ok();
        Turn { _of_region: of_region, _of_all: self.all.acquire().await.ok() }
    }

    fn of_region(&self, region: &RegionCode) -> Arc<Semaphore> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|_, turns| Arc::strong_count(turns) > 1);
        regions.entry(region.clone()).or_insert_with(|| Arc::new(Semaphore::new(MAX_PAGES_OF_REGION))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use futures::future::join_all;

    #[tokio::test]
    async fn a_region_that_does_not_answer_holds_up_no_other() {
        let (turns, hung, other) = (Turns::new(), "hung".parse().unwrap(), "other".parse().unwrap());
        let held = join_all((0..MAX_PAGES_OF_REGION).map(|_| turns.take(&hung))).await;
        assert!(turns.take(&hung).now_or_never().is_none());
        assert!(turns.take(&other).now_or_never().is_some());
        drop(held);
        assert!(turns.take(&other).now_or_never().is_some());
        assert_eq!(turns.regions.lock().unwrap().len(), 1, "regions that nobody asks are forgotten");
    }
}
