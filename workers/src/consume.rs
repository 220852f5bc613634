//! From the broker to an operation and back: pull one message a free slot, run what it asks, settle it.

mod answer;
mod broker;
mod credit;
mod follow;
mod jobs;
mod pull;
mod reads;
mod results;
mod settle;

pub use broker::{Broker, BrokerError};
pub use follow::Follows;
pub use jobs::Jobs;
pub use pull::Queue;
pub use reads::Reads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the jobs and reads in a worker's hands.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<AtomicU32>);

impl InFlight {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more until the answer is dropped.
    fn enter(&self) -> InHand {
        self.0.fetch_add(1, Ordering::Relaxed);
        InHand(self.clone())
    }
}

/// One job or read in hand.
#[derive(Debug)]
struct InHand(InFlight);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
