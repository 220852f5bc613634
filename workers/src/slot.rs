//! How much a worker does at once: messages in work have a slot each. What only waits leaves its slot to others.

use std::sync::{Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

/// A message's place among those in work, until it is left or dropped.
#[derive(Debug)]
pub struct Slot(Mutex<Option<OwnedSemaphorePermit>>);

impl Slot {
    /// The slot of this permit.
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Mutex::new(Some(permit)))
    }

    /// Leaves it to another message: from now on there is little to do but wait.
    pub fn leave(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
