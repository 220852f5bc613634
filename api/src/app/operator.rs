//! What an operator changes of an order besides making and ending it: its time and its secret. A repeated key changes
//! nothing more.

use common::failure::Reason;
use common::name::OrderId;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::change::key_reused;
use super::error::AppError;
use super::json::{Field, Problems};
use super::order::MadeOrder;
use super::order_request::MAX_HOURS;
use super::secret::Operator;
use super::{App, secret};
use crate::store::digest::Digest;
use crate::store::history::{Changed, Detail, Earlier, Word};
use crate::store::orders::Order;

/// The longest that an order's secret goes on opening it beside a newer one: 7 days.
pub const MAX_OVERLAP_SECONDS: u32 = 7 * 24 * 3600;

/// An operator's change as a front end hands it over.
#[derive(Debug, Clone, Copy)]
pub struct OperatorRequest<'a> {
    /// Who asks.
    pub operator: &'a Operator,
    /// The body.
    pub body: &'a Value,
    /// The operator's idempotency key.
    pub idempotency_key: Option<&'a str>,
}

impl<'a> OperatorRequest<'a> {
    /// What the history is to say of it.
    pub(super) fn word(&self, detail: Detail, digest: &'a Digest) -> Word<'a> {
        let idempotency = self.idempotency_key.map(|key| (key, &digest.current));
        Word { actor: &self.operator.name, detail, idempotency }
    }
}

impl App {
    /// Gives an order more time: before its activation it will run longer; after its end it runs from now on.
    ///
    /// # Errors
    /// Every problem of the body, also an order that would last too long; [`Reason::NotFound`]; [`Reason::OrderEnded`] once it
    /// is aborted or deleted; [`Reason::IdempotencyKeyReused`].
    pub async fn extend_order(&self, id: &str, request: OperatorRequest<'_>) -> Result<Order, AppError> {
        let hours = read_hours(request.body)?;
        let order = self.find_order(id).await?;
        let digest = self.request_digest("extend_order", request.body);
        if self.done_before(&order.id, request, &digest).await?.is_some() {
            return self.find_order(id).await;
        }
        let word = request.word(Detail { hours: Some(hours), ..Detail::default() }, &digest);
        match self.store.extend_order(&order.id, hours, MAX_HOURS, &word).await? {
            Changed::Yes(order) => {
                tracing::info!(order = %order.id, hours, by = request.operator.name, "order extended");
                Ok(*order)
            }
            Changed::KeyTaken | Changed::No => {
                let repeated = self.done_before(&order.id, request, &digest).await?.is_some();
                let order = self.find_order(id).await?;
                if repeated { Ok(order) } else { Err(not_extended(&order)) }
            }
        }
    }

    /// Gives an order a new secret, which is shown this once; none when the request is a repeated one.
    ///
    /// # Errors
    /// Every problem of the body; [`Reason::NotFound`]; [`Reason::IdempotencyKeyReused`].
    pub async fn replace_secret(&self, id: &str, request: OperatorRequest<'_>) -> Result<MadeOrder, AppError> {
        let overlap = read_overlap(request.body)?;
        let order = self.find_order(id).await?;
        let digest = self.request_digest("replace_secret", request.body);
        let repeated = async || Ok(MadeOrder { order: self.find_order(id).await?, secret: None });
        if self.done_before(&order.id, request, &digest).await?.is_some() {
            return repeated().await;
        }
        let secret = secret::generate()?;
        let word = request.word(Detail { overlap_seconds: Some(overlap), ..Detail::default() }, &digest);
        let secret_digest = self.secrets.digest(&[secret.expose_secret()]);
        match self.store.replace_secret(&order.id, &secret_digest, overlap, &word).await? {
            Changed::Yes(order) => {
                tracing::info!(order = %order.id, overlap, by = request.operator.name, "order's secret replaced");
                Ok(MadeOrder { order: *order, secret: Some(secret) })
            }
            Changed::KeyTaken => {
                self.done_before(&order.id, request, &digest).await?;
                repeated().await
            }
            Changed::No => Err(AppError::internal("an order that was found a moment ago is there")),
        }
    }

