//! Places for clients that stay: so many in all, and so many of one order, so that none takes them from all others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use common::name::OrderId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionSettings {
    /// In all.
    pub most: usize,
    /// Of one order.
    pub most_per_order: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// All are taken.
    InAll,
    /// The order has as many as it may.
    OfOrder,
}

/// All places of a kind. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Admissions {
    most_per_order: usize,
    room: Arc<Semaphore>,
    orders: Arc<Mutex<HashMap<OrderId, usize>>>,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    admissions: Admissions,
    /// Whose it is.
    pub(super) order: OrderId,
    _permit: OwnedSemaphorePermit,
}

impl Admissions {
    pub(super) fn new(settings: AdmissionSettings) -> Self {
        let AdmissionSettings { most, most_per_order } = settings;
        Self { most_per_order, room: Arc::new(Semaphore::new(most)), orders: Arc::default() }
    }

    /// Takes a place for an order.
    pub(super) fn admit(&self, order: &OrderId) -> Result<Admission, NotAdmitted> {
        let permit = self.room.clone().try_acquire_owned().map_err(|_| NotAdmitted::InAll)?;
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = orders.get(order).copied().unwrap_or_default();
        if taken >= self.most_per_order {
            return Err(NotAdmitted::OfOrder);
        }
        orders.insert(order.clone(), taken + 1);
        Ok(Admission { admissions: self.clone(), order: order.clone(), _permit: permit })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut orders = self.admissions.orders.lock().unwrap_or_else(PoisonError::into_inner);
        match orders.get_mut(&self.order) {
            Some(taken) if *taken > 1 => *taken -= 1,
            _ => drop(orders.remove(&self.order)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_takes_its_places_and_leaves_others_theirs() {
        let admissions = Admissions::new(AdmissionSettings { most: 3, most_per_order: 2 });
        let [one, two]: [OrderId; 2] = ["one", "two"].map(|name| name.parse().unwrap());
        let first = admissions.admit(&one).unwrap();
        let second = admissions.admit(&one).unwrap();
        assert_eq!(admissions.admit(&one).unwrap_err(), NotAdmitted::OfOrder);
        let others = admissions.admit(&two).unwrap();
        assert_eq!(admissions.admit(&two).unwrap_err(), NotAdmitted::InAll);
        drop(first);
        let again = admissions.admit(&one).unwrap();
        drop((second, others, again));
        assert!(admissions.orders.lock().unwrap().is_empty(), "who has none is forgotten");
        assert_eq!(admissions.room.available_permits(), 3);
    }
}
