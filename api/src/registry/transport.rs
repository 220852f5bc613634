//! One GET to one host: over TLS to a global address, or as it likes to a host of the settings. Nothing is followed,
//! and no more is read than fits.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::address::{self, GlobalResolver};
use super::{Fault, ImageCheckError, RegistryError};

/// The longest body that is read, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// How long a connection is kept for the next check.
const IDLE: Duration = Duration::from_secs(15);

/// How often a kept HTTP/2 connection must show that it lives: else a dead one would fail every check of its host.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The longest that a registry can make us wait, by its own word.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Connections to registries, shared by all checks: they carry no cookies and no credentials of their own, and a
/// second check of the same registry needs no second TLS handshake.
#[derive(Debug)]
pub(super) struct Transport {
    /// For everyone: TLS and global addresses only.
    guarded: Client,
    /// For the hosts of the settings.
    open: Client,
    insecure: BTreeSet<String>,
}

/// What came back. The body is read where it has a meaning.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Transport {
    pub(super) fn new(insecure_hosts: &[RegistryHost]) -> Result<Self, RegistryError> {
        let tls = tls()?;
        let guarded = client(tls.clone()).https_only(true).dns_resolver(Arc::new(GlobalResolver::new()));
        Ok(Self {
            guarded: guarded.build().map_err(RegistryError::Http)?,
            open: client(tls).build().map_err(RegistryError::Http)?,
            insecure: insecure_hosts.iter().map(|host| host.authority.clone()).collect(),
        })
    }

    /// The root of the registry at `host` or `host:port`, with the scheme that the settings give it.
    pub(super) fn root(&self, host: &str) -> Option<Url> {
        let plain = Url::parse(&format!("http://{host}/")).ok()?;
        if self.is_insecure(&plain) { Some(plain) } else { Url::parse(&format!("https://{host}/")).ok() }
    }

    pub(super) async fn get(
        &self,
        url: &Url,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, ImageCheckError> {
        let mut request = self.client_for(url)?.get(url.clone()).header(ACCEPT, accept);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = match status {
            StatusCode::OK => read(&mut response).await?,
            // Only so that the connection can be used again.
            StatusCode::UNAUTHORIZED => read(&mut response).await.unwrap_or_default(),
            _ => Vec::new(),
        };
        Ok(Answer { status, headers: std::mem::take(response.headers_mut()), body })
    }

    fn client_for(&self, url: &Url) -> Result<&Client, ImageCheckError> {
        // A name and password in a URL would be sent as if they were the customer's.
        if !url.username().is_empty() || url.password().is_some() {
            Err(ImageCheckError::ForbiddenHost)
        } else if self.is_insecure(url) {
            Ok(&self.open)
        } else if url.scheme() == "https" && address::literal(url).is_none_or(address::is_global) {
            Ok(&self.guarded)
        } else {
            Err(ImageCheckError::ForbiddenHost)
        }
    }

    fn is_insecure(&self, url: &Url) -> bool {
        matches!(url.scheme(), "http" | "https") && authority(url).is_some_and(|host| self.insecure.contains(&host))
    }
}

impl Answer {
    /// Where a redirect leads from `url`; nothing if the answer is none.
    pub(super) fn redirect(&self, url: &Url) -> Option<Result<Url, Fault>> {
        matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308).then(|| {
            let location = self.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            location.and_then(|location| url.join(location).ok()).ok_or(Fault::Nonsense("redirect"))
        })
    }

    /// `Retry-After`, in seconds or as a date (RFC 9110 §10.2.3), a day at most.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let wait = text.parse().map(Duration::from_secs).ok().or_else(|| {
            let at = SystemTime::from(rfc2822::parse(text).ok()?.timestamp());
            Some(at.duration_since(SystemTime::now()).unwrap_or_default())
        });
        wait.map(|wait| wait.min(MAX_RETRY_AFTER))
    }
}

/// Where a registry of the settings is: `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryHost {
    text: String,
    /// The one way of spelling it.
    authority: String,
}

impl RegistryHost {
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for RegistryHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(&format!("http://{text}/")).ok();
        let whole = |url: &Url| {
            let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            bare && !text.contains(['@', '/', '\\'])
        };
        let authority = url.filter(whole).as_ref().and_then(authority).ok_or("must be a registry's host:port")?;
        Ok(Self { text: text.to_owned(), authority })
    }
}

