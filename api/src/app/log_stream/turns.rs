//! Turns to ask regions for pages: so many at once in all, of each region, and of each order, so that one that does not
//! answer, or takes long to, holds up no other.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use common::name::{OrderId, RegionCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// The most pages that this instance asks for at once: reads of other kinds find room beside them.
const MAX_PAGES: usize = 64;
/// The most of one region.
const MAX_PAGES_OF_REGION: usize = 8;
/// The most of one order.
const MAX_PAGES_OF_ORDER: usize = 2;

/// All turns.
pub(super) struct Turns {
    all: Semaphore,
    regions: Each<RegionCode>,
    orders: Each<OrderId>,
}

/// So many turns of each; only of those that are asked about at the moment.
struct Each<T> {
    most: usize,
    asked: Mutex<HashMap<T, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
pub(super) struct Turn<'a> {
    // The semaphores are never closed.
    _order: Option<OwnedSemaphorePermit>,
    _region: Option<OwnedSemaphorePermit>,
    _all: Option<SemaphorePermit<'a>>,
}

impl Turns {
    pub(super) fn new() -> Self {
        let (regions, orders) = (Each::new(MAX_PAGES_OF_REGION), Each::new(MAX_PAGES_OF_ORDER));
        Self { all: Semaphore::new(MAX_PAGES), regions, orders }
    }

    /// Waits for a turn to ask this region about this order.
    pub(super) async fn take(&self, region: &RegionCode, order: &OrderId) -> Turn<'_> {
        // While it waits for those of its order it is in nobody else's way.
        let of_order = self.orders.of(order).acquire_owned().await.ok();
        let of_region = self.regions.of(region).acquire_owned().await.ok();
        Turn { _order: of_order, _region: of_region, _all: self.all.acquire().await.ok() }
    }
}

impl<T: Clone + Eq + Hash> Each<T> {
    fn new(most: usize) -> Self {
        Self { most, asked: Mutex::default() }
    }

    fn of(&self, key: &T) -> Arc<Semaphore> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, turns| Arc::strong_count(turns) > 1);
        asked.entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.most))).clone()
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
        let orders: Vec<OrderId> =
            (0..=MAX_PAGES_OF_REGION).map(|number| format!("o{number}").parse().unwrap()).collect();
        let (last, first) = orders.split_last().unwrap();
        let held = join_all(first.iter().map(|order| turns.take(&hung, order))).await;
        assert!(turns.take(&hung, last).now_or_never().is_none());
        assert!(turns.take(&other, last).now_or_never().is_some());
        drop(held);
        assert!(turns.take(&other, last).now_or_never().is_some());
        assert_eq!(turns.regions.asked.lock().unwrap().len(), 1, "regions that nobody asks are forgotten");
        assert_eq!(turns.orders.asked.lock().unwrap().len(), 1, "and orders");
    }

    #[tokio::test]
    async fn an_order_whose_pages_take_long_holds_up_no_other() {
        let (turns, region) = (Turns::new(), "region".parse().unwrap());
        let (slow, other) = ("slow".parse().unwrap(), "other".parse().unwrap());
        let held = join_all((0..MAX_PAGES_OF_ORDER).map(|_| turns.take(&region, &slow))).await;
        let mut waiting: Vec<_> = (0..2 * MAX_PAGES_OF_REGION).map(|_| Box::pin(turns.take(&region, &slow))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert!(turns.take(&region, &other).now_or_never().is_some());
        drop(held);
        assert!(join_all(waiting.drain(..MAX_PAGES_OF_ORDER)).now_or_never().is_some());
    }
}
