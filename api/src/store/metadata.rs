//! What customers say of their orders, in table `orders`.

use common::name::OrderId;

use super::history::{Changed, Event, Word};
use super::{Store, StoreError};

/// Of an order: that it has not ended.
const ONLY: &str = "o.aborted_at is null and o.deleted_at is null";

impl Store {
    /// Sets what a customer says of an order.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn set_description(&self, id: &OrderId, text: &str, word: &Word<'_>) -> Result<Changed, StoreError> {
        self.change(Event::Described, "description = $6", ONLY, id, word, &[&text]).await
    }

    /// Sets the label that a customer gives an order.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn set_label(&self, id: &OrderId, text: &str, word: &Word<'_>) -> Result<Changed, StoreError> {
        self.change(Event::Labelled, "customized_label = $6", ONLY, id, word, &[&text]).await
    }
}
