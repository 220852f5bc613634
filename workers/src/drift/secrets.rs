//! The orders' Secrets, looked at one by one and in turn.

use std::collections::HashMap;
use std::time::Duration;

use common::name::JobId;

use super::{Look, OrderThere};
use crate::cluster::Cluster;
use crate::cluster::managers::Managers;
use crate::kubernetes::Kind;

/// How long a turn takes.
const TURN: Duration = Duration::from_secs(25);
/// How many are looked at a second at most: where there are more, a turn takes longer.
const MOST_A_SECOND: u64 = 10;

/// A namespace and a name.
type Place = (String, String);

/// What was found of one: while which job was the Deployment's last, and whose its fields were; none = it was not there.
type Found = (Option<JobId>, Option<Managers>);

/// What was found of them.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    found: HashMap<Place, Found>,
    next: usize,
}

impl Secrets {
    /// Looks at those whose turn it is, of looks that are so far apart.
    pub(super) async fn look(&mut self, cluster: &Cluster, orders: &[OrderThere], every: Duration) {
        let all = orders.iter().filter_map(|there| Some((there, there.deployment.as_ref()?)));
        let mut all: Vec<(Place, Option<JobId>)> = all
            .flat_map(|(there, deployment)| {
                let secrets = deployment.others.iter().filter(|(kind, _)| *kind == Kind::Secret);
                secrets.map(|(_, name)| ((there.namespace.clone(), name.clone()), deployment.job))
            })
            .collect();
        all.sort_unstable();
        let before = std::mem::take(&mut self.found);
        self.found = all.iter().filter_map(|(place, _)| Some((place.clone(), before.get(place)?.clone()))).collect();
        let looks = usize::try_from(TURN.as_secs() / every.as_secs().max(1)).unwrap_or(1).max(1);
        let most = usize::try_from(MOST_A_SECOND * every.as_secs()).unwrap_or(usize::MAX);
        for _ in 0..all.len().div_ceil(looks).min(most) {
            self.next = if self.next < all.len() { self.next } else { 0 };
            let Some((place, job)) = all.get(self.next) else { return };
            self.next += 1;
            match cluster.metadata(Kind::Secret, &place.0, &place.1).await {
                Ok(found) => {
                    let mut managers = found.map(|object| object.managers());
                    if let (Some(managers), Some((_, Some(before)))) = (&mut managers, self.found.get(place)) {
                        managers.remember(before);
                    }
                    self.found.insert(place.clone(), (*job, managers));
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a Secret is looked at in the next turn");
                    self.found.remove(place);
                }
            }
        }
    }

    /// What was found of a Secret since this job was the Deployment's last.
    pub(super) fn seen(&self, namespace: &str, name: &str, job: Option<JobId>) -> Look {
        match self.found.get(&(namespace.to_owned(), name.to_owned())) {
            Some((at, found)) if *at == job => found.clone().into(),
            _ => Look::Unknown,
        }
    }
}
