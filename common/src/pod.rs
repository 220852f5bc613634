//! What an order wants to run: the full desired pod of one revision, checked, with its ports assigned and its secrets
//! sealed. Built by the api from a customer's body, turned into Kubernetes objects by a worker.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::Image;
use crate::name::ContainerName;
use crate::port::{HostPort, PortNumber, Protocol};
use crate::quantity::{Memory, Units};
use crate::sealed::Sealed;

/// The whole pod. What the order paid for travels with it, as the worker has no other way to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// What the order paid for: bounds the namespace's quota and sizes its volume.
    pub units: Units,
    /// Whether a volume is kept for the order across revisions.
    pub storage: Storage,
    /// At least one, at most one for each unit.
    pub containers: Vec<Container>,
}

impl Pod {
    /// Every host port of the pod, in the order of its containers.
    pub fn host_ports(&self) -> impl Iterator<Item = HostPort> + '_ {
        self.containers.iter().flat_map(|container| &container.ports).filter_map(Port::host)
    }
}

/// Whether an order keeps a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Nothing is kept.
    None,
    /// One volume, 8 Gi for each unit, mounted where containers say.
    Persistent,
}

/// One container of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Unique in the pod.
    pub name: ContainerName,
    /// What it runs.
    pub image: Image,
    /// Request and limit; the CPU request follows from it.
    pub memory: Memory,
    /// What it listens on.
    pub ports: Vec<Port>,
    /// Environment variables, values sealed; names unique.
    pub environment: Vec<Variable>,
    /// Replaces the image's entrypoint unless empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments unless empty.
    pub args: Vec<String>,
    /// Where the order's volume is mounted.
    pub mount_path: Option<ContainerPath>,
    /// One file put into the container.
    pub config: Option<ConfigFile>,
    /// The login of its private registry.
    pub login: Option<RegistryLogin>,
}

/// A port that a container listens on, and the port of the host that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Unique over all containers of the pod.
    pub container_port: PortNumber,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The public port, held by the order in the ledger; none = reachable inside the pod only.
    pub host_port: Option<PortNumber>,
}

impl Port {
    /// The port of the host, if it has one.
    pub fn host(&self) -> Option<HostPort> {
        self.host_port.map(|port| HostPort { protocol: self.protocol, port })
    }
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// `[-._a-zA-Z][-._a-zA-Z0-9]*`.
    pub name: VariableName,
    /// Readable by the region alone.
    pub value: Sealed,
}

/// A file that the customer wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Its full path in the container.
    pub path: ContainerPath,
    /// All of it.
    pub content: String,
}

/// A login at the registry of a container's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryLogin {
    /// Who logs in.
    pub username: String,
    /// Readable by the region alone.
    pub password: Sealed,
}

/// A text that is no variable name or no path. Its `Display` is fit for customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    /// Not an environment variable's name.
    #[error(
        "must consist of letters, digits, '-', '_' and '.', not begin with a digit or '..', and have at most 253 characters"
    )]
    VariableName,
    /// Not a path in a container.
    #[error(
        "must be an absolute path such as /data, without '..', ':' or control characters, of at most 1024 characters"
    )]
    Path,
}

/// An environment variable's name, `[-._a-zA-Z][-._a-zA-Z0-9]*`, of at most 253 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariableName(String);

impl VariableName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VariableName {
    type Error = PodError;

    fn try_from(text: String) -> Result<Self, PodError> {
        let valid = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
            && text.len() <= 253
            && text != "."
            && !text.starts_with("..");
        if valid { Ok(Self(text)) } else { Err(PodError::VariableName) }
    }
}

impl From<VariableName> for String {
    fn from(name: VariableName) -> Self {
        name.0
    }
}

/// An absolute path inside a container, other than `/` itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerPath(String);

impl ContainerPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment: the file's name.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl TryFrom<String> for ContainerPath {
    type Error = PodError;

    fn try_from(text: String) -> Result<Self, PodError> {
        let segments = text.strip_prefix('/').map(|rest| rest.trim_end_matches('/')).filter(|rest| !rest.is_empty());
        let valid = segments.is_some_and(|rest| rest.split('/').all(|s| !matches!(s, "" | "." | "..")))
            && !text.contains(|c: char| c == ':' || c.is_control())
            && text.len() <= 1024;
        if valid { Ok(Self(text.trim_end_matches('/').to_owned())) } else { Err(PodError::Path) }
    }
}

impl From<ContainerPath> for String {
    fn from(path: ContainerPath) -> Self {
        path.0
    }
}

impl fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_do_not_climb() {
        for (text, read) in [
            ("/data", Some("/data")),
            ("/etc/app/app.conf", Some("/etc/app/app.conf")),
            ("/data/", Some("/data")),
            ("/", None),
            ("", None),
            ("data", None),
            ("/a/../b", None),
            ("/a//b", None),
            ("/a/./b", None),
            ("/a:b", None),
            ("/a\nb", None),
        ] {
            let path = ContainerPath::try_from(text.to_owned()).ok();
            assert_eq!(path.as_ref().map(ContainerPath::as_str), read, "{text:?}");
        }
    }

    #[test]
    fn variable_names_follow_kubernetes() {
        for (text, valid) in [
            ("PATH", true),
            ("_a.b-c9", true),
            ("9a", false),
            ("", false),
            ("a=b", false),
            ("a b", false),
            ("..", false),
            ("..A", false),
            (".A", true),
            ("a\0", false),
        ] {
            assert_eq!(VariableName::try_from(text.to_owned()).is_ok(), valid, "{text:?}");
        }
    }
}