/// The host and port that a URL leads to.
fn authority(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

async fn read(response: &mut Response) -> Result<Vec<u8>, ImageCheckError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Fault::TooLong(MAX_BODY).into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failed(error: reqwest::Error) -> ImageCheckError {
    if address::is_forbidden(&error) {
        ImageCheckError::ForbiddenHost
    } else {
        // A redirect's URL can hold a signature that is as good as a password.
        Fault::Exchange(error.without_url()).into()
    }
}

fn client(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(4)
        .http2_keep_alive_interval(HEARTBEAT)
        .http2_keep_alive_timeout(HEARTBEAT)
        .http2_keep_alive_while_idle(true)
        .user_agent(concat!("vkube/", env!("CARGO_PKG_VERSION")))
}

/// The machine's certificate authorities. Clones share them.
fn tls() -> Result<ClientConfig, RegistryError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(RegistryError::NoCertificates);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(RegistryError::Tls)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_settings_are_told_from_other_texts() {
        for (text, expected) in [
            ("127.0.0.1:5000", Some("127.0.0.1:5000")),
            ("Registry:5000", Some("registry:5000")),
            ("registry", Some("registry:80")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("", None),
            ("registry:99999", None),
            ("registry:5000/path", None),
            ("http://registry:5000", None),
            ("user@registry:5000", None),
            ("registry:5000?x", None),
            ("registry:5000#x", None),
            ("a b", None),
        ] {
            let host = text.parse::<RegistryHost>().ok();
            assert_eq!(host.as_ref().map(|host| host.authority.as_str()), expected, "{text}");
        }
    }

    #[test]
    fn a_url_is_allowed_by_scheme_host_and_port() {
        let transport = Transport::new(&["10.1.2.3:5000", "registry:80"].map(|host| host.parse().unwrap())).unwrap();
        for (url, allowed) in [
            ("https://registry.example.com/", true),
            ("https://8.8.8.8:8443/", true),
            ("http://registry.example.com/", false),
            ("http://10.1.2.3:5000/", true),
            ("https://10.1.2.3:5000/", true),
            ("http://10.1.2.3:5001/", false),
            ("https://10.1.2.3/", false),
            ("https://10.1.2.4:5000/", false),
            ("http://registry/", true),
            ("https://ann:x@registry.example.com/", false),
            ("http://ann@10.1.2.3:5000/", false),
            ("ftp://10.1.2.3:5000/", false),
            ("file:///etc/passwd", false),
            ("data:,x", false),
        ] {
            assert_eq!(transport.client_for(&Url::parse(url).unwrap()).is_ok(), allowed, "{url}");
        }
    }

    #[test]
    fn a_host_of_the_settings_is_spoken_to_in_plain_text() {
        let transport = Transport::new(&["127.0.0.1:5000".parse().unwrap()]).unwrap();
        for (host, root) in [
            ("127.0.0.1:5000", Some("http://127.0.0.1:5000/")),
            ("127.1:5000", Some("http://127.0.0.1:5000/")),
            ("127.0.0.1:5001", Some("https://127.0.0.1:5001/")),
            ("registry.example.com", Some("https://registry.example.com/")),
            ("1.2.3.4.5", None),
        ] {
            assert_eq!(transport.root(host).as_ref().map(Url::as_str), root, "{host}");
        }
    }

    #[test]
    fn the_time_to_wait_is_read() {
        let at = |wait: u64| {
            let at = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(wait)).unwrap();
            rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
        };
        for (text, expected) in [
            ("120".to_owned(), Some(120..=120)),
            ("0".to_owned(), Some(0..=0)),
            ("99999999999".to_owned(), Some(86400..=86400)),
            (at(60), Some(50..=60)),
            ("Wed, 21 Oct 2015 07:28:00 GMT".to_owned(), Some(0..=0)),
            ("soon".to_owned(), None),
            ("-1".to_owned(), None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::try_from(&text).unwrap())]);
            let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Vec::new() };
            match (answer.retry_after(), expected) {
                (Some(wait), Some(expected)) => assert!(expected.contains(&wait.as_secs()), "{text}: {wait:?}"),
                (wait, expected) => assert!(wait.is_none() && expected.is_none(), "{text}: {wait:?}"),
            }
        }
    }
}
