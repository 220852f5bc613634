//! Calls of the apiserver: a deadline around each, a bounded number at once, a few retries of what is worth one.

use std::time::Duration;

use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Object;
use super::classify::{Disposition, disposition};
use super::kubelet::Kubelets;
use crate::kubernetes::{FIELD_MANAGER, Kind, Manifest};
use crate::settings::ClusterSettings;

/// The longest that one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a list may take.
pub(super) const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Calls in flight: about four for each core of a small apiserver (`facts.md` §5).
const IN_FLIGHT: usize = 8;
/// How long to wait before the second and the third try of a call.
const BACKOFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// No object has this version, since the first write to an empty cluster has a later one. An apply that names it creates
/// an object that is not there, and meets a conflict where there is one.
const VERSION_OF_NOTHING: &str = "1";

/// Why there is no way to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig does not say where it is.
    #[error("kubeconfig cannot be used")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a service account was found.
    #[error("no kubeconfig and no service account found")]
    Infer(#[source] kube::config::InferConfigError),
    /// Its address or credentials cannot be used.
    #[error("cluster client cannot be made")]
    Client(#[source] kube::Error),
}

/// What went wrong in a call.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("no such request")]
    Request(#[source] kube::core::request::Error),
    #[error("answer is no JSON")]
    Answer(#[source] serde_json::Error),
    #[error(transparent)]
    Kube(kube::Error),
}

/// A call that did not do what it was made for.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed")]
pub struct ClusterError {
    /// The call: `apply Deployment a`.
    what: String,
    /// What follows from it.
    pub disposition: Disposition,
    #[source]
    source: CallError,
}

impl ClusterError {
    fn new(what: &str, source: CallError) -> Self {
        let disposition = match &source {
            CallError::Kube(kube::Error::Api(status)) => disposition(status.code, &status.reason, &status.message),
            CallError::Kube(_) | CallError::Timeout(_) | CallError::Answer(_) => Disposition::Retry,
            CallError::Request(_) => Disposition::Refused(common::failure::Reason::Refused),
        };
        Self { what: what.to_owned(), disposition, source }
    }

    pub(super) fn kube(what: &str, source: kube::Error) -> Self {
        Self::new(what, CallError::Kube(source))
    }

    pub(crate) fn timeout(what: &str, after: Duration) -> Self {
        Self::new(what, CallError::Timeout(after))
    }

    /// A stream that broke off.
    pub fn broken(what: &str, source: std::io::Error) -> Self {
        Self::kube(what, kube::Error::ReadEvents(source))
    }

    pub(super) fn request(what: &str, source: kube::core::request::Error) -> Self {
        Self::new(what, CallError::Request(source))
    }

    /// The status code and message of the apiserver, where it answered.
    pub fn answer(&self) -> Option<(u16, &str)> {
        match &self.source {
            CallError::Kube(kube::Error::Api(status)) => Some((status.code, &status.message)),
            _ => None,
        }
    }

    /// Whether there is no such log.
    pub fn is_of_no_log(&self) -> bool {
        matches!(self.answer(), Some((400 | 404, _)))
    }

    /// Whether nothing came in time.
    pub fn is_late(&self) -> bool {
        matches!(self.source, CallError::Timeout(_))
    }

    /// Whether something behind the apiserver does not answer: a node.
    pub fn is_of_the_node(&self) -> bool {
        self.is_late() || matches!(self.answer(), Some((500 | 502 | 504, _)))
    }
}

/// What an object must be for it to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Not there.
    Absent,
    /// As it was read.
    Version(String),
    /// Anything: the name says whose it is.
    Anything,
}

/// The way to the cluster.
pub struct Cluster {
    client: kube::Client,
    slots: Semaphore,
    /// None = figures of use come from the metrics API alone.
    pub(super) kubelets: Option<Kubelets>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

impl Cluster {
    /// A way to the cluster of the settings. Makes no request.
    pub async fn connect(settings: &ClusterSettings) -> Result<Self, ConnectError> {
        let mut config = match &settings.kubeconfig {
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file).map_err(ConnectError::Kubeconfig)?;
                let options = KubeConfigOptions::default();
                kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(ConnectError::Kubeconfig)?
            }
            None => kube::Config::infer().await.map_err(ConnectError::Infer)?,
        };
        // Its own retry repeats a call for minutes in silence.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        let agent = http::HeaderValue::from_static(concat!("vkube-worker/", env!("CARGO_PKG_VERSION")));
        config.headers.push((http::header::USER_AGENT, agent));
        let kubelets = Kubelets::of(&settings.kubelet, &config);
        let client = kube::Client::try_from(config).map_err(ConnectError::Client)?;
        Ok(Self { kubelets, ..Self::new(client) })
    }

    /// A way through this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client, slots: Semaphore::new(IN_FLIGHT), kubelets: None }
    }

    pub(super) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// One request and its answer, tried up to three times.
    pub(super) async fn call(
        &self,
        what: &str,
        limit: Duration,
        request: http::Request<Vec<u8>>,
    ) -> Result<String, ClusterError> {
        let mut backoff = BACKOFF.into_iter();
        loop {
            let error = match self.call_once(what, limit, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match (error.disposition, backoff.next()) {
                (Disposition::Retry, Some(wait)) => {
                    let wait = wait.mul_f64(rand::random_range(0.5..1.5));
                    tracing::debug!(what, error = &error as &dyn std::error::Error, "call is tried again");
                    tokio::time::sleep(wait).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// One request and its answer.
    pub(super) async fn call_once(
        &self,
        what: &str,
        limit: Duration,
        request: http::Request<Vec<u8>>,
    ) -> Result<String, ClusterError> {
        let answered = timeout(limit, async {
            // Never closed, so there is always a permit to come.
            let _slot = self.slots.acquire().await;
            self.client.request_text(request).await
        });
        match answered.await {
            Ok(answer) => answer.map_err(|error| ClusterError::kube(what, error)),
            Err(_) => Err(ClusterError::timeout(what, limit)),
        }
    }

    pub(super) async fn object(
        &self,
        what: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Object, ClusterError> {
        let request = request.map_err(|error| ClusterError::request(what, error))?;
        let answer = self.call(what, CALL_TIMEOUT, request).await?;
        let value = serde_json::from_str(&answer).map_err(|error| ClusterError::new(what, CallError::Answer(error)))?;
        Ok(Object(value))
    }

    /// Reads an object; none = it is not there.
    pub async fn read(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Object>, ClusterError> {
        let what = format!("read {} {name}", kind.as_str());
        let request = Request::new(kind.path(namespace)).get(name, &GetParams::default());
        match self.object(&what, request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.disposition == Disposition::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An object's metadata, by a patch that changes nothing: workers may patch Secrets and not read them. None = it is not
    /// there.
    pub async fn metadata(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Object>, ClusterError> {
        let what = format!("look at {} {name}", kind.as_str());
        let nothing = Patch::Merge(Value::Object(serde_json::Map::new()));
        let request = Request::new(kind.path(namespace)).patch_metadata(name, &PatchParams::default(), &nothing);
        match self.object(&what, request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.disposition == Disposition::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an object that is not there.
    pub async fn create(&self, kind: Kind, namespace: &str, body: &Value) -> Result<Object, ClusterError> {
        let what = format!("create {}", kind.as_str());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(kind.path(namespace)).create(&params, body.to_string().into_bytes());
        self.object(&what, request).await
    }

    /// Replaces an object, whose body names the version that was read.
    pub async fn replace(&self, kind: Kind, namespace: &str, name: &str, body: &Value) -> Result<Object, ClusterError> {
        let what = format!("replace {} {name}", kind.as_str());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(kind.path(namespace)).replace(name, &params, body.to_string().into_bytes());
        self.object(&what, request).await
    }

    /// Writes an object whole by server-side apply, if it is as expected.
    pub async fn apply(&self, namespace: &str, manifest: &Manifest, expect: &Expect) -> Result<Object, ClusterError> {
        let what = format!("apply {} {}", manifest.kind.as_str(), manifest.name);
        let versioned;
        let manifest = match expect {
            Expect::Absent => {
                versioned = manifest.at_version(VERSION_OF_NOTHING);
                &versioned
            }
            Expect::Version(version) => {
                versioned = manifest.at_version(version);
                &versioned
            }
            Expect::Anything => manifest,
        };
        // By force: where somebody changed a field by hand, what the order says holds.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let request =
            Request::new(manifest.kind.path(namespace)).patch(&manifest.name, &params, &Patch::Apply(&manifest.body));
        self.object(&what, request).await
    }

    /// Removes an object, if it is still the one of this uid; one that is not there is removed already.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str, uid: Option<&str>) -> Result<(), ClusterError> {
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        self.remove(kind, namespace, name, preconditions).await
    }

    /// Removes an object, if it still has this version. One that was written since is left as it is: it is another's by now.
    pub async fn delete_read(&self, kind: Kind, namespace: &str, read: &Object) -> Result<(), ClusterError> {
        let version = read.resource_version().to_owned();
        let preconditions = Preconditions { uid: None, resource_version: Some(version) };
        self.remove(kind, namespace, read.name(), Some(preconditions)).await
    }

    async fn remove(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        preconditions: Option<Preconditions>,
    ) -> Result<(), ClusterError> {
        let what = format!("delete {} {name}", kind.as_str());
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions,
            ..DeleteParams::default()
        };
        let request = Request::new(kind.path(namespace)).delete(name, &params);
        let request = request.map_err(|error| ClusterError::request(&what, error))?;
        match self.call(&what, CALL_TIMEOUT, request).await {
            Ok(_) => Ok(()),
            Err(error) if error.disposition == Disposition::Missing => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The cluster's version: `v1.36.3`.
    pub async fn version(&self) -> Result<String, ClusterError> {
        let what = "read version";
        let request = http::Request::get("/version").body(Vec::new());
        let request = request.map_err(|error| ClusterError::kube(what, kube::Error::HttpError(error)))?;
        let answer = self.call(what, CALL_TIMEOUT, request).await?;
        let read: Value =
            serde_json::from_str(&answer).map_err(|error| ClusterError::new(what, CallError::Answer(error)))?;
        Ok(read.get("gitVersion").and_then(Value::as_str).unwrap_or("unknown").to_owned())
    }
}