    /// What the request's key has done to the order before.
    pub(super) async fn done_before(
        &self,
        order: &OrderId,
        request: OperatorRequest<'_>,
        digest: &Digest,
    ) -> Result<Option<Earlier>, AppError> {
        let Some(key) = request.idempotency_key else { return Ok(None) };
        let earlier = self.store.done_by_key(order, &request.operator.name, key).await?;
        match earlier {
            Some(earlier) if !digest.is(&earlier.request_digest) => Err(key_reused()),
            earlier => Ok(earlier),
        }
    }
}

/// `hours`: how much more.
fn read_hours(body: &Value) -> Result<u32, AppError> {
    read(body, |body, problems| {
        let hours = |number| match u32::try_from(number) {
            Ok(hours) if (1..=MAX_HOURS).contains(&hours) => Ok(hours),
            _ => Err(format!("must be a number of hours from 1 to {MAX_HOURS}")),
        };
        body.required("hours", problems)?.integer(hours, problems)
    })
}

/// `overlapSeconds`: for how long the secret before goes on; 0 unless given.
fn read_overlap(body: &Value) -> Result<u32, AppError> {
    read(body, |body, problems| {
        let seconds = |number| match u32::try_from(number) {
            Ok(seconds) if seconds <= MAX_OVERLAP_SECONDS => Ok(seconds),
            _ => Err(format!("must be a number of seconds from 0 to {MAX_OVERLAP_SECONDS}")),
        };
        body.optional("overlapSeconds").map_or(Some(0), |field| field.integer(seconds, problems))
    })
}

/// Reads a body of one field.
pub(super) fn read<T>(
    body: &Value,
    field: impl FnOnce(&mut super::json::Object<'_>, &mut Problems) -> Option<T>,
) -> Result<T, AppError> {
    let mut problems = Problems::default();
    let value = Field::root(body).object(&mut problems).and_then(|mut body| {
        let value = field(&mut body, &mut problems);
        body.finish(&mut problems);
        value
    });
    value.filter(|_| problems.is_empty()).ok_or_else(|| AppError::invalid(problems))
}

/// Why an order cannot be extended by so many hours.
fn not_extended(order: &Order) -> AppError {
    if order.aborted_at.is_some() || order.deleted_at.is_some() {
        return ended();
    }
    let mut problems = Problems::default();
    let most = MAX_HOURS.saturating_sub(order.purchase.duration_hours);
    problems.add("hours", format!("must be at most {most}: an order lasts {MAX_HOURS} hours at most"));
    AppError::invalid(problems)
}

/// Of an order that no operator can change any more.
pub(super) fn ended() -> AppError {
    AppError::new(Reason::OrderEnded, "the order has been aborted or deleted before")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_bodies_are_refused() {
        for (body, expected) in [
            (json!({}), "hours is required"),
            (json!({"hours": 0}), "hours must be a number of hours from 1 to 87600"),
            (json!({"hours": "1"}), "hours must be a whole number"),
            (json!({"hours": 1, "x": 1}), "x is not a known field"),
            (json!([]), "the body must be an object"),
        ] {
            assert!(read_hours(&body).unwrap_err().message.starts_with(expected), "{body}");
        }
        for (body, expected) in [
            (json!({"overlapSeconds": -1}), "overlapSeconds must be a number of seconds from 0 to 604800"),
            (json!({"overlapSeconds": 604_801}), "overlapSeconds must be a number of seconds from 0 to 604800"),
            (json!({"overlap": 1}), "overlap is not a known field"),
        ] {
            assert!(read_overlap(&body).unwrap_err().message.starts_with(expected), "{body}");
        }
        assert_eq!(read_overlap(&json!({})).unwrap(), 0);
        assert_eq!(read_overlap(&json!({"overlapSeconds": 604_800})).unwrap(), MAX_OVERLAP_SECONDS);
    }
}
