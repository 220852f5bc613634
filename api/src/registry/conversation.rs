//! One check's talk with one registry: what to do about challenges and redirects, and what a refusal means.
//! The only place that sends credentials.

use std::collections::BTreeMap;

use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials};
use super::transport::{Answer, Transport};
use super::{Fault, ImageCheckError};

/// How many redirects one manifest or blob may take.
const MAX_REDIRECTS: usize = 3;

/// A repository of a registry, as seen with some credentials or none.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    transport: &'a Transport,
    /// The registry's root, from [`Transport::root`].
    registry: &'a Url,
    repository: &'a str,
    credentials: Option<&'a Credentials>,
    /// What opened a host, by the host's root.
    grants: BTreeMap<Url, Grant>,
}

/// What to send to a host that has asked for authorization.
#[derive(Debug)]
struct Grant {
    authorization: HeaderValue,
    /// A token that was given for the customer's credentials: so these are good.
    proves_credentials: bool,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        transport: &'a Transport,
        registry: &'a Url,
        repository: &'a str,
        credentials: Option<&'a Credentials>,
    ) -> Self {
        Self { transport, registry, repository, credentials, grants: BTreeMap::new() }
    }

    /// The manifest or blob at a path of the repository.
    pub(super) async fn fetch(&mut self, path: &str, accept: &'static str) -> Result<Vec<u8>, ImageCheckError> {
        let path = format!("/v2/{}/{path}", self.repository);
        let mut url = self.registry.join(&path).map_err(|_| Fault::Nonsense("path"))?;
        let mut redirects = 0;
        loop {
            let host = root(&url)?;
            let grant = self.grants.get(&host);
            let answer = self.transport.get(&url, accept, grant.map(|grant| &grant.authorization)).await?;
            if answer.status == StatusCode::OK {
                return Ok(answer.body);
            }
            if let Some(target) = answer.redirect(&url) {
                redirects += 1;
                if redirects > MAX_REDIRECTS {
                    return Err(Fault::Redirects.into());
                }
                url = target?;
            } else if answer.status == StatusCode::UNAUTHORIZED && grant.is_none() {
                let grant = self.answer_challenge(&host, &answer).await?;
                self.grants.insert(host, grant);
            } else {
                return Err(self.refusal(&answer, grant));
            }
        }
    }

    /// What the challenge of a host asks for. The credentials are for the registry that the customer named: a host
    /// that it redirects to gets none.
    async fn answer_challenge(&self, host: &Url, answer: &Answer) -> Result<Grant, ImageCheckError> {
        let credentials = self.credentials.filter(|_| host == self.registry);
        match (challenge::parse(&answer.headers), credentials) {
            (Some(Challenge::Bearer { realm, service, scope, .. }), credentials) => {
                let mut realm = Url::parse(&realm).map_err(|_| Fault::Nonsense("realm"))?;
                let trusted = credentials.filter(|_| credentials::realm_is_trusted(host, &realm));
                if credentials.is_some() && trusted.is_none() {
                    tracing::debug!(
                        registry = host.host_str(),
                        realm = realm.host_str(),
                        "credentials withheld from realm"
                    );
                }
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                let service = service.iter().map(|service| ("service", service.as_str()));
                let scopes = scope.split_whitespace().map(|scope| ("scope", scope));
                realm.query_pairs_mut().extend_pairs(service.chain(scopes));
                let authorization = self.token(&realm, trusted).await?;
                Ok(Grant { authorization, proves_credentials: trusted.is_some() })
            }
            (Some(Challenge::Basic), Some(credentials)) => {
                Ok(Grant { authorization: credentials.basic(), proves_credentials: false })
            }
            (Some(Challenge::Basic), None) | (None, _) => Err(self.refusal(answer, None)),
        }
    }

    async fn token(&self, realm: &Url, credentials: Option<&Credentials>) -> Result<HeaderValue, ImageCheckError> {
        let basic = credentials.map(Credentials::basic);
        let answer = self.transport.get(realm, "application/json", basic.as_ref()).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(&answer, None));
        }
        let token: Token =
            serde_json::from_slice(&answer.body).map_err(|source| Fault::Json { what: "token", source })?;
        let mut either = [token.token, token.access_token].into_iter().flatten();
        let token = either.find(|token| !token.is_empty()).ok_or(Fault::Nonsense("token"))?;
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| Fault::Nonsense("token"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What an answer without the wanted thing says about the image.
    ///
    /// Registries do not tell strangers what they have: without credentials, "not allowed" is "not there". So it is
    /// with credentials for which a token was given that then does not reach the repository. Docker Hub answers both so.
    fn refusal(&self, answer: &Answer, grant: Option<&Grant>) -> ImageCheckError {
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => ImageCheckError::NotFound,
            StatusCode::TOO_MANY_REQUESTS => ImageCheckError::RateLimited { retry_after: answer.retry_after() },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let known = grant.is_some_and(|grant| grant.proves_credentials);
                let challenge = challenge::parse(&answer.headers);
                let out_of_reach = matches!(challenge, Some(Challenge::Bearer { insufficient_scope: true, .. }));
                if self.credentials.is_none() || (known && out_of_reach) {
                    ImageCheckError::NotFound
                } else {
                    ImageCheckError::Refused
                }
            }
            status => Fault::Status(status.as_u16()).into(),
        }
    }
}

/// The root of a URL's host, with its scheme and port: what a grant is good for.
fn root(url: &Url) -> Result<Url, Fault> {
    url.join("/").map_err(|_| Fault::Nonsense("redirect"))
}
