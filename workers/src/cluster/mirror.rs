//! A copy of all objects of one kind, kept up to date by a watch. Every five minutes it is made anew from a full list, so
//! that nothing that a watch missed stays wrong for longer.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use kube::Api;
use kube::core::{ApiResource, DynamicObject, DynamicResourceScope, PartialObjectMeta};
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use serde_json::Value;
use tokio::sync::watch as signal;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Cluster;

/// How often the whole list is asked for.
const RELIST_EVERY: Duration = Duration::from_mins(5);
/// How long one watch request lasts: shorter than what load balancers cut in silence.
const WATCH_SECONDS: u32 = 200;
/// How long to wait before a list is asked for again after a failure: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// A watch that has been failing for this long no longer says how things are.
const BROKEN_AFTER: Duration = Duration::from_secs(20);

/// What is kept of an object.
pub trait Seen: Debug + Sized + Send + Sync + 'static {
    /// Keeps what matters.
    fn from_object(object: DynamicObject) -> Self;
    /// Keeps what only an earlier sight of the object can tell.
    fn after(&mut self, _before: &Self) {}
}

/// Which objects are copied.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Their kind.
    pub resource: ApiResource,
    /// Where they are; none = anywhere.
    pub namespace: Option<String>,
    /// The label that they have; none = all.
    pub label: Option<&'static str>,
    /// Whether all but their metadata is left out.
    pub metadata_only: bool,
}

impl Scope {
    fn events(&self, cluster: &Cluster) -> BoxStream<'static, watcher::Result<Event<DynamicObject>>> {
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
        config.label_selector = self.label.map(str::to_owned);
        if self.metadata_only {
            let api: Api<PartialObjectMeta<DynamicObject>> = self.api(cluster);
            watch(api, config).map_ok(without_data).boxed()
        } else {
            let api: Api<DynamicObject> = self.api(cluster);
            watch(api, config).boxed()
        }
    }

    fn api<K: kube::Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>>(
        &self,
        cluster: &Cluster,
    ) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &self.resource),
            None => Api::all_with(cluster.client(), &self.resource),
        }
    }
}

/// An event of metadata as one of an object.
fn without_data(event: Event<PartialObjectMeta<DynamicObject>>) -> Event<DynamicObject> {
    let object = |meta: PartialObjectMeta<DynamicObject>| DynamicObject {
        types: meta.types,
        metadata: meta.metadata,
        data: Value::Null,
    };
    match event {
        Event::Init => Event::Init,
        Event::InitApply(meta) => Event::InitApply(object(meta)),
        Event::InitDone => Event::InitDone,
        Event::Apply(meta) => Event::Apply(object(meta)),
        Event::Delete(meta) => Event::Delete(object(meta)),
    }
}

/// A copy of all objects of one kind.
#[derive(Debug)]
pub struct Mirror<T> {
    state: RwLock<State<T>>,
    changes: signal::Sender<u64>,
}

type Objects<T> = HashMap<String, BTreeMap<String, Arc<T>>>;

#[derive(Debug)]
struct State<T> {
    objects: Objects<T>,
    complete: bool,
    heard: Timestamp,
    failing_since: Option<Instant>,
}

impl<T> Default for Mirror<T> {
    fn default() -> Self {
        let state =
            State { objects: HashMap::new(), complete: false, heard: Timestamp::UNIX_EPOCH, failing_since: None };
        Self { state: RwLock::new(state), changes: signal::Sender::new(0) }
    }
}

impl<T> Mirror<T> {
    /// Whether it shows how things are: it was complete once, and the watch does not keep failing.
    pub fn is_live(&self) -> bool {
        self.look(|state| state.complete && state.failing_since.is_none_or(|since| since.elapsed() < BROKEN_AFTER))
    }

    /// Whether it was complete once.
    pub fn is_complete(&self) -> bool {
        self.look(|state| state.complete)
    }

    /// When the cluster last said something.
    pub fn heard(&self) -> Timestamp {
        self.look(|state| state.heard)
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.look(|state| state.objects.get(namespace)?.get(name).cloned())
    }

    /// The objects of one namespace, by name.
    pub fn of(&self, namespace: &str) -> Vec<Arc<T>> {
        self.look(|state| state.objects.get(namespace).into_iter().flat_map(BTreeMap::values).cloned().collect())
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.look(|state| state.objects.values().flat_map(BTreeMap::values).cloned().collect())
    }

