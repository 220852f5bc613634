//! Questions about what runs, asked of the order's region (`design.md` §5). Each costs one publish and one answer.

use bytes::Bytes;
use common::failure::{Failure, Reason};
use common::name::{OrderId, RegionCode, Revision};
use common::read::{AnswerKind, LogQuery, Query, READ_VERSION, Read, StatusQuery};
use common::usage::UsageQuery;

use super::App;
use super::change::not_deployed;
use super::error::AppError;
use crate::bus::ReadError;
use crate::store::orders::Order;

impl App {
    /// The log of one of the order's containers: its own bytes, at most the last 1 MiB.
    ///
    /// # Errors
    /// [`Reason::NotDeployed`], [`Reason::RegionUnavailable`], or the region's own reason.
    pub async fn log(&self, order: &Order, query: LogQuery) -> Result<Bytes, AppError> {
        let (region, _) = deployed(order)?;
        self.ask(&order.id, region, Query::Log(query)).await
    }

    /// The state of the order's pod: a [`common::read::Status`] in JSON.
    ///
    /// # Errors
    /// As [`App::log`].
    pub async fn status(&self, order: &Order) -> Result<Bytes, AppError> {
        let (region, revision) = deployed(order)?;
        self.ask(&order.id, region, Query::Status(StatusQuery { revision })).await
    }

    /// What the order's pod uses: a [`common::usage::Usage`] in JSON.
    ///
    /// # Errors
    /// As [`App::log`].
    pub async fn usage(&self, order: &Order, query: UsageQuery) -> Result<Bytes, AppError> {
        let (region, _) = deployed(order)?;
        self.ask(&order.id, region, Query::Usage(query)).await
    }

    /// Asks a region about an order.
    pub(super) async fn ask(&self, order: &OrderId, region: &RegionCode, query: Query) -> Result<Bytes, AppError> {
        if !self.bus.regions.is_live(region) {
            return Err(AppError::region_unavailable(region));
        }
        let read = Read { version: READ_VERSION, order: order.clone(), region: region.clone(), query };
        let answer = self.bus.read(&read, self.settings.read_deadline).await.map_err(|error| match error {
            ReadError::Deadline => {
                let message = format!("region {region} did not answer in time; try again");
                AppError::new(Reason::DeadlineExceeded, message)
            }
            other => AppError::overloaded("the region cannot be asked at the moment; try again", other),
        })?;
        match answer.kind {
            AnswerKind::Ok => Ok(answer.body),
            AnswerKind::Failure => {
                let failure: Failure = serde_json::from_slice(&answer.body).map_err(AppError::internal)?;
                Err(failure.into())
            }
        }
    }
}

/// Where the order's pod is, and the newest revision that may still come true, or that once was accepted.
pub(super) fn deployed(order: &Order) -> Result<(&RegionCode, Revision), AppError> {
    let revision = order.target.as_ref().map(|target| target.revision).or(order.last_revision);
    order.purchase.region.as_ref().zip(revision).ok_or_else(not_deployed)
}
