//! By which domains the world reaches an order's pod, besides its host ports (`wire.md` §5).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::port::PortNumber;

/// A text that is no domain. Its `Display` is fit for customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a domain such as shop.example.com: at least two labels of letters, digits and '-', at most 253 characters, no \
     address, no wildcard; write other scripts in their ASCII form (xn--...)"
)]
pub struct DomainError;

/// A host name of at least two labels (RFC 1123), in lower case: also a valid host of a Kubernetes Ingress.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

impl Domain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its last two labels.
    pub fn base(&self) -> &str {
        let mut dots = self.0.rmatch_indices('.').map(|(place, _)| place + 1);
        self.0.get(dots.nth(1).unwrap_or_default()..).unwrap_or_default()
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let text = text.to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let mut labels = text.split('.');
        let valid = text.len() <= 253 && labels.clone().count() >= 2 && labels.all(is_label);
        // A last label of digits alone is the end of an address.
        let last = text.rsplit('.').next().unwrap_or_default();
        if valid && !last.bytes().all(|b| b.is_ascii_digit()) { Ok(Self(text)) } else { Err(DomainError) }
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Self, DomainError> {
        text.parse()
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an order is reached by domains: one Service and one Ingress for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form")]
pub struct Ingress {
    /// Where each leads; at least one. Connections are passed through to the pod of all or of none of them.
    pub domains: BTreeMap<Domain, Route>,
}

/// What an [`Ingress`] is read from.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Form {
    Each {
        domains: BTreeMap<Domain, Route>,
    },
    /// Of jobs of before each domain had a way of its own.
    All {
        domains: Vec<Domain>,
        container_port: PortNumber,
        tls: Tls,
    },
}

impl From<Form> for Ingress {
    fn from(form: Form) -> Self {
        let domains = match form {
            Form::Each { domains } => domains,
            Form::All { domains, container_port, tls } => {
                domains.into_iter().map(|domain| (domain, Route { container_port, tls })).collect()
            }
        };
        Self { domains }
    }
}

impl Ingress {
    /// The ports inside the pod that requests go to.
    pub fn ports(&self) -> BTreeSet<PortNumber> {
        self.domains.values().map(|route| route.container_port).collect()
    }
}

/// How a domain leads to the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The TCP port inside the pod that requests go to.
    pub container_port: PortNumber,
    /// Who encrypts.
    pub tls: Tls,
}

/// Who encrypts what comes by a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// The region, if it has a certificate for all.
    #[default]
    Region,
    /// The region, with a certificate that it has issued for the order's domains.
    Issued,
    /// The pod itself: connections are passed through to it.
    Pod,
}

/// Whether an order is reached by domains. Objects of one that never was are not looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exposure {
    /// No domain was ever bound.
    #[default]
    Never,
    /// Domains were bound, and none is any more.
    Unbound,
    /// These are.
    Bound(Ingress),
}

impl Exposure {
    /// Whether no domain was ever bound.
    pub fn is_never(&self) -> bool {
        *self == Self::Never
    }

    /// The domains that are bound.
    pub fn ingress(&self) -> Option<&Ingress> {
        match self {
            Self::Bound(ingress) => Some(ingress),
            Self::Never | Self::Unbound => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_of_a_domain_is_its_last_two_labels() {
        for (domain, base) in [("a.lt", "a.lt"), ("www.a.lt", "a.lt"), ("x.www.a.lt", "a.lt")] {
            assert_eq!(domain.parse::<Domain>().unwrap().base(), base);
        }
    }

    #[test]
    fn an_ingress_of_one_way_for_all_domains_is_still_read() {
        let before = serde_json::json!({ "domains": ["b.lt", "a.lt"], "container_port": 80, "tls": "issued" });
        let now = serde_json::json!({ "domains": {
            "a.lt": { "container_port": 80, "tls": "issued" }, "b.lt": { "container_port": 80, "tls": "issued" } } });
        let read: Ingress = serde_json::from_value(before).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), now);
        assert_eq!(serde_json::from_value::<Ingress>(now).unwrap(), read);
    }

    #[test]
    fn domains_are_told_from_other_texts() {
        let long = format!("{}.example.com", "a".repeat(64));
        for (text, read) in [
            ("shop.example.com", Some("shop.example.com")),
            ("Shop.Example.COM", Some("shop.example.com")),
            ("xn--sp-gja.lt", Some("xn--sp-gja.lt")),
            ("a.b1", Some("a.b1")),
            ("localhost", None),
            ("shop.example.com.", None),
            (".example.com", None),
            ("*.example.com", None),
            ("sh_op.example.com", None),
            ("-a.example.com", None),
            ("a-.example.com", None),
            ("127.0.0.1", None),
            ("shop.example.com:80", None),
            ("http://shop.example.com", None),
            ("žąsis.lt", None),
            ("a b.lt", None),
            ("", None),
            (long.as_str(), None),
        ] {
            assert_eq!(text.parse::<Domain>().ok().as_ref().map(Domain::as_str), read, "{text:?}");
        }
    }
}
