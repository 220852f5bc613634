//! The groups of calls in the OpenAPI document.

use poem_openapi::Tags;

/// A group of calls.
#[derive(Tags)]
pub(super) enum Tag {
    /// Questions that need no secret.
    Lookup,
    /// The customer's order and what it runs.
    Order,
    /// Changes, and how far they are.
    Jobs,
    /// The operator's side.
    Admin,
}
