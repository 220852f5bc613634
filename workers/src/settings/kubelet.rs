//! How kubelets are asked what pods use.

use std::path::PathBuf;

use common::settings::{Reader, Setting};

const TOKEN_FILE: Setting = Setting::without_default(
    "VKUBE_KUBELET_TOKEN_FILE",
    "File with a bearer token that may get nodes/stats and nothing else, read again for each use; none = kubelets are not asked.",
);
const CA_FILE: Setting = Setting::without_default(
    "VKUBE_KUBELET_CA_FILE",
    "The CA that signed the kubelets' serving certificates, in PEM; none = the CA of the API server's.",
);
const PORT: Setting = Setting::new("VKUBE_KUBELET_PORT", "10250", "The port on which each node's kubelet answers.");

/// How kubelets are asked what pods use.
#[derive(Debug, Clone)]
pub struct KubeletSettings {
    /// The token that they want to see; none = they are not asked.
    pub token_file: Option<PathBuf>,
    /// None = the API server's CA.
    pub ca_file: Option<PathBuf>,
    /// The same on every node.
    pub port: u16,
}

impl KubeletSettings {
    pub(super) const ALL: [Setting; 3] = [TOKEN_FILE, CA_FILE, PORT];

    pub(super) fn read(read: &mut Reader<'_>) -> Option<Self> {
        let token_file = read.file(&TOKEN_FILE);
        let ca_file = read.file(&CA_FILE);
        let port = read.number(&PORT, 1..=65_535)?;
        Some(Self { token_file, ca_file, port: u16::try_from(port).ok()? })
    }
}
