//! The Secrets of one revision: environment values and registry logins, opened here and nowhere else.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::pod::{Container, Pod, RegistryLogin};
use common::sealed::{KeyRing, SealError};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret as _;

use crate::kubernetes::{Identity, Kind, Manifest};

/// The longest key of a Secret (Kubernetes, "Secret v1 core").
const MAX_KEY: usize = 253;

/// The Secret of a revision's environment values.
pub(super) fn environment_name(by: &Identity) -> String {
    format!("env-r{}", by.revision)
}

/// The Secret of one container's registry login.
pub(super) fn login_name(by: &Identity, container: usize) -> String {
    format!("pull-r{}-{container}", by.revision)
}

/// The key of a container's variable: `<container>.<NAME>`, or its position where that is too long. Names do not begin
/// with a digit, so the two never meet.
pub(super) fn environment_key(container: &Container, position: usize, name: &str) -> String {
    let key = format!("{}.{name}", container.name);
    if key.len() <= MAX_KEY { key } else { format!("{}.{position}", container.name) }
}

/// The environment values of all containers, if there are any.
pub(super) fn environment(by: &Identity, pod: &Pod, keys: &KeyRing) -> Result<Option<Manifest>, SealError> {
    let mut data = BTreeMap::new();
    for container in &pod.containers {
        for (position, variable) in container.environment.iter().enumerate() {
            let value = keys.open(&variable.value)?.expose_secret().as_bytes().to_vec();
            data.insert(environment_key(container, position, variable.name.as_str()), ByteString(value));
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    Ok(Some(secret(by, environment_name(by), "Opaque", data)))
}

/// The registry logins, one Secret a container that has one.
pub(super) fn registry_logins(by: &Identity, pod: &Pod, keys: &KeyRing) -> Result<Vec<Manifest>, SealError> {
    let logins = pod.containers.iter().enumerate().filter_map(|(i, c)| Some((i, c, c.login.as_ref()?)));
    let made = logins.map(|(position, container, login)| {
        let data = docker_config(container.image.registry(), login, keys)?;
        let data = BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(data))]);
        Ok(secret(by, login_name(by, position), "kubernetes.io/dockerconfigjson", data))
    });
    made.collect()
}

/// A login in the form of `~/.docker/config.json`; Docker Hub has a name of its own there.
fn docker_config(registry: &str, login: &RegistryLogin, keys: &KeyRing) -> Result<Vec<u8>, SealError> {
    let registry = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
    let password = keys.open(&login.password)?;
    let password = password.expose_secret();
    let auth = STANDARD.encode(format!("{}:{password}", login.username));
    let entry = serde_json::json!({ "username": login.username, "password": password, "auth": auth });
    Ok(serde_json::json!({ "auths": { registry: entry } }).to_string().into_bytes())
}

fn secret(by: &Identity, name: String, type_: &str, data: BTreeMap<String, ByteString>) -> Manifest {
    let secret = Secret { data: Some(data), type_: Some(type_.to_owned()), immutable: Some(true), ..Secret::default() };
    Manifest::new(Kind::Secret, name, &secret, by)
}
