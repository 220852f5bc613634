//! The deploy body (`wire.md` §4): read, and checked by all rules against what the order paid for. Every problem is noted
//! with its field path. Secrets leave here only sealed.

mod container;

pub(super) use container::{MAX_VARIABLES, read_login};

use std::collections::BTreeSet;

use common::name::RegionCode;
use common::pod::{self, ConfigFile, Container, Pod, Port, RegistryLogin, Storage, Variable, VariableName};
use common::port::HostPort;
use common::quantity::{Memory, Units};
use common::sealed::{PublicKey, SealError};
use secrecy::SecretString;
use serde_json::Value;

use super::json::{Field, Noted, Problems};
use crate::store::orders::{PortSpecification, Purchase};

/// The most values of one pod that have to be sealed: each costs computing, and grows by some 80 bytes.
const MAX_SECRETS: usize = 512;

/// The most containers that are read: those of the largest order.
const MAX_CONTAINERS: usize = Units::MAX as usize;

/// What a customer wants to run, before ports are assigned and secrets are sealed.
#[derive(Debug)]
pub struct PodRequest {
    /// Where; none = the order knows.
    pub region: Option<RegionCode>,
    /// At least one.
    pub containers: Vec<ContainerRequest>,
}

/// One container of a [`PodRequest`].
#[derive(Debug)]
pub struct ContainerRequest {
    name: common::name::ContainerName,
    image: common::image::Image,
    memory: Memory,
    ports: Vec<Port>,
    environment: Vec<(VariableName, SecretString)>,
    command: Vec<String>,
    args: Vec<String>,
    mount_path: Option<pod::ContainerPath>,
    config: Option<ConfigFile>,
    login: Option<(String, SecretString)>,
}

impl PodRequest {
    /// The pod itself, with the host ports that the customer chose and secrets sealed to the region's key. Takes some
    /// 0.1 ms of computing for each secret.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn seal(self, purchase: &Purchase, key: &PublicKey) -> Result<Pod, SealError> {
        let seal_container = |container: ContainerRequest| {
            let environment = container.environment.into_iter();
            let environment = environment.map(|(name, value)| Ok(Variable { name, value: key.seal(&value)? }));
            let login = container
                .login
                .map(|(username, password)| key.seal(&password).map(|password| RegistryLogin { username, password }));
            Ok(Container {
                name: container.name,
                image: container.image,
                memory: container.memory,
                ports: container.ports,
                environment: environment.collect::<Result<_, SealError>>()?,
                command: container.command,
                args: container.args,
                mount_path: container.mount_path,
                config: container.config,
                login: login.transpose()?,
            })
        };
        let containers = self.containers.into_iter().map(seal_container).collect::<Result<_, SealError>>()?;
        Ok(Pod { units: purchase.units, storage: purchase.storage, containers })
    }
}

/// Reads a deploy body for an order.
///
/// # Errors
/// Every problem of the body.
pub fn read(body: &Value, purchase: &Purchase) -> Result<PodRequest, Problems> {
    let mut problems = Problems::default();
    let request = read_body(body, purchase, &mut problems);
    match request {
        Some(request) if problems.is_empty() => Ok(request),
        _ => Err(problems),
    }
}

fn read_body(body: &Value, purchase: &Purchase, problems: &mut Problems) -> Option<PodRequest> {
    let mut body = Field::root(body).object(problems)?;
    let region = read_region(&mut body, purchase, problems);
    // Sent by very old clients, and without meaning ever since.
    let _ = body.optional("name");
    let containers = body.required("containers", problems).and_then(|field| {
        let items = field.list(problems)?;
        let most = purchase.units.get();
        if items.is_empty() {
            return field.wrong("must have at least one container", problems);
        }
        if items.len() > usize::try_from(most).unwrap_or(usize::MAX) {
            let problem = format!("must have at most {most} containers, one for each unit of the order");
            problems.add(field.path(), problem);
        }
        Some(items)
    });
    let logins = container::read_logins(&mut body, containers.as_ref().map(Vec::len), problems);
    body.finish(problems);
    let containers: Vec<Option<ContainerRequest>> = containers?
        .iter()
        .take(MAX_CONTAINERS)
        .enumerate()
        .map(|(index, field)| {
            let login = logins.as_ref().and_then(|logins| logins.get(index)).cloned().flatten();
            container::read(field, login, purchase, problems)
        })
        .collect();
    check_together(&containers, purchase, problems);
    Some(PodRequest { region: region.ok()?, containers: containers.into_iter().collect::<Option<_>>()? })
}

