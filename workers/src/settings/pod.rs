//! What all pods of the region have in common, and how domains lead to them.

use std::str::FromStr;
use std::time::Duration;

use common::settings::{Reader, Setting};

const TERMINATION_GRACE: Setting = Setting::new(
    "VKUBE_POD_TERMINATION_GRACE_SECONDS",
    "10",
    "How long a pod's processes may take to end, in seconds, 0 to 300.",
);
const STORAGE_CLASS: Setting =
    Setting::without_default("VKUBE_POD_STORAGE_CLASS", "The storage class of volumes; none = the cluster's default.");
const RUNTIME_CLASS: Setting = Setting::without_default(
    "VKUBE_POD_RUNTIME_CLASS",
    "The runtime class of pods, for a sandboxed runtime; one without overhead, as the quota is what was paid for. None = the cluster's default.",
);
const EGRESS_DENY: Setting = Setting::new(
    "VKUBE_POD_EGRESS_DENY",
    "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,127.0.0.0/8,fc00::/7,fe80::/10,::1/128",
    "Networks that pods may not reach (but for DNS): those of pods, services, nodes and metadata; add public node addresses.",
);
const INGRESS_CLASS: Setting =
    Setting::without_default("VKUBE_INGRESS_CLASS", "The class of orders' Ingresses; none = the cluster's default.");
const INGRESS_ISSUER: Setting = Setting::without_default(
    "VKUBE_INGRESS_ISSUER",
    "The ClusterIssuer of cert-manager that certificates are asked of; none = the region issues none.",
);
const INGRESS_TLS_SECRET: Setting = Setting::without_default(
    "VKUBE_INGRESS_TLS_SECRET",
    "The Secret with the region's own certificate, as Ingresses name it; none = domains without a certificate of their own are served unencrypted.",
);
const INGRESS_PASSTHROUGH: Setting = Setting::new(
    "VKUBE_INGRESS_PASSTHROUGH",
    "nginx.ingress.kubernetes.io/ssl-passthrough=true",
    "The annotation, key=value, of Ingresses whose pods encrypt by themselves.",
);

/// What all pods of the region have in common.
#[derive(Debug, Clone)]
pub struct PodSettings {
    /// The time between SIGTERM and SIGKILL, in seconds.
    pub termination_grace_seconds: u16,
    /// After which Kubernetes calls a rollout failed, in seconds: less than a job waits.
    pub progress_deadline_seconds: u16,
    /// None = the cluster's default.
    pub storage_class: Option<String>,
    /// None = the cluster's default.
    pub runtime_class: Option<String>,
    /// Networks that pods may not reach.
    pub egress_deny: Vec<Cidr>,
    /// How domains lead to pods.
    pub ingress: IngressSettings,
}

/// What all Ingresses of the region have in common.
#[derive(Debug, Clone)]
pub struct IngressSettings {
    /// None = the cluster's default.
    pub class: Option<String>,
    /// Who issues certificates; none = nobody.
    pub issuer: Option<String>,
    /// The region's own certificate.
    pub tls_secret: Option<String>,
    /// The annotation, key and value, by which connections are passed through to the pod.
    pub passthrough: (String, String),
}

impl PodSettings {
    pub(super) const ALL: [Setting; 8] = [
        TERMINATION_GRACE,
        STORAGE_CLASS,
        RUNTIME_CLASS,
        EGRESS_DENY,
        INGRESS_CLASS,
        INGRESS_ISSUER,
        INGRESS_TLS_SECRET,
        INGRESS_PASSTHROUGH,
    ];

    /// Reads them for jobs that wait so long.
    pub(super) fn read(read: &mut Reader<'_>, rollout_timeout: Option<Duration>) -> Option<Self> {
        let grace = read.number(&TERMINATION_GRACE, 0..=300);
        let storage_class = read.optional(&STORAGE_CLASS);
        let runtime_class = read.optional(&RUNTIME_CLASS);
        let egress_deny = read.list(&EGRESS_DENY);
        let ingress = IngressSettings::read(read);
        let timeout = rollout_timeout?.as_secs();
        Some(Self {
            termination_grace_seconds: u16::try_from(grace?).ok()?,
            progress_deadline_seconds: u16::try_from(timeout - (timeout / 10).max(10)).ok()?,
            storage_class,
            runtime_class,
            egress_deny,
            ingress: ingress?,
        })
    }
}

impl IngressSettings {
    fn read(read: &mut Reader<'_>) -> Option<Self> {
        let (class, issuer, tls_secret) =
            (read.optional(&INGRESS_CLASS), read.optional(&INGRESS_ISSUER), read.optional(&INGRESS_TLS_SECRET));
        let passthrough = read.required_with(&INGRESS_PASSTHROUGH, |text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err("must be key=value"),
        });
        Some(Self { class, issuer, tls_secret, passthrough: passthrough? })
    }
}

/// A network, `10.0.0.0/8` or `fc00::/7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cidr {
    text: String,
    v6: bool,
}

impl Cidr {
    /// As Kubernetes writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a network of IPv6 addresses.
    pub fn is_v6(&self) -> bool {
        self.v6
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.parse::<ipnet::IpNet>().map_err(|_| "must be a network such as 10.0.0.0/8")?;
        Ok(Self { text: parsed.trunc().to_string(), v6: parsed.addr().is_ipv6() })
    }
}
