//! The fence of an order: a `Lease` in the worker's own namespace that holds the highest sequence begun (`design.md`
//! §4.5). Its annotations say it all; it moves by `resourceVersion` and never backwards, and it outlives a delete, so that
//! a job older than the delete finds out.

use std::collections::BTreeMap;

use common::fail_point::FailPoint;
use common::failure::Failure;
use common::job::Verb;
use common::name::{Instance, JobId, OrderId, RegionCode, Revision, Sequence};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use serde_json::json;

use super::classify::Disposition;
use super::{Cluster, ClusterError, Object, Seen};
use crate::kubernetes::{
    ANNOTATION_JOB, ANNOTATION_REVISION, ANNOTATION_SEQUENCE, FIELD_MANAGER, Kind, LABEL_MANAGED_BY, LABEL_ORDER,
};

/// Annotation: the verb of the job that last moved the fence.
const ANNOTATION_VERB: &str = "vkube.dev/verb";
/// Annotation: the sequence of the order's last delete: what older jobs made must not be.
const ANNOTATION_DELETED: &str = "vkube.dev/deleted";
/// Annotation: why the job that last moved the fence was refused, as JSON: it is so however often it is delivered.
const ANNOTATION_REFUSED: &str = "vkube.dev/refused";
/// Annotation: config maps and Secrets that the order's last jobs made, newest first: the Deployment that knows them may be lost.
const ANNOTATION_CONTENTS: &str = "vkube.dev/contents";
/// Annotation: the order's region.
const ANNOTATION_REGION: &str = "vkube.dev/region";
/// How many words of earlier jobs are kept there.
const MAX_EARLIER: usize = 32;

/// A job as its fence knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The job's place among the order's jobs.
    pub sequence: Sequence,
    /// What it does.
    pub verb: Verb,
    /// The revision of its target; none = it removes all.
    pub revision: Option<Revision>,
    /// The job.
    pub job: JobId,
    /// The config maps and Secrets of its target, a word each.
    pub contents: String,
}

/// Where a fence stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The highest sequence begun.
    pub sequence: Sequence,
    /// The revision that its job makes; none = it makes none.
    pub revision: Option<Revision>,
    /// The sequence of the last delete that was begun.
    pub deleted: Option<Sequence>,
    /// The config maps and Secrets of its job and of those before it, a word each.
    pub contents: String,
    /// Why its job was refused; none = it was not.
    pub refused: Option<Failure>,
    /// Whether it was just made: the order's first job here.
    pub fresh: bool,
}

impl Fence {
    fn read(lease: &Object) -> Option<Self> {
        let number = |key: &str| lease.annotation(key).and_then(|text| text.parse().ok());
        Some(Self {
            sequence: number(ANNOTATION_SEQUENCE)?,
            revision: lease.annotation(ANNOTATION_REVISION).and_then(|text| text.parse().ok()),
            deleted: number(ANNOTATION_DELETED),
            contents: lease.annotation(ANNOTATION_CONTENTS).unwrap_or_default().to_owned(),
            refused: lease.annotation(ANNOTATION_REFUSED).and_then(|text| serde_json::from_str(text).ok()),
            fresh: false,
        })
    }

    fn at(mark: &Mark, before: Option<&Self>) -> Self {
        let deleted = match mark.verb {
            Verb::Delete => Some(mark.sequence),
            Verb::Deploy | Verb::Restart | Verb::Stop | Verb::Start | Verb::Expose | Verb::Cancel | Verb::Repair => {
                before.and_then(|fence| fence.deleted)
            }
        };
        let earlier = before.filter(|_| mark.verb != Verb::Delete).map_or("", |fence| fence.contents.as_str());
        let own: Vec<&str> = mark.contents.split_whitespace().collect();
        let earlier = earlier.split_whitespace().filter(|word| !own.contains(word)).take(MAX_EARLIER);
        let contents = own.iter().copied().chain(earlier).collect::<Vec<_>>().join(" ");
        let (sequence, revision, fresh) = (mark.sequence, mark.revision, before.is_none());
        Self { sequence, revision, deleted, contents, refused: None, fresh }
    }
}

