//! Orders: made, shown and listed by operators.

use std::str::FromStr;

use common::failure::Reason;
use common::name::OrderId;
use common::port::HostPort;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::change::key_reused;
use super::error::AppError;
use super::operator::OperatorRequest;
use super::{App, order_request, secret};
use crate::store::Page;
use crate::store::digest::Digest;
use crate::store::history::Entry;
use crate::store::jobs::Job;
use crate::store::orders::{Created, Filter, NewOrder, Order};
use crate::store::revisions::RevisionSummary;

/// The most jobs, revisions and entries of its history that are shown with an order.
const SHOWN: i64 = 50;

/// An order that was made.
#[derive(Debug)]
pub struct MadeOrder {
    /// The order.
    pub order: Order,
    /// Its secret, if it is new: shown this once.
    pub secret: Option<SecretString>,
}

/// All that an operator sees of an order.
#[derive(Debug)]
pub struct OrderDetails {
    /// The order.
    pub order: Order,
    /// Its newest revisions.
    pub revisions: Vec<RevisionSummary>,
    /// Its newest jobs.
    pub jobs: Vec<Job>,
    /// The host ports that it holds, and how (`reserved`, `bound`, `cooling`).
    pub ports: Vec<(HostPort, &'static str)>,
    /// Who did what to it of late, newest first.
    pub history: Vec<Entry>,
}

/// Where a page of orders ended: the last order's time of making and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Timestamp, pub OrderId);

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be a cursor from the field next of an earlier page";
        let (at, id) = text.split_once('_').ok_or(wrong)?;
        let at = at.parse().ok().filter(|micros| *micros >= 0);
        let at = at.and_then(|micros| Timestamp::from_microsecond(micros).ok()).ok_or(wrong)?;
        Ok(Self(at, id.parse().map_err(|_| wrong)?))
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.0.as_microsecond(), self.1)
    }
}

impl App {
    /// Makes an order. The same id, or the same key, with the same body again gives the same order, without its secret.
    ///
    /// # Errors
    /// Every problem of the body; [`Reason::OrderExists`] when another body made an order of this id;
    /// [`Reason::IdempotencyKeyReused`].
    pub async fn make_order(&self, asked: OperatorRequest<'_>) -> Result<MadeOrder, AppError> {
        let request = order_request::read(asked.body).map_err(AppError::invalid)?;
        let request_digest = self.request_digest("make_order", asked.body);
        if let Some(made) = self.made_before(asked, &request_digest).await? {
            return Ok(made);
        }
        let id = match request.id {
            Some(id) => id,
            None => Uuid::new_v4().hyphenated().to_string().parse().map_err(AppError::internal)?,
        };
        let secret = secret::generate()?;
        let created = self
            .store
            .create_order(&NewOrder {
                id: &id,
                purchase: &request.purchase,
                secret_digest: &self.secrets.digest(&[secret.expose_secret()]),
                request_digest: &request_digest,
                made_by: &asked.operator.name,
                idempotency_key: asked.idempotency_key,
            })
            .await?;
        match created {
            Created::New(order) => Ok(MadeOrder { order, secret: Some(secret) }),
            Created::Before(order) => Ok(MadeOrder { order, secret: None }),
            Created::Taken => Err(AppError::new(
                Reason::OrderExists,
                format!("an order with id {id} was made from another body; take another id"),
            )),
            Created::KeyTaken => {
                let made = self.made_before(asked, &request_digest).await?;
                made.ok_or_else(|| AppError::internal("a taken idempotency key names an order"))
            }
        }
    }

    /// The order that the request's key has made before.
    async fn made_before(
        &self,
        asked: OperatorRequest<'_>,
        request_digest: &Digest,
    ) -> Result<Option<MadeOrder>, AppError> {
        let Some(key) = asked.idempotency_key else { return Ok(None) };
        match self.store.made_by_key(&asked.operator.name, key).await? {
            Some((_, kept)) if !request_digest.is(&kept) => Err(key_reused()),
            made => Ok(made.map(|(order, _)| MadeOrder { order, secret: None })),
        }
    }

    /// An order with all that belongs to it.
    ///
    /// # Errors
    /// [`Reason::NotFound`].
    pub async fn order_details(&self, id: &str) -> Result<OrderDetails, AppError> {
        let order = self.find_order(id).await?;
        let ports = match &order.purchase.region {
            Some(region) => self.held_ports(region, &order.id),
            None => Vec::new(),
        };
        // The ledger follows the record: what is read of the record after it is never behind it.
        let revisions = self.store.revisions(&order.id, SHOWN).await?;
        let jobs = self.store.jobs(&order.id, None, usize::try_from(SHOWN).unwrap_or_default()).await?.items;
        let history = self.store.history(&order.id, usize::try_from(SHOWN).unwrap_or_default()).await?;
        let order = self.find_order(id).await?;
        Ok(OrderDetails { order, revisions, jobs, ports, history })
    }

    /// Orders, newest first.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn orders(&self, filter: &Filter, limit: usize) -> Result<Page<Order>, AppError> {
        Ok(self.store.orders(filter, limit).await?)
    }

    /// The order of this id.
    pub(super) async fn find_order(&self, id: &str) -> Result<Order, AppError> {
        let order = match id.parse::<OrderId>() {
            Ok(id) => self.store.order(&id).await?,
            Err(_) => None,
        };
        order.ok_or_else(|| AppError::new(Reason::NotFound, "there is no order with this id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_cursor_reads_back() {
        let cursor = Cursor("2026-01-02T03:04:05.678901Z".parse().unwrap(), "a-b".parse().unwrap());
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for text in ["", "1", "_", "x_a", "1_A B", "-1_a"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