/// `nodeSelector.region`: required while the order names no region, else optional and the same.
fn read_region(
    body: &mut super::json::Object<'_>,
    purchase: &Purchase,
    problems: &mut Problems,
) -> Result<Option<RegionCode>, Noted> {
    let selector = match (&purchase.region, body.optional("nodeSelector")) {
        (Some(_), None) => return Ok(None),
        (None, None) => {
            problems.add("nodeSelector.region", "is required: the order has no region yet");
            return Err(Noted);
        }
        (_, Some(selector)) => selector,
    };
    let mut selector = selector.object(problems).ok_or(Noted)?;
    let field = match purchase.region {
        Some(_) => selector.optional("region"),
        None => selector.required("region", problems),
    };
    selector.finish(problems);
    let Some(field) = field else { return if purchase.region.is_some() { Ok(None) } else { Err(Noted) } };
    let region = field.converted(RegionCode::from_name, problems).ok_or(Noted)?;
    match &purchase.region {
        Some(own) if *own != region => {
            field.wrong(format!("must be {own}, the region of the order"), problems).ok_or(Noted)
        }
        _ => Ok(Some(region)),
    }
}

/// The rules that hold over all containers together, on whatever could be read.
fn check_together(containers: &[Option<ContainerRequest>], purchase: &Purchase, problems: &mut Problems) {
    let (mut names, mut inside, mut outside) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut memory, mut ports, mut secrets) = (0_u64, 0_usize, 0_usize);
    for (index, container) in containers.iter().enumerate() {
        let Some(container) = container else { continue };
        let path = format!("containers[{index}]");
        if !names.insert(container.name.as_str()) {
            problems.add(format!("{path}.name"), "must be unique: another container has this name");
        }
        for (number, port) in container.ports.iter().enumerate() {
            let path = format!("{path}.ports[{number}]");
            let protocol = port.protocol;
            if !inside.insert((protocol, port.container_port)) {
                let problem = format!("must be unique: another {protocol} port of the pod has this number");
                problems.add(format!("{path}.containerPort"), problem);
            }
            if port.host().is_some_and(|host: HostPort| !outside.insert(host)) {
                let problem = format!("must be unique: another {protocol} port of the pod has this number");
                problems.add(format!("{path}.hostPort"), problem);
            }
        }
        memory += container.memory.bytes();
        ports += container.ports.len();
        secrets += container.environment.len() + usize::from(container.login.is_some());
    }
    let units = purchase.units;
    if memory > units.memory().bytes() {
        let problem = format!("must need at most {} of memory together, which is what the order has", units.memory());
        problems.add("containers", problem);
    }
    if ports > usize::try_from(units.get()).unwrap_or(usize::MAX) {
        problems.add("containers", format!("must have at most {} ports together, one for each unit", units.get()));
    }
    check_secrets(secrets, "containers", problems);
    let all_read = containers.iter().all(Option::is_some);
    let mounted = containers.iter().flatten().any(|container| container.mount_path.is_some());
    if purchase.storage == Storage::Persistent && all_read && !mounted {
        problems.add("containers", "must have a mountPath in at least one container: the order keeps a volume");
    }
}

/// Notes that a pod would have too many values to seal.
pub(super) fn check_secrets(count: usize, field: &str, problems: &mut Problems) {
    if count > MAX_SECRETS {
        problems.add(field, format!("must have at most {MAX_SECRETS} variables and registry logins together"));
    }
}

/// Whether an order's customer may choose host ports.
fn chooses_ports(purchase: &Purchase) -> bool {
    purchase.port_specification == PortSpecification::User
}

#[cfg(test)]
mod tests;
