//! Orders that somebody changed by hand: objects that are gone, and fields that others have set or removed. They are told of
//! with the worker's presence, also while a job is at work; whether they are repaired is the api's to say.
//!
//! Costs no request but for Secrets, which workers may not list: each is looked at in turn (`secrets.rs`).

mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::name::{OrderId, Sequence};
use common::presence::{Drift, MAX_DRIFTED, MAX_DRIFTED_OBJECTS};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::managers::Managers;
use crate::cluster::{DeploymentSeen, Mirrors};
use crate::context::Context;
use crate::kubernetes::{Kind, ObjectName, namespace_of};
use secrets::Secrets;

/// How often to look. What is seen twice is told: what a job is about to write is there a moment later.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks for them.
#[derive(Debug)]
pub struct Looker {
    /// What is seen of the cluster.
    pub context: Arc<Context>,
    /// Who tells of them.
    pub found: watch::Sender<Vec<Drift>>,
}

impl Looker {
    /// Looks until told to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        let (mut memory, mut secrets) = (Memory::default(), Secrets::default());
        let mut every = interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            // What cannot be seen as it is now cannot be told from what is gone.
            let is_live = || self.context.mirrors.are_live();
            if is_live() {
                let orders = orders(&self.context);
                let looks = timeout(LOOK_EVERY, secrets.look(&self.context.cluster, &orders, LOOK_EVERY));
                tokio::select! {
                    () = stop.cancelled() => return,
                    // The others are looked at in the next turn.
                    _ = looks => {}
                }
            }
            let found = if is_live() {
                memory.look(&self.context.mirrors, &secrets, &orders(&self.context))
            } else {
                Vec::new()
            };
            self.found.send_if_modified(|before| {
                *before != found && {
                    *before = found;
                    true
                }
            });
        }
    }
}

/// An order of this region that is to have something there.
#[derive(Debug)]
struct OrderThere {
    order: OrderId,
    namespace: String,
    /// The job that must have written all of it; none = that job was refused.
    sequence: Option<Sequence>,
    deployment: Option<Arc<DeploymentSeen>>,
}

fn orders(context: &Context) -> Vec<OrderThere> {
    let fences = context.mirrors.fences.all();
    let there = fences.iter().filter(|fence| fence.region.as_ref() == Some(&context.region)).filter_map(|fence| {
        let (order, sequence) = (fence.order.clone()?, fence.sequence?);
        fence.revision?;
        let namespace = namespace_of(&order);
        let deployment = context.mirrors.deployments.get(&namespace, order.as_str());
        Some(OrderThere { order, namespace, sequence: (!fence.is_refused).then_some(sequence), deployment })
    });
    there.collect()
}

/// What was found of one object.
#[derive(Debug)]
enum Look {
    /// Nothing as yet.
    Unknown,
    /// It is not there.
    Missing,
    /// Who set its fields.
    There(Managers),
}

impl From<Option<Managers>> for Look {
    fn from(found: Option<Managers>) -> Self {
        found.map_or(Self::Missing, Self::There)
    }
}

/// What was seen before.
#[derive(Debug, Default)]
struct Memory {
    /// What was wrong with orders at the last look.
    wrong: BTreeMap<OrderId, Drift>,
    /// How many of those that are too many were told.
    told: usize,
}

impl Memory {
    /// What is wrong now and was so at the last look.
    fn look(&mut self, mirrors: &Mirrors, secrets: &Secrets, orders: &[OrderThere]) -> Vec<Drift> {
        let mut wrong = BTreeMap::new();
        for there in orders {
            let mut drift = compare(mirrors, secrets, there);
            drift.objects.truncate(MAX_DRIFTED_OBJECTS);
            drift.volumes.truncate(MAX_DRIFTED_OBJECTS);
            if !(drift.objects.is_empty() && drift.volumes.is_empty()) {
                wrong.insert(drift.order.clone(), drift);
            }
        }
        let mut lasting: Vec<Drift> =
            wrong.values().filter(|drift| self.wrong.get(&drift.order) == Some(*drift)).cloned().collect();
        if lasting.len() > MAX_DRIFTED {
            self.told = (self.told + MAX_DRIFTED) % lasting.len();
            lasting.rotate_left(self.told);
            lasting.truncate(MAX_DRIFTED);
        }
        self.wrong = wrong;
        lasting
    }
}

/// What is wrong with an order's objects, in words.
fn compare(mirrors: &Mirrors, secrets: &Secrets, there: &OrderThere) -> Drift {
    let mut drift = Drift { order: there.order.clone(), objects: Vec::new(), volumes: Vec::new() };
    let name = (Kind::Deployment, there.order.to_string());
    let Some(deployment) = &there.deployment else {
        drift.objects.push(format!("{} is missing", print(&name)));
        return drift;
    };
    if there.sequence.is_some_and(|newest| deployment.sequence.is_some_and(|sequence| sequence < newest)) {
        drift.objects.push(format!("{} is of an older job", print(&name)));
        return drift;
    }
    drift.objects.extend(changed(&name, &deployment.managers));
    for object in &deployment.others {
        let look = match object.0 {
            Kind::Secret => secrets.seen(&there.namespace, &object.1, deployment.job),
            kind => managers_of(mirrors, kind, &there.namespace, &object.1).into(),
        };
        let is_volume = object.0 == Kind::PersistentVolumeClaim;
        let word = match look {
            Look::Unknown => None,
            // A claim's size may be changed, where its class allows it.
            Look::There(_) if is_volume => None,
            Look::There(managers) => changed(object, &managers),
            Look::Missing => Some(format!("{} is missing", print(object))),
        };
        if is_volume { &mut drift.volumes } else { &mut drift.objects }.extend(word);
    }
    drift
}

/// What somebody did to an object that is there.
fn changed(object: &ObjectName, managers: &Managers) -> Option<String> {
    match &managers.foreign {
        Some(who) => Some(format!("{} was changed by {who}", print(object))),
        None => managers.lacks_field().then(|| format!("{} lacks a field", print(object))),
    }
}

fn managers_of(mirrors: &Mirrors, kind: Kind, namespace: &str, name: &str) -> Option<Managers> {
    mirrors.objects.get(&kind)?.get(namespace, name).map(|managers| (*managers).clone())
}

fn print((kind, name): &ObjectName) -> String {
    format!("{}/{name}", kind.as_str())
}

#[cfg(test)]
mod tests;
