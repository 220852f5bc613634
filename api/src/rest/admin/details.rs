//! All that there is to an order, as its operator sees it.

use poem_openapi::Object;

use super::super::job::JobBody;
use super::AdminOrder;
use crate::app::App;
use crate::app::order::OrderDetails;
use crate::store::history::Entry;

/// All that there is to an order.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct Details {
    /// The order.
    order: AdminOrder,
    /// As the order has it.
    service_status: String,
    /// The operator who made it.
    made_by: String,
    /// Its newest revisions, newest first.
    revisions: Vec<RevisionBody>,
    /// Its newest jobs, newest first.
    jobs: Vec<JobBody>,
    /// The host ports that it holds.
    ports: Vec<HeldPort>,
    /// Who did what to it of late, newest first.
    history: Vec<HistoryEntry>,
}

/// A revision.
#[derive(Object)]
#[oai(rename = "Revision", rename_all = "camelCase")]
struct RevisionBody {
    /// Its number.
    revision: u64,
    /// When it was accepted (RFC 3339).
    created_at: String,
}

/// A host port that an order holds.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct HeldPort {
    /// The number.
    host_port: u16,
    /// `TCP` or `UDP`.
    protocol: String,
    /// `reserved` for a job under way, `bound`, or `cooling` before it is free.
    state: String,
}

/// What somebody did to an order.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
struct HistoryEntry {
    /// When (RFC 3339).
    at: String,
    /// The operator's name, or `system`, or `customer`.
    by: String,
    /// What: `created`, `extended`, `secret_replaced`, `aborted`, `delete_approved`, `warned`, `stopped`, `started`, `deleted`,
    /// `described`, `labelled`, `drifted` (changed by hand in its cluster) or `repaired` (that is put right).
    event: String,
    /// By how many hours it was extended.
    hours: Option<u32>,
    /// For how long the secret before goes on opening it.
    overlap_seconds: Option<u32>,
    /// Why it was aborted.
    reason: Option<String>,
    /// What was changed by hand, an object each.
    objects: Option<Vec<String>>,
    /// The job that it made; of `drifted`, the newest job by then.
    job_id: Option<String>,
}

impl From<&Entry> for HistoryEntry {
    fn from(entry: &Entry) -> Self {
        Self {
            at: entry.at.to_string(),
            by: entry.actor.clone(),
            event: entry.event.as_str().to_owned(),
            hours: entry.detail.hours,
            overlap_seconds: entry.detail.overlap_seconds,
            reason: entry.detail.reason.clone(),
            objects: entry.detail.objects.clone(),
            job_id: entry.job.map(|job| job.to_string()),
        }
    }
}

impl Details {
    pub(super) fn new(app: &App, details: &OrderDetails) -> Self {
        let revisions = details.revisions.iter();
        let ports = details.ports.iter();
        Self {
            order: AdminOrder::new(app, &details.order),
            service_status: details.order.service_status().as_str().to_owned(),
            made_by: details.order.made_by.clone(),
            revisions: revisions
                .map(|r| RevisionBody { revision: r.revision.get(), created_at: r.created_at.to_string() })
                .collect(),
            jobs: details.jobs.iter().map(JobBody::from).collect(),
            ports: ports
                .map(|(host, state)| HeldPort {
                    host_port: host.port.get(),
                    protocol: host.protocol.to_string(),
                    state: (*state).to_owned(),
                })
                .collect(),
            history: details.history.iter().map(HistoryEntry::from).collect(),
        }
    }
}
