//! Domains bound to an order (`wire.md` §5): one Service and one Ingress in its region, and each domain one order's. Costs one
//! statement to authenticate, one to read the pod, one that accepts the job, one publish.

mod request;

use common::failure::Reason;
use common::ingress::{Domain, Exposure};
use common::name::JobId;
use serde_json::Value;

use super::App;
use super::change::{ChangeAnswer, ChangeRequest, Needs, not_deployed};
use super::error::AppError;
use super::json::Problems;
use crate::store::acceptance::{Acceptance, Accepted};
use crate::store::jobs::Job;
use crate::store::orders::Order;

/// How often a change is made anew because others change the same order.
const ATTEMPTS: u32 = 4;

/// What is asked of an order's domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// One more is bound, or how one leads to the pod is changed.
    Bind,
    /// Some are added or removed.
    Edit,
    /// None is bound any more.
    Unbind,
}

impl App {
    /// Binds or unbinds domains; the pod is left alone.
    ///
    /// # Errors
    /// Every problem of the body; [`Reason::NotDeployed`]; [`Reason::NotFound`] when no domain is bound; [`Reason::DomainTaken`];
    /// [`Reason::OrderEnded`]; the region's own reason when the job failed.
    pub async fn expose(
        &self,
        mut order: Order,
        earlier: Option<Job>,
        ask: Ask,
        request: ChangeRequest<'_>,
    ) -> Result<ChangeAnswer, AppError> {
        let digest = self.request_digest(&format!("expose {ask:?}"), request.body);
        if let Some(job) = earlier {
            return self.answered_before(job, &digest, request.wait).await;
        }
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            let region = self.region_of_deployed(&order)?;
            let (target, base) = order.target.as_ref().zip(order.target_sequence).ok_or_else(not_deployed)?;
            let pod = self.store.pod(&order.id, target.revision).await?;
            let pod = pod.ok_or_else(|| AppError::internal("a target's revision is on record"))?;
            let exposure = read(ask, request.body, &target.exposure, &pod)?;
            let domains: Vec<Domain> =
                exposure.ingress().map(|ingress| ingress.domains.keys().cloned().collect()).unwrap_or_default();

            let id = JobId::new();
            let idempotency = request.idempotency_key.map(|key| (key, &digest.current));
            let acceptance = Acceptance { order: &order.id, region: &region, job: id, idempotency };
            match self.store.accept_expose(&acceptance, base, &exposure, &domains).await? {
                Accepted::Yes(job) => return self.carry_out(job, pod, request.wait).await,
                Accepted::KeyTaken => {
                    let answer = self.answered_by_another_request(&order.id, request, &digest).await?;
                    return answer.ok_or_else(|| AppError::internal("a taken idempotency key names a job"));
                }
                Accepted::No => {}
            }
            // The same request may have come first.
            if let Some(answer) = self.answered_by_another_request(&order.id, request, &digest).await? {
                return Ok(answer);
            }
            self.free_or_refuse(&order, &domains).await?;
            // Once, a domain may have been in the way that is free now.
            if refused.replace(base) == Some(base) {
                return Err(self.not_accepted(&order.id, &region, Needs::Target).await);
            }
            order = self.find_order(order.id.as_str()).await?;
        }
        Err(AppError::new(Reason::Overloaded, "others keep changing the order; try again"))
    }

    /// Frees domains that other orders do not use any more; those that they do use are named.
    async fn free_or_refuse(&self, order: &Order, domains: &[Domain]) -> Result<(), AppError> {
        self.store.free_domains(domains).await?;
        let taken = self.store.domains_of_others(&order.id, domains).await?;
        if taken.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = taken.iter().map(Domain::as_str).collect();
        let message = format!("another order has bound {}; unbind there first, or choose others", names.join(", "));
        Err(AppError::new(Reason::DomainTaken, message))
    }
}

/// What the order's exposure is to be, by the body.
///
/// # Errors
/// Every problem of the body; [`Reason::NotFound`] when no domain is bound.
pub fn read(ask: Ask, body: &Value, before: &Exposure, pod: &common::pod::Pod) -> Result<Exposure, AppError> {
    let mut problems = Problems::default();
    let exposure = match (ask, before.ingress()) {
        (Ask::Bind, bound) => request::bind(body, bound, pod, &mut problems),
        (Ask::Edit | Ask::Unbind, None) => {
            return Err(AppError::new(Reason::NotFound, "no domain is bound; bind one with POST first"));
        }
        (Ask::Edit, Some(bound)) => request::edit(body, bound, &mut problems),
        (Ask::Unbind, Some(_)) => request::nothing(body, &mut problems),
    };
    exposure.filter(|_| problems.is_empty()).ok_or_else(|| AppError::invalid(problems))
}