    /// Wakes whenever something has changed.
    pub fn changes(&self) -> signal::Receiver<u64> {
        self.changes.subscribe()
    }

    fn look<R>(&self, look: impl FnOnce(&State<T>) -> R) -> R {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut State<T>)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl<T: Seen> Mirror<T> {
    /// Keeps the copy up to date until told to stop.
    pub async fn follow(&self, cluster: &Cluster, scope: &Scope, stop: &CancellationToken) {
        let mut pause = BACKOFF.0;
        loop {
            let mut events = scope.events(cluster);
            // Not all at once.
            let renew = Instant::now() + RELIST_EVERY.mul_f64(rand::random_range(0.8..1.0));
            let mut listed = Objects::new();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep_until(renew) => break,
                    event = events.next() => match event {
                        Some(Ok(event)) => {
                            self.take(event, &mut listed);
                            pause = BACKOFF.0;
                        }
                        // A watch that goes on says nothing until something changes: only a list shows that all is well.
                        Some(Err(error)) => {
                            self.fail(scope, &error);
                            tokio::select! {
                                () = stop.cancelled() => return,
                                () = sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                            }
                            pause = (pause * 2).min(BACKOFF.1);
                            break;
                        }
                        None => break,
                    },
                }
            }
        }
    }

    fn take(&self, event: Event<DynamicObject>, listed: &mut Objects<T>) {
        let place = |object: &DynamicObject| {
            let meta = &object.metadata;
            (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
        };
        let seen = |object: DynamicObject, objects: &Objects<T>| {
            let (namespace, name) = place(&object);
            let mut seen = T::from_object(object);
            if let Some(before) = objects.get(&namespace).and_then(|objects| objects.get(&name)) {
                seen.after(before);
            }
            (namespace, name, Arc::new(seen))
        };
        self.change(|state| {
            state.heard = Timestamp::now();
            state.failing_since = None;
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    let (namespace, name, seen) = seen(object, &state.objects);
                    listed.entry(namespace).or_default().insert(name, seen);
                }
                Event::InitDone => {
                    state.objects = std::mem::take(listed);
                    state.complete = true;
                }
                Event::Apply(object) => {
                    let (namespace, name, seen) = seen(object, &state.objects);
                    state.objects.entry(namespace).or_default().insert(name, seen);
                }
                Event::Delete(object) => {
                    let (namespace, name) = place(&object);
                    if let Some(objects) = state.objects.get_mut(&namespace) {
                        objects.remove(&name);
                        if objects.is_empty() {
                            state.objects.remove(&namespace);
                        }
                    }
                }
            }
        });
    }

    /// Shows these objects and no others, as after a list.
    #[cfg(test)]
    pub(crate) fn show(&self, objects: Vec<DynamicObject>) {
        let mut listed = Objects::new();
        let listing = objects.into_iter().map(Event::InitApply);
        for event in [Event::Init].into_iter().chain(listing).chain([Event::InitDone]) {
            self.take(event, &mut listed);
        }
    }

    fn fail(&self, scope: &Scope, error: &watcher::Error) {
        tracing::warn!(kind = scope.resource.kind, error = error as &dyn std::error::Error, "watch failed");
        self.change(|state| {
            state.failing_since.get_or_insert_with(Instant::now);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::PodSeen;
    use super::*;

    fn pod(name: &str) -> DynamicObject {
        let pod = serde_json::json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "vkube-a" }, "spec": {}, "status": {} });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_relist_forgets_what_is_gone_and_nothing_before_it_is_complete() {
        let (mirror, mut listed) = (Mirror::<PodSeen>::default(), Objects::new());
        let names = |mirror: &Mirror<PodSeen>| mirror.of("vkube-a").iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        mirror.take(Event::Init, &mut listed);
        mirror.take(Event::InitApply(pod("a")), &mut listed);
        assert!(!mirror.is_live() && names(&mirror).is_empty());
        mirror.take(Event::InitDone, &mut listed);
        mirror.take(Event::Apply(pod("b")), &mut listed);
        assert_eq!(names(&mirror), ["a", "b"]);
        mirror.take(Event::Init, &mut listed);
        mirror.take(Event::InitApply(pod("b")), &mut listed);
        assert_eq!(names(&mirror), ["a", "b"]);
        mirror.take(Event::InitDone, &mut listed);
        assert_eq!(names(&mirror), ["b"]);
        mirror.take(Event::Delete(pod("b")), &mut listed);
        assert!(mirror.all().is_empty() && mirror.is_live());
    }
}
