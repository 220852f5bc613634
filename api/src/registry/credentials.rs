//! A customer's user name and password, and the hosts that may see them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::address;

/// Registries (a host, or a domain with a leading dot) whose tokens come from another domain of the same owner.
const FOREIGN_REALMS: [(&str, &str); 3] = [
    (".scw.cloud", "api.scaleway.com"),
    ("registry.redhat.io", "sso.redhat.com"),
    ("registry.connect.redhat.com", "sso.redhat.com"),
];

/// What a customer shows to a registry.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub username: String,
    pub password: SecretString,
}

impl Credentials {
    /// As the value of an `Authorization` header (RFC 7617).
    pub(super) fn basic(&self) -> HeaderValue {
        let pair = format!("{}:{}", self.username, self.password.expose_secret());
        let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
        let mut value = value.expect("base64 is made of visible characters");
        value.set_sensitive(true);
        value
    }
}

/// Whether a realm that a registry names may be sent the credentials for that registry.
///
/// A registry can have the password by asking for it, so this guards against what speaks in its name: an injected
/// header, a tampered plain-text answer. The realm must be the registry's host, or below the parent domain of the
/// registry's host if that parent is itself a domain of two labels or more (`registry-1.docker.io` and
/// `auth.docker.io`, `registry.gitlab.com` and `gitlab.com`, but not `a.example` and `b.example`), or be known by name;
/// and it must not be less protected than the registry is.
pub(super) fn realm_is_trusted(registry: &Url, realm: &Url) -> bool {
    let (Some(from), Some(to)) = (registry.host_str(), realm.host_str()) else { return false };
    if from == to {
        return realm.scheme() == "https" || registry.scheme() == "http";
    }
    if realm.scheme() != "https" || address::literal(registry).is_some() || address::literal(realm).is_some() {
        return false;
    }
    let sibling = from.split_once('.').is_some_and(|(_, parent)| parent.contains('.') && is_within(to, parent));
    let known = |&(registry, realm): &(&str, &str)| {
        to == realm && if registry.starts_with('.') { from.ends_with(registry) } else { from == registry }
    };
    sibling || FOREIGN_REALMS.iter().any(known)
}

fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_trusted_by_its_host() {
        for (registry, realm, trusted) in [
            ("https://ghcr.io/", "https://ghcr.io/token", true),
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", true),
            ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth", true),
            ("https://registry.gitlab.com/", "https://evilgitlab.com/jwt/auth", false),
            ("https://registry.cn-hangzhou.aliyuncs.com/", "https://dockerauth.cn-hangzhou.aliyuncs.com/auth", true),
            (
                "https://rg.fr-par.scw.cloud/",
                "https://api.scaleway.com/registry-internal/v1/regions/fr-par/tokens",
                true,
            ),
            ("https://scw.cloud.example.com/", "https://api.scaleway.com/tokens", false),
            ("https://registry.redhat.io/", "https://sso.redhat.com/auth", true),
            ("https://evilregistry.redhat.io/", "https://sso.redhat.com/auth", false),
            ("https://ghcr.io/", "https://quay.io/token", false),
            ("https://ghcr.io/", "https://auth.ghcr.io/token", false),
            ("https://a.example/", "https://b.example/token", false),
            ("https://registry.example.com/", "https://registry.example.com:8443/token", true),
            ("https://registry.example.com/", "http://registry.example.com:8080/token", false),
            ("https://registry.example.com/", "http://auth.example.com/token", false),
            ("https://registry.example.com/", "https://example.com.evil.net/token", false),
            ("https://registry.example.com/", "https://com/token", false),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", true),
            ("http://127.0.0.1:5000/", "https://127.0.0.1:5001/token", true),
            ("http://127.0.0.1:5000/", "http://1.0.0.1:5001/token", false),
            ("https://127.0.0.1/", "https://1.0.0.1/token", false),
            ("https://registry.0.0.1.example/", "https://10.0.0.1/token", false),
        ] {
            let [from, to] = [registry, realm].map(|text| Url::parse(text).unwrap());
            assert_eq!(realm_is_trusted(&from, &to), trusted, "{registry} and {realm}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { username: "ann".into(), password: "open sesame".into() };
        assert_eq!(credentials.basic(), "Basic YW5uOm9wZW4gc2VzYW1l");
        let printed = format!("{credentials:?} {:?}", credentials.basic());
        assert!(!printed.contains("sesame") && !printed.contains("YW5u"), "{printed}");
    }
}
