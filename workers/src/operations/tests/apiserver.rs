//! A small apiserver in memory, for what a healthy one never does at will: to hold a request until another worker is done,
//! to lose an answer, to be away for a moment. It knows names, versions, uids, namespaces and server-side apply by one
//! manager; the rest is tested on a real one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What happens to one of a worker's requests, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It arrives only when it is let go.
    Held,
    /// It is done, but the answer is lost on its way.
    AnswerLost,
    /// The apiserver is away.
    Away,
    /// It is not accepted.
    Refused,
}

/// All objects, by their path.
#[derive(Debug, Default)]
pub(super) struct Apiserver {
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
}

/// One worker's way to it.
#[derive(Debug, Default)]
pub(super) struct Line {
    faults: BTreeMap<usize, Fault>,
    requests: AtomicUsize,
    held: Notify,
    go: Notify,
}

impl Line {
    pub(super) fn with(at: usize, fault: Fault) -> Arc<Self> {
        Self::with_all([(at, fault)])
    }

    pub(super) fn with_all<const N: usize>(faults: [(usize, Fault); N]) -> Arc<Self> {
        Arc::new(Self { faults: BTreeMap::from(faults), ..Self::default() })
    }

    /// How many requests were made over it.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Waits until the held request was made.
    pub(super) async fn held(&self) {
        self.held.notified().await;
    }

    pub(super) fn let_go(&self) {
        self.go.notify_one();
    }
}

impl Apiserver {
    /// Another one, which holds the same.
    pub(super) fn copy(&self) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(self.state.lock().unwrap().clone()) })
    }

    /// A client over this line.
    pub(super) fn client(self: &Arc<Self>, line: &Arc<Line>) -> kube::Client {
        let (server, line) = (Arc::clone(self), Arc::clone(line));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, line) = (Arc::clone(&server), Arc::clone(&line));
            async move { Ok::<_, std::convert::Infallible>(server.over(&line, request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn over(&self, line: &Line, request: Request<Body>) -> Response<Body> {
        let number = line.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = line.faults.get(&number).copied();
        if fault == Some(Fault::Held) {
            line.held.notify_one();
            line.go.notified().await;
        }
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let (status, answer) = match fault {
            Some(Fault::Away) => failure(503, "ServiceUnavailable"),
            Some(Fault::Refused) => failure(422, "Invalid"),
            Some(Fault::AnswerLost) => {
                self.answer(&parts.method, parts.uri.path(), &body);
                failure(504, "Timeout")
            }
            Some(Fault::Held) | None => self.answer(&parts.method, parts.uri.path(), &body),
        };
        Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap()
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        match *method {
            Method::GET => state.objects.get(path).map_or(failure(404, "NotFound"), |found| (200, found.clone())),
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if state.objects.contains_key(&path) { failure(409, "AlreadyExists") } else { state.put(path, body) }
            }
            // A look at what is there.
            Method::PATCH if body == json!({}) => match state.objects.get(path) {
                Some(found) => (200, json!({ "metadata": found["metadata"] })),
                None => failure(404, "NotFound"),
            },
            Method::PUT | Method::PATCH => {
                let found = state.objects.get(path).cloned();
                let (named, is) = (&body["metadata"]["resourceVersion"], found.as_ref().map(version));
                match is {
                    None if *method == Method::PUT => failure(404, "NotFound"),
                    Some(is) if !named.is_null() && *named != is => failure(409, "Conflict"),
                    _ => state.put(path.to_owned(), body),
                }
            }
            Method::DELETE => {
                let Some(found) = state.objects.get(path) else { return failure(404, "NotFound") };
                let wanted = ["uid", "resourceVersion"].map(|key| (key, &body["preconditions"][key]));
                if wanted.iter().any(|(key, wanted)| !wanted.is_null() && **wanted != found["metadata"][key]) {
                    return failure(409, "Conflict");
                }
                state.remove(path);
                (200, json!({}))
            }
            _ => failure(405, "MethodNotAllowed"),
        }
    }

    /// All objects of a namespace and itself, as `(path, object)`.
    pub(super) fn dump(&self, namespace: &str) -> BTreeMap<String, Value> {
        let state = self.state.lock().unwrap();
        let inside = |path: &&String| path.contains(&format!("/namespaces/{namespace}"));
        state.objects.iter().filter(|(path, _)| inside(path)).map(|(p, o)| (p.clone(), o.clone())).collect()
    }
}

impl State {
    fn put(&mut self, path: String, mut body: Value) -> (u16, Value) {
        let namespace = path.split("/namespaces/").nth(1).and_then(|rest| rest.split_once('/')).map(|(name, _)| name);
        let exists =
            |name: &str| name == "vkube-system" || self.objects.contains_key(&format!("/api/v1/namespaces/{name}"));
        if namespace.is_some_and(|name| !exists(name)) {
            return failure(404, "NotFound");
        }
        let found = self.objects.get(&path);
        let meta = body["metadata"].as_object_mut().unwrap();
        meta.remove("resourceVersion");
        if let Some(found) = found {
            meta.insert("uid".to_owned(), found["metadata"]["uid"].clone());
            meta.insert("resourceVersion".to_owned(), version(found));
            if body == *found {
                return (200, body);
            }
        }
        self.version += 1;
        let number = json!((self.version + 1).to_string());
        let uid = found.map_or(number.clone(), |found| found["metadata"]["uid"].clone());
        body["metadata"]["uid"] = uid;
        body["metadata"]["resourceVersion"] = number;
        self.objects.insert(path, body.clone());
        (200, body)
    }

    fn remove(&mut self, path: &str) {
        self.objects.remove(path);
        if let Some(name) = path.strip_prefix("/api/v1/namespaces/").filter(|name| !name.contains('/')) {
            self.objects.retain(|path, _| !path.contains(&format!("/namespaces/{name}/")));
        }
    }
}

fn version(object: &Value) -> Value {
    object["metadata"]["resourceVersion"].clone()
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason }))
}
