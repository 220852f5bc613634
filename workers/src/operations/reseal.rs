//! `reseal`: the region's sealed values, sealed to another key. Only what this region's keys open; nothing in clear leaves.
//! Costs no request.

use common::failure::{Failure, Reason};
use common::name::OrderId;
use common::read::ResealQuery;
use common::sealed::{SealError, Sealed};

use super::{Operation, OperationError, RetryCause};
use crate::context::Context;

impl Operation for ResealQuery {
    type About = OrderId;
    type Output = Vec<u8>;

    async fn run(&self, context: &Context, _: &OrderId) -> Result<Vec<u8>, OperationError> {
        let (query, keys) = (self.clone(), context.keys.clone());
        // Some 0.2 ms of computing a value.
        let resealed = tokio::task::spawn_blocking(move || {
            let reseal = |sealed| query.key.seal(&keys.open(sealed)?);
            query.values.iter().map(reseal).collect::<Result<Vec<Sealed>, SealError>>()
        });
        let resealed = resealed.await.map_err(|_| OperationError::Retry(RetryCause::Panicked))?;
        let resealed = resealed.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a sealed value of the order does not open");
            let message = "the region can no longer read this revision's secrets; please deploy it again";
            OperationError::Refused(Failure::new(Reason::Internal, message))
        })?;
        Ok(serde_json::to_vec(&resealed).unwrap_or_default())
    }
}