/// Why a fence could not be read or moved.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// A call failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Others moved it again and again.
    #[error("fence of order {0} moved under us")]
    Contended(OrderId),
    /// It says no sequence: somebody changed it by hand.
    #[error("fence of order {0} cannot be read")]
    Unreadable(OrderId),
}

/// The fences of all orders.
#[derive(Debug, Clone)]
pub struct Fences {
    /// Where they are kept.
    pub namespace: String,
    /// Who moves them.
    pub worker: Instance,
    /// The region of the orders.
    pub region: RegionCode,
}

/// A fence as a worker remembers it.
#[derive(Debug)]
pub struct FenceSeen {
    /// Whose it is.
    pub order: Option<OrderId>,
    /// Where the order runs: several regions may share a cluster.
    pub region: Option<RegionCode>,
    /// The highest sequence begun.
    pub sequence: Option<Sequence>,
    /// The revision that its job makes; none = it makes none.
    pub revision: Option<Revision>,
    /// Whether its job was refused.
    pub is_refused: bool,
}

impl Seen for FenceSeen {
    fn from_object(object: DynamicObject) -> Self {
        let annotations = object.metadata.annotations.unwrap_or_default();
        let text = |key: &str| annotations.get(key);
        Self {
            order: object.metadata.labels.unwrap_or_default().get(LABEL_ORDER).and_then(|order| order.parse().ok()),
            region: text(ANNOTATION_REGION).and_then(|region| region.parse().ok()),
            sequence: text(ANNOTATION_SEQUENCE).and_then(|sequence| sequence.parse().ok()),
            revision: text(ANNOTATION_REVISION).and_then(|revision| revision.parse().ok()),
            is_refused: text(ANNOTATION_REFUSED).is_some(),
        }
    }
}

impl Fences {
    /// Moves an order's fence to a job, unless a newer job has begun; answers where it stands then.
    pub async fn begin(&self, cluster: &Cluster, order: &OrderId, mark: &Mark) -> Result<Fence, FenceError> {
        self.set(cluster, order, mark, None).await
    }

    /// Notes at an order's fence that a job is refused, unless a newer job has begun: whoever is delivered the job again, before
    /// its end is known, finds it there.
    pub async fn refuse(
        &self,
        cluster: &Cluster,
        order: &OrderId,
        mark: &Mark,
        failure: &Failure,
    ) -> Result<Fence, FenceError> {
        self.set(cluster, order, mark, Some(failure)).await
    }

    async fn set(
        &self,
        cluster: &Cluster,
        order: &OrderId,
        mark: &Mark,
        refused: Option<&Failure>,
    ) -> Result<Fence, FenceError> {
        for _ in 0..4 {
            let lease = cluster.read(Kind::Lease, &self.namespace, &name(order)).await?;
            let before = match &lease {
                Some(lease) => Some(Fence::read(lease).ok_or_else(|| FenceError::Unreadable(order.clone()))?),
                None => None,
            };
            let stays = |before: &Fence| {
                let is_noted = refused.is_none() || before.refused.is_some();
                before.sequence > mark.sequence || before.sequence == mark.sequence && is_noted
            };
            if let Some(before) = before.clone().filter(stays) {
                return Ok(before);
            }
            let after = Fence { refused: refused.cloned(), ..Fence::at(mark, before.as_ref()) };
            let body = self.body(order, mark, &after, lease.as_ref().map(Object::resource_version));
            let moved = match lease {
                Some(_) => cluster.replace(Kind::Lease, &self.namespace, &name(order), &body).await,
                None => cluster.create(Kind::Lease, &self.namespace, &body).await,
            };
            match moved {
                Ok(_) => {
                    if refused.is_some() {
                        FailPoint::RefusalNoted.reached();
                    } else {
                        FailPoint::FenceMoved.reached();
                    }
                    return Ok(after);
                }
                Err(error) => match error.disposition {
                    Disposition::Changed | Disposition::Exists | Disposition::Missing => {}
                    Disposition::Retry | Disposition::Refused(_) => return Err(error.into()),
                },
            }
        }
        Err(FenceError::Contended(order.clone()))
    }

