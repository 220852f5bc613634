//! The kubelets of the region's nodes, asked for the use of their pods. One answer serves all pods of a node for a few
//! seconds: however many customers ask, a kubelet does not notice.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use tokio::time::{Instant, sleep_until, timeout};

use super::PodUsage;
use super::summary::Summary;
use crate::settings::KubeletSettings;

/// How long an answer, or that there was none, holds for all that ask.
const FRESH: Duration = Duration::from_secs(5);
/// How far two answers are apart from which rates are told: kubelets print times in whole seconds.
const APART: Duration = Duration::from_millis(1100);
/// The longest that a kubelet may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest answer: some thousand pods.
const MAX_SUMMARY_BYTES: usize = 16 << 20;
/// A node that nobody asked about for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(5);
/// The most nodes that are remembered.
const MAX_NODES: usize = 1000;

/// Why a kubelet did not tell.
#[derive(Debug, thiserror::Error)]
enum KubeletError {
    #[error("token file {0} cannot be read")]
    Token(PathBuf, #[source] std::io::Error),
    #[error("token file {0} holds no token")]
    NoToken(PathBuf),
    #[error("request cannot be made")]
    Request(#[source] http::Error),
    #[error("kubelet does not answer")]
    Kube(#[source] kube::Error),
    #[error("kubelet answers {0}")]
    Status(StatusCode),
    #[error("kubelet's answer breaks off or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("kubelet's answer is no summary")]
    Answer(#[source] serde_json::Error),
    #[error("no answer within {ASK_TIMEOUT:?}")]
    Timeout,
}

/// All kubelets.
pub(super) struct Kubelets {
    token_file: PathBuf,
    port: u16,
    /// Without an address: the rest is the same for all.
    config: kube::Config,
    nodes: Mutex<HashMap<IpAddr, (Arc<Node>, Instant)>>,
}

/// One of them.
struct Node {
    address: IpAddr,
    client: kube::Client,
    /// Whether it did not tell when it was last asked.
    silent: AtomicBool,
    last: tokio::sync::Mutex<Last>,
}

/// What it said when it was last asked.
#[derive(Default)]
struct Last {
    asked: Option<Instant>,
    summary: Summary,
}

impl Kubelets {
    /// Those of the cluster that this is the configuration of; none without a token for them. Nothing of how the worker
    /// logs in to the apiserver is shown to a kubelet.
    pub(super) fn of(settings: &KubeletSettings, cluster: &kube::Config) -> Option<Self> {
        let mut config = kube::Config::new(http::Uri::default());
        config.default_retry = false;
        config.connect_timeout = Some(ASK_TIMEOUT);
        config.root_cert_file.clone_from(&settings.ca_file);
        if settings.ca_file.is_none() {
            config.root_cert_file.clone_from(&cluster.root_cert_file);
            config.root_cert.clone_from(&cluster.root_cert);
        }
        let token_file = settings.token_file.clone()?;
        Some(Self { token_file, port: settings.port, config, nodes: Mutex::default() })
    }

    /// What a pod on the node of this address uses; none = its kubelet does not tell. The address is the cluster's word,
    /// and the kubelet's certificate must hold it.
    pub(super) async fn usage(&self, address: IpAddr, namespace: &str, pod: &str) -> Option<PodUsage> {
        match self.node(address) {
            Ok(node) => node.usage(&self.token_file, namespace, pod).await,
            Err(error) => {
                tracing::warn!(%address, error = &error as &dyn std::error::Error, "no kubelet can be asked");
                None
            }
        }
    }

    fn node(&self, address: IpAddr) -> Result<Arc<Node>, KubeletError> {
        let now = Instant::now();
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|_, (_, used)| now - *used < FORGET_AFTER);
        if let Some((node, used)) = nodes.get_mut(&address) {
            *used = now;
            return Ok(Arc::clone(node));
        }
        let authority = SocketAddr::new(address, self.port).to_string();
        let url = http::Uri::builder().scheme("https").authority(authority).path_and_query("/").build();
        let mut config = self.config.clone();
        config.cluster_url = url.map_err(KubeletError::Request)?;
        let node = Arc::new(Node::new(address, kube::Client::try_from(config).map_err(KubeletError::Kube)?));
        let longest_unused = nodes.iter().min_by_key(|(_, (_, used))| *used).map(|(address, _)| *address);
        if let Some(address) = longest_unused.filter(|_| nodes.len() >= MAX_NODES) {
            nodes.remove(&address);
        }
        nodes.insert(address, (Arc::clone(&node), now));
        Ok(node)
    }
}

impl Node {
    fn new(address: IpAddr, client: kube::Client) -> Self {
        Self { address, client, silent: AtomicBool::new(false), last: tokio::sync::Mutex::default() }
    }

    async fn usage(&self, token_file: &Path, namespace: &str, pod: &str) -> Option<PodUsage> {
        let arrived = Instant::now();
        // Whoever comes while it is asked waits, and finds the answer there; but for one that is silent one waiting is
        // enough, as who waits holds one of the worker's few places for reads.
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(_) if self.silent.load(Ordering::Relaxed) => return None,
            Err(_) => self.last.lock().await,
        };
        if last.asked.is_none_or(|asked| asked + FRESH <= arrived) {
            self.ask(token_file, &mut last).await;
        }
        if let Some(asked) = last.asked
            && !self.silent.load(Ordering::Relaxed)
            && last.summary.wants_another(namespace, pod)
            && asked < arrived + APART
        {
            sleep_until(asked + APART).await;
            self.ask(token_file, &mut last).await;
        }
        (!self.silent.load(Ordering::Relaxed)).then(|| last.summary.usage(namespace, pod))
    }

    async fn ask(&self, token_file: &Path, last: &mut Last) {
        let answer = timeout(ASK_TIMEOUT, self.answer(token_file)).await.unwrap_or(Err(KubeletError::Timeout));
        let now = Instant::now();
        let next = answer.and_then(|answer| last.summary.next(&answer, now).map_err(KubeletError::Answer));
        last.asked = Some(now);
        self.silent.store(next.is_err(), Ordering::Relaxed);
        match next {
            Ok(summary) => last.summary = summary,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(address = %self.address, error, "use of pods is not told");
            }
        }
    }

    async fn answer(&self, token_file: &Path) -> Result<bytes::Bytes, KubeletError> {
        let token = tokio::fs::read_to_string(token_file).await;
        let token = token.map_err(|error| KubeletError::Token(token_file.to_owned(), error))?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut bearer = bearer.map_err(|_| KubeletError::NoToken(token_file.to_owned()))?;
        bearer.set_sensitive(true);
        let request = Request::get("/stats/summary").header(header::AUTHORIZATION, bearer).body(Body::empty());
        let request = request.map_err(KubeletError::Request)?;
        let answer = self.client.send(request).await.map_err(KubeletError::Kube)?;
        if answer.status() != StatusCode::OK {
            return Err(KubeletError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_SUMMARY_BYTES).collect().await;
        Ok(body.map_err(KubeletError::Body)?.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use futures::future::join_all;
    use http::Response;
    use serde_json::json;

    use super::*;

    /// A kubelet that counts how often it is asked; its pod receives a million bits a second.
    struct Kubelet {
        asked: Arc<AtomicU64>,
        node: Node,
        token: PathBuf,
    }

    impl Kubelet {
        fn new(name: &str, status: u16, took: Duration) -> Self {
            let token = std::env::temp_dir().join(format!("vkube-kubelet-{name}-{}", std::process::id()));
            std::fs::write(&token, "hush\n").unwrap();
            let (began, asked) = (Instant::now(), Arc::new(AtomicU64::new(0)));
            let count = Arc::clone(&asked);
            let service = tower::service_fn(move |request: Request<Body>| {
                count.fetch_add(1, Ordering::SeqCst);
                assert_eq!(request.uri().path(), "/stats/summary");
                assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer hush");
                async move {
                    tokio::time::sleep(took).await;
                    let since = Instant::now() - began;
                    let counted = jiff::Timestamp::UNIX_EPOCH + since;
                    let network = json!({ "time": counted, "rxBytes": since.as_millis() * 125, "txBytes": 0 });
                    let pod = json!({ "podRef": { "namespace": "vkube-a", "name": "p" }, "network": network });
                    let body = Body::from(json!({ "pods": [pod] }).to_string().into_bytes());
                    Ok::<_, std::io::Error>(Response::builder().status(status).body(body).unwrap())
                }
            });
            Self { asked, node: Node::new([10, 0, 0, 2].into(), kube::Client::new(service, "default")), token }
        }

        async fn usage(&self) -> Option<PodUsage> {
            self.node.usage(&self.token, "vkube-a", "p").await
        }

        fn asked(&self) -> u64 {
            self.asked.load(Ordering::SeqCst)
        }
    }

    impl Drop for Kubelet {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.token);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_a_kubelet_is_asked_twice_and_then_every_few_seconds() {
        let kubelet = Kubelet::new("many", 200, Duration::ZERO);
        let all = join_all((0..1000).map(|_| kubelet.usage())).await;
        assert!(
            all.iter().all(|usage| usage.as_ref().is_some_and(|usage| usage.download == Some(1_000_000))),
            "{all:?}"
        );
        assert_eq!(kubelet.asked(), 2, "one for the figures, one for the rates");
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(kubelet.usage().await.unwrap().upload, Some(0));
        }
        assert!((12..=14).contains(&kubelet.asked()), "{}", kubelet.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn a_kubelet_that_does_not_tell_is_left_alone_for_a_few_seconds() {
        for (case, status, took) in [("refuses", 401, Duration::ZERO), ("hangs", 200, Duration::from_mins(1))] {
            let kubelet = Kubelet::new(case, status, took);
            assert!(join_all((0..100).map(|_| kubelet.usage())).await.iter().all(Option::is_none), "{case}");
            assert_eq!(kubelet.asked(), 1, "{case}");
            tokio::time::sleep(FRESH).await;
            let begun = Instant::now();
            let waited = join_all((0..100).map(async |_| (kubelet.usage().await, begun.elapsed()))).await;
            assert!(waited.iter().all(|(usage, _)| usage.is_none()), "{case}");
            let long = waited.iter().filter(|(_, took)| *took >= ASK_TIMEOUT).count();
            assert!(long <= 1, "{case}: {long} have waited for it");
            assert_eq!(kubelet.asked(), 2, "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_its_token_nothing_is_asked() {
        let kubelet = Kubelet::new("token", 200, Duration::ZERO);
        std::fs::remove_file(&kubelet.token).unwrap();
        assert_eq!(kubelet.usage().await, None);
        assert_eq!(kubelet.asked(), 0);
        // It is read again for each use.
        std::fs::write(&kubelet.token, "hush").unwrap();
        tokio::time::sleep(FRESH).await;
        assert!(kubelet.usage().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_are_remembered_while_they_are_asked_about() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = Some("/nowhere".into());
        let settings = KubeletSettings { token_file: file, ca_file: None, port: 10_250 };
        let mut cluster = kube::Config::new(http::Uri::from_static("https://10.0.0.1"));
        cluster.root_cert = Some(Vec::new());
        let kubelets = Kubelets::of(&settings, &cluster).unwrap();
        let remembered = || kubelets.nodes.lock().unwrap().len();
        for address in ["10.0.0.2", "10.0.0.2", "fd00::2"] {
            kubelets.node(address.parse().unwrap()).unwrap();
        }
        assert_eq!(remembered(), 2);
        tokio::time::sleep(FORGET_AFTER).await;
        kubelets.node("10.0.0.3".parse().unwrap()).unwrap();
        assert_eq!(remembered(), 1);
        let none = KubeletSettings { token_file: None, ..settings };
        assert!(Kubelets::of(&none, &cluster).is_none());
    }
}
