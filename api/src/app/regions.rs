//! The regions as an operator sees them, and the operator's word that a region's orders may be deleted, however many.

use std::collections::BTreeMap;

use common::failure::Reason;
use common::name::RegionCode;
use common::presence::Drift;

use super::App;
use super::change::{expect_nothing, key_reused};
use super::error::AppError;
use super::operator::OperatorRequest;
use crate::bus::HeardWorker;
use crate::store::digest::Digest;
use crate::store::history::Detail;
use crate::store::operator::Approved;
use crate::store::queues::Queue;

/// A region as an operator sees it.
#[derive(Debug)]
pub struct RegionDetails {
    /// Its code.
    pub region: RegionCode,
    /// Whether it has a worker that takes work.
    pub is_live: bool,
    /// Its workers that were heard within 24 h, the last heard first.
    pub workers: Vec<HeardWorker>,
    /// How many of its host ports are held.
    pub ports_used: usize,
    /// Its jobs that have not ended, if any.
    pub queue: Option<Queue>,
    /// How many deletes wait for an operator's word.
    pub deletes_held: u64,
    /// Which orders were changed by hand in its cluster.
    pub drifted: Vec<Drift>,
}

impl App {
    /// Every region that has workers, orders, jobs, ports or deletes that are held, sorted. Three statements, one more for each
    /// region with orders that were changed by hand; no message.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn region_overview(&self) -> Result<Vec<RegionDetails>, AppError> {
        let queues = self.store.queues().await?;
        let held = self.store.deletes_held(self.delete_after_seconds()).await?;
        let known = self.bus.regions.known().into_iter().chain(self.bus.ledger.regions());
        let known = known.chain(self.store.regions_in_use().await?);
        let named = known.chain(queues.iter().map(|q| q.region.clone())).chain(held.iter().map(|(r, _)| r.clone()));
        let mut all: BTreeMap<RegionCode, RegionDetails> =
            named.map(|region| (region.clone(), self.region_details(region))).collect();
        for (region, count) in held {
            if let Some(details) = all.get_mut(&region) {
                details.deletes_held = count;
            }
        }
        for queue in queues {
            if let Some(details) = all.get_mut(&queue.region) {
                details.queue = Some(queue);
            }
        }
        for details in all.values_mut() {
            details.drifted = self.drifted(&details.region).await?;
        }
        Ok(all.into_values().collect())
    }

    /// What the broker knows of a region.
    fn region_details(&self, region: RegionCode) -> RegionDetails {
        RegionDetails {
            is_live: self.bus.regions.is_live(&region),
            workers: self.bus.regions.heard(&region),
            ports_used: self.bus.ledger.used(&region),
            queue: None,
            deletes_held: 0,
            drifted: Vec::new(),
            region,
        }
    }

    /// Lets the deletes of a region pass that are due now, and no later ones; how many they are.
    ///
    /// # Errors
    /// Unknown fields of the body; [`Reason::NotFound`] when nothing is known of the region; [`Reason::IdempotencyKeyReused`].
    pub async fn approve_deletes(&self, code: &str, request: OperatorRequest<'_>) -> Result<u32, AppError> {
        expect_nothing(request.body)?;
        let unknown = || AppError::new(Reason::NotFound, "there is no region with this code");
        let region: RegionCode = code.parse().map_err(|_| unknown())?;
        let digest = self.request_digest("approve_deletes", request.body);
        if let Some(approved) = self.approved_before(&region, request, &digest).await? {
            return Ok(approved);
        }
        if !self.region_overview().await?.iter().any(|known| known.region == region) {
            return Err(unknown());
        }
        let word = request.word(Detail::default(), &digest);
        match self.store.approve_deletes(&region, self.delete_after_seconds(), &word).await? {
            Approved::Yes(orders) => {
                tracing::info!(%region, orders, by = request.operator.name, "deletes approved");
                Ok(orders)
            }
            Approved::KeyTaken => {
                let approved = self.approved_before(&region, request, &digest).await?;
                approved.ok_or_else(|| AppError::internal("a taken idempotency key names an approval"))
            }
        }
    }

    /// What the request's key has approved before.
    async fn approved_before(
        &self,
        region: &RegionCode,
        request: OperatorRequest<'_>,
        digest: &Digest,
    ) -> Result<Option<u32>, AppError> {
        let Some(key) = request.idempotency_key else { return Ok(None) };
        match self.store.approved_by_key(region, key).await? {
            Some((_, earlier)) if !digest.is(&earlier) => Err(key_reused()),
            earlier => Ok(earlier.map(|(orders, _)| orders)),
        }
    }
}
