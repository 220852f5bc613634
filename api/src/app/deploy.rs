//! A deploy, from the body to the answer (`design.md` §4). It costs, on the request's way: one statement to authenticate,
//! one batch on the ledger, one statement that accepts the job, one publish; where the system assigns ports to an order
//! that had some before, one more statement to keep them. The mark that the job was published is made beside it, many
//! jobs at a time.

use common::fail_point::FailPoint;
use common::failure::Reason;
use common::name::{JobId, RegionCode};
use common::pod::Pod;
use common::presence::REGION_LOST_AFTER;
use common::sealed::SealError;

use super::App;
use super::change::{ChangeAnswer, ChangeRequest, Needs, takes_no_changes};
use super::error::AppError;
use super::json::Problems;
use super::pod_request::{self, PodRequest};
use super::reservation::NotReserved;
use crate::store::acceptance::{Acceptance, Accepted};
use crate::store::jobs::Job;
use crate::store::orders::Order;

/// The largest pod: with what else belongs to a job it must fit into a NATS message of 1 MiB.
const MAX_POD_BYTES: usize = 1_000_000;

impl App {
    /// Deploys the order's pod as a new revision.
    ///
    /// # Errors
    /// Every problem of the body; ports that others hold; the region's own reason when the job failed.
    pub async fn deploy(
        &self,
        order: Order,
        earlier: Option<Job>,
        request: ChangeRequest<'_>,
    ) -> Result<ChangeAnswer, AppError> {
        let digest = self.request_digest(&format!("deploy {:?}", request.until), request.body);
        if let Some(job) = earlier {
            return self.answered_before(job, &digest, request.wait).await;
        }
        if let Some(refusal) = takes_no_changes(&order) {
            return Err(refusal);
        }
        let wanted = pod_request::read(request.body, &order.purchase).map_err(AppError::invalid)?;
        let region = self.choose_region(&order, &wanted)?;
        let mut pod = self.seal(wanted, &order, &region).await?;

        let id = JobId::new();
        let reserved = match self.reserve_ports(&order, &region, id, &mut pod).await {
            Ok(reserved) => reserved,
            Err(NotReserved::Refused(error)) => return Err(error),
            // Among those who keep changing the same ports may be a repetition of this very request.
            Err(NotReserved::Busy(error)) => {
                return match self.answered_by_another_request(&order.id, request, &digest).await? {
                    Some(answer) => Ok(answer),
                    None => Err(error),
                };
            }
        };
        FailPoint::PortsReserved.reached();
        let idempotency = request.idempotency_key.map(|key| (key, &digest.current));
        let acceptance = Acceptance { order: &order.id, region: &region, job: id, idempotency };
        let job = match self.store.accept_deploy(&acceptance, &pod, request.until, None).await {
            Ok(Accepted::Yes(job)) => job,
            Ok(Accepted::KeyTaken) => {
                self.bus.ledger.release(reserved).await;
                let answer = self.answered_by_another_request(&order.id, request, &digest).await?;
                return answer.ok_or_else(|| AppError::internal("a taken idempotency key names a job"));
            }
            Ok(Accepted::No) => {
                self.bus.ledger.release(reserved).await;
                return match self.answered_by_another_request(&order.id, request, &digest).await? {
                    Some(answer) => Ok(answer),
                    None => Err(self.not_accepted(&order.id, &region, Needs::Nothing).await),
                };
            }
            // Whether the statement took effect is not known: the sweeper asks the record before it frees anything.
            Err(error) => return Err(error.into()),
        };
        self.carry_out(job, pod, request.wait).await
    }

    /// Where the pod goes: the order's region, which takes no changes only if nothing was heard of it for a day (`wire.md`
    /// §6), else the one that the body names, which must have a live worker (§4).
    fn choose_region(&self, order: &Order, pod: &PodRequest) -> Result<RegionCode, AppError> {
        let regions = &self.bus.regions;
        match (&order.purchase.region, &pod.region) {
            (Some(own), _) if regions.heard_within(own, REGION_LOST_AFTER) => Ok(own.clone()),
            (Some(own), _) => Err(AppError::region_unavailable(own)),
            (None, Some(named)) if regions.is_live(named) => Ok(named.clone()),
            (None, Some(named)) if regions.heard_within(named, REGION_LOST_AFTER) => {
                Err(AppError::region_unavailable(named))
            }
            (None, Some(_)) => {
                let mut problems = Problems::default();
                let live: Vec<String> = regions.live().iter().map(ToString::to_string).collect();
                let known = if live.is_empty() { "none at the moment".to_owned() } else { live.join(", ") };
                problems.add("nodeSelector.region", format!("must be a region that is there: {known}"));
                Err(AppError::invalid(problems).because(Reason::RegionUnknown))
            }
            (None, None) => Err(AppError::internal("a deploy names a region, or its order does")),
        }
    }

    /// The pod with its secrets sealed to its region.
    async fn seal(&self, pod: PodRequest, order: &Order, region: &RegionCode) -> Result<Pod, AppError> {
        let key = self.bus.regions.public_key(region).ok_or_else(|| AppError::region_unavailable(region))?;
        let purchase = order.purchase.clone();
        let pod = sealing(move || pod.seal(&purchase, &key)).await?;
        check_size(&pod)?;
        Ok(pod)
    }
}

/// Computes what has secrets to seal where it holds up no other request.
pub(super) async fn sealing<T: Send + 'static>(
    compute: impl FnOnce() -> Result<T, SealError> + Send + 'static,
) -> Result<T, AppError> {
    tokio::task::spawn_blocking(compute).await.map_err(AppError::internal)?.map_err(AppError::internal)
}

/// Refuses a pod that would not fit into a message.
pub(super) fn check_size(pod: &Pod) -> Result<(), AppError> {
    let bytes = serde_json::to_vec(pod).map_or(usize::MAX, |printed| printed.len());
    if bytes <= MAX_POD_BYTES {
        return Ok(());
    }
    let message = format!("the pod must have at most {MAX_POD_BYTES} bytes once its secrets are sealed; shorten it");
    Err(AppError::new(Reason::PayloadTooLarge, message))
}