    /// Where an order's fence stands; none = no job of the order was ever begun here.
    pub async fn read(&self, cluster: &Cluster, order: &OrderId) -> Result<Option<Fence>, FenceError> {
        match cluster.read(Kind::Lease, &self.namespace, &name(order)).await? {
            Some(lease) => Ok(Some(Fence::read(&lease).ok_or_else(|| FenceError::Unreadable(order.clone()))?)),
            None => Ok(None),
        }
    }

    fn body(&self, order: &OrderId, mark: &Mark, fence: &Fence, version: Option<&str>) -> serde_json::Value {
        let annotations = [
            (ANNOTATION_SEQUENCE, Some(fence.sequence.to_string())),
            (ANNOTATION_REGION, Some(self.region.to_string())),
            (ANNOTATION_VERB, Some(mark.verb.as_str().to_owned())),
            (ANNOTATION_JOB, Some(mark.job.to_string())),
            (ANNOTATION_REVISION, fence.revision.map(|revision| revision.to_string())),
            (ANNOTATION_DELETED, fence.deleted.map(|deleted| deleted.to_string())),
            (ANNOTATION_CONTENTS, Some(fence.contents.clone()).filter(|contents| !contents.is_empty())),
            (ANNOTATION_REFUSED, fence.refused.as_ref().and_then(|refused| serde_json::to_string(refused).ok())),
        ];
        let annotations = annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        let metadata = ObjectMeta {
            name: Some(name(order)),
            labels: Some(BTreeMap::from([
                (LABEL_ORDER.to_owned(), order.to_string()),
                (LABEL_MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
            ])),
            annotations: Some(annotations),
            resource_version: version.map(str::to_owned),
            ..ObjectMeta::default()
        };
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": { "holderIdentity": self.worker.as_str() },
        })
    }
}

fn name(order: &OrderId) -> String {
    format!("order-{order}")
}

#[cfg(test)]
mod tests {
    use common::failure::Reason;

    use super::*;

    fn mark(sequence: u64, verb: Verb) -> Mark {
        let contents = format!("Secret/env-r{sequence}");
        Mark { sequence: sequence.try_into().unwrap(), verb, revision: None, job: JobId::new(), contents }
    }

    #[test]
    fn a_fence_remembers_the_last_delete() {
        let first = Fence::at(&mark(1, Verb::Deploy), None);
        assert!(first.fresh && first.deleted.is_none());
        let deleted = Fence::at(&mark(2, Verb::Delete), Some(&first));
        assert_eq!(deleted.deleted, Some(deleted.sequence));
        let again = Fence::at(&mark(3, Verb::Deploy), Some(&deleted));
        assert_eq!((again.deleted, again.fresh), (Some(deleted.sequence), false));
        assert_eq!(again.contents, "Secret/env-r3 Secret/env-r2", "what a delete removes is nobody's any more");
    }

    #[test]
    fn a_printed_fence_reads_back() {
        let fences = Fences {
            namespace: "vkube-system".to_owned(),
            worker: Instance::unique("worker"),
            region: "ausrine".parse().unwrap(),
        };
        let order: OrderId = "a".parse().unwrap();
        let mark = Mark { revision: Some(7.try_into().unwrap()), ..mark(9, Verb::Delete) };
        let refused = Some(Failure::new(Reason::QuotaExceeded, "too large"));
        let fence = Fence { fresh: false, refused, ..Fence::at(&mark, None) };
        let body = fences.body(&order, &mark, &fence, Some("12"));
        assert_eq!(Fence::read(&Object(body)), Some(fence));
    }
}
