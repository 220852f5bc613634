//! Does this image exist, for `linux/amd64`? Asked of the image's own registry, whose address a customer chose: so
//! what is connected to, sent, followed and read is bounded and checked here.

mod address;
pub mod challenge;
mod conversation;
mod credentials;
pub mod manifest;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use common::image::Image;
use reqwest::Url;
use tokio::time;

pub use self::credentials::Credentials;
pub use self::transport::RegistryHost;

use self::conversation::Conversation;
use self::manifest::Manifest;
use self::transport::Transport;

/// Where Docker Hub, which images call `docker.io`, speaks the registry protocol.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// How many manifests one check reads: the one asked for, and a few that an index lists without a platform.
const MAX_MANIFESTS: usize = 3;

/// What may be asked of registries.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// The registry that stands in for `docker.io`.
    pub mirror: Option<RegistryHost>,
    /// Each registry that is spoken to in plain HTTP and may be on a non-global address.
    pub insecure_hosts: Vec<RegistryHost>,
    /// The time one check may take, from its first lookup to its last byte.
    pub timeout: Duration,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { mirror: None, insecure_hosts: Vec::new(), timeout: Duration::from_secs(5) }
    }
}

/// Why no [`Registry`] can be made.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("no certificate authority of this machine can be read (Debian: package ca-certificates)")]
    NoCertificates,
    #[error("the TLS client cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

/// Why an image is not known to exist for `linux/amd64`.
#[derive(Debug, thiserror::Error)]
pub enum ImageCheckError {
    /// The registry does not have it, or shows it to nobody who has these credentials, or none.
    #[error("the image does not exist")]
    NotFound,
    /// It exists for other platforms; to the customer the same as [`ImageCheckError::NotFound`].
    #[error("the image does not exist for linux/amd64")]
    NoPlatform,
    /// The credentials were given and not accepted.
    #[error("the registry refuses the credentials")]
    Refused,
    /// The registry limits us.
    #[error("the registry limits the rate of requests")]
    RateLimited { retry_after: Option<Duration> },
    /// No answer that can be understood was had.
    #[error("the registry is unreachable")]
    Unreachable(#[source] Fault),
    /// The registry, or a host that it points to, may not be connected to; to the customer the same as
    /// [`ImageCheckError::Unreachable`].
    #[error("the registry's address is not allowed")]
    ForbiddenHost,
}

impl From<Fault> for ImageCheckError {
    fn from(fault: Fault) -> Self {
        Self::Unreachable(fault)
    }
}

/// What a registry did wrong. For the log.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    #[error("the exchange failed")]
    Exchange(#[source] reqwest::Error),
    #[error("an answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("an answer has status {0}")]
    Status(u16),
    #[error("too many redirects")]
    Redirects,
    #[error("the {0} makes no sense")]
    Nonsense(&'static str),
    #[error("the {what} is not the JSON that it should be")]
    Json { what: &'static str, source: serde_json::Error },
}

/// A client of any registry. Cheap to clone.
///
/// **Invariant:** it holds connections and settings, never a credential or a token: those live in one check, so that
/// no customer is ever answered with what another may see.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Transport,
    mirror: Option<RegistryHost>,
    timeout: Duration,
}

impl Registry {
    /// Reads the machine's certificate authorities. Fails when there are none.
    pub fn new(settings: RegistrySettings) -> Result<Self, RegistryError> {
        let transport = Transport::new(&settings.insecure_hosts)?;
        let inner = Inner { transport, mirror: settings.mirror, timeout: settings.timeout };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the image exists for `linux/amd64` and these credentials may pull it.
    pub async fn check(&self, image: &Image, credentials: Option<&Credentials>) -> Result<(), ImageCheckError> {
        let timeout = self.inner.timeout;
        time::timeout(timeout, self.ask(image, credentials)).await.map_err(|_| Fault::Timeout(timeout))?
    }

    async fn ask(&self, image: &Image, credentials: Option<&Credentials>) -> Result<(), ImageCheckError> {
        let base = self.base(image)?;
        let mut conversation = Conversation::new(&self.inner.transport, &base, image.repository(), credentials);
        let mut pending = vec![image.tag_or_digest().to_owned()];
        for _ in 0..MAX_MANIFESTS {
            let Some(reference) = pending.pop() else { break };
            let body = conversation.fetch(&format!("manifests/{reference}"), manifest::ACCEPT).await?;
            match manifest::parse(&body)? {
                Manifest::Fits => return Ok(()),
                Manifest::Unfit => {}
                Manifest::Unlabelled { manifests } => pending.extend(manifests),
                Manifest::Single { config } => {
                    let body = conversation.fetch(&format!("blobs/{config}"), "*/*").await?;
                    if manifest::config_fits(&body)? {
                        return Ok(());
                    }
                }
            }
        }
        Err(ImageCheckError::NoPlatform)
    }

    /// The root of the registry that holds the image.
    fn base(&self, image: &Image) -> Result<Url, ImageCheckError> {
        let host = match image.registry() {
            "docker.io" | "index.docker.io" => self.inner.mirror.as_ref().map_or(DOCKER_HUB, RegistryHost::as_str),
            other => other,
        };
        Ok(self.inner.transport.root(host).ok_or(Fault::Nonsense("registry's host"))?)
    }
}
