//! One container of the deploy body, and the registry logins that go with the containers.

use common::name::ContainerName;
use common::pod::{ConfigFile, ContainerPath, Port, Storage, VariableName};
use common::port::{PortNumber, Protocol};
use common::quantity::{Memory, QuantityError, Units};
use secrecy::SecretString;

use super::super::json::{Field, Noted, Object, Problems};
use super::{ContainerRequest, chooses_ports};
use crate::store::orders::Purchase;

/// The most environment variables of one container.
pub(in crate::app) const MAX_VARIABLES: usize = 256;
/// The most words of a command or of arguments.
const MAX_WORDS: usize = 256;
/// The longest user name or password, in characters.
const MAX_LOGIN: usize = 4096;

/// A login for each container, by index; empty texts = none.
pub(super) type Logins = Vec<Option<(String, SecretString)>>;

/// Reads `pvtLogin`: absent, or one entry for each container.
pub(super) fn read_logins(body: &mut Object<'_>, containers: Option<usize>, problems: &mut Problems) -> Option<Logins> {
    let field = body.optional("pvtLogin")?;
    let items = field.list(problems)?;
    if containers.is_some_and(|containers| containers != items.len()) {
        return field.wrong("must have one entry for each container, in their order", problems);
    }
    Some(items.iter().map(|item| read_login(item, problems)).collect())
}

/// Reads a registry login; none = both texts are empty or absent, or a problem was noted.
pub(in crate::app) fn read_login(field: &Field<'_>, problems: &mut Problems) -> Option<(String, SecretString)> {
    let mut login = field.object(problems)?;
    let username = login.optional_text("username").map(|field| field.short_text(MAX_LOGIN, problems));
    let password = login.optional_text("password").map(|field| field.short_text(MAX_LOGIN, problems));
    login.finish(problems);
    match (username, password) {
        (None, None) => None,
        (Some(username), Some(password)) => Some((username?, password?.into())),
        (Some(_), None) | (None, Some(_)) => {
            field.wrong("must have both username and password, or both empty for a public image", problems)
        }
    }
}

/// Reads one container. None = a problem was noted.
pub(super) fn read(
    field: &Field<'_>,
    login: Option<(String, SecretString)>,
    purchase: &Purchase,
    problems: &mut Problems,
) -> Option<ContainerRequest> {
    let mut container = field.object(problems)?;
    let name = container.required("name", problems).and_then(|field| read_name(&field, problems));
    let image = container.required("imageName", problems).and_then(|field| field.parsed(problems));
    let memory = read_memory(&mut container, problems);
    let ports = read_items(container.optional("ports"), purchase_limit(purchase), problems, |item, problems| {
        read_port(item, purchase, problems)
    });
    let environment = read_environment(container.optional("envs"), problems);
    let command = read_words(container.optional("command"), problems);
    let args = read_words(container.optional("args"), problems);
    let mount_path = read_mount_path(&mut container, purchase, problems);
    let config = read_config(&mut container, problems);
    if let (Ok(Some(mount)), Ok(Some(config))) = (&mount_path, &config)
        && *mount == config.path
    {
        problems.add(container.path_of("configMountPath"), "must differ from mountPath");
    }
    refuse_paths(&mut container, problems);
    container.finish(problems);
    Some(ContainerRequest {
        name: name?,
        image: image?,
        memory: memory?,
        ports: ports?,
        environment: environment?,
        command: command?,
        args: args?,
        mount_path: mount_path.ok()?,
        config: config.ok()?,
        login,
    })
}

/// A name that no answer with the containers' names as its keys shows as a failure (`wire.md` §2).
fn read_name(field: &Field<'_>, problems: &mut Problems) -> Option<ContainerName> {
    let name: ContainerName = field.parsed(problems)?;
    if ["error", "message"].contains(&name.as_str()) {
        return field.wrong("must not be error or message: clients take these for failures", problems);
    }
    Some(name)
}

/// `exposedPorts`, which existing clients send empty.
fn refuse_paths(container: &mut Object<'_>, problems: &mut Problems) {
    if let Some(field) = container.optional("exposedPorts")
        && field.list(problems).is_some_and(|paths| !paths.is_empty())
    {
        problems.add(field.path(), "must be empty or left out; bind a domain to reach the port by a name");
    }
}

/// How many ports one container is read with: more than the order has units is told once, for all containers.
fn purchase_limit(purchase: &Purchase) -> usize {
    usize::try_from(purchase.units.get()).unwrap_or(usize::MAX).saturating_add(64)
}

/// Exactly one of `resource.memory` and `resourceUnit`.
fn read_memory(container: &mut Object<'_>, problems: &mut Problems) -> Option<Memory> {
    let path = container.path_of("resource");
    match (container.optional("resource"), container.optional("resourceUnit")) {
        (Some(resource), None) => {
            let mut resource = resource.object(problems)?;
            let memory = resource.required("memory", problems).and_then(|field| field.parsed(problems));
            resource.finish(problems);
            memory
        }
        (None, Some(units)) => {
            let read = |number| u32::try_from(number).map_err(|_| QuantityError::Units)?.try_into();
            let units: Option<Units> = units.integer(
                |number| read(number).map_err(|_: QuantityError| "must be a whole number from 1 to the order's units"),
                problems,
            );
            units.map(Units::memory)
        }
        (Some(_), Some(_)) => {
            problems.add(path, "must not be given together with resourceUnit: exactly one of the two");
            None
        }
        (None, None) => {
            problems.add(path, "is required: give resource.memory, or resourceUnit");
            None
        }
    }
}

fn read_port(field: &Field<'_>, purchase: &Purchase, problems: &mut Problems) -> Option<Port> {
    let mut port = field.object(problems)?;
    let container_port = port.required("containerPort", problems);
    let container_port = container_port.and_then(|field| field.integer(PortNumber::try_from, problems));
    let protocol = match port.optional_text("protocol") {
        Some(field) => field.parsed::<Protocol>(problems),
        None => Some(Protocol::default()),
    };
    let host_port = match port.optional("hostPort") {
        Some(field) if chooses_ports(purchase) => field.integer(PortNumber::try_from, problems).map(Some),
        Some(field) => field.wrong("must be left out: the system assigns this order's ports", problems),
        None => Some(None),
    };
    port.finish(problems);
    Some(Port { container_port: container_port?, protocol: protocol?, host_port: host_port? })
}

fn read_environment(field: Option<Field<'_>>, problems: &mut Problems) -> Option<Vec<(VariableName, SecretString)>> {
    let mut names = std::collections::BTreeSet::new();
    read_items(field, MAX_VARIABLES, problems, |item, problems| {
        let mut variable = item.object(problems)?;
        let name_field = variable.required("name", problems);
        let name = name_field
            .as_ref()
            .and_then(|field| field.converted(|text| VariableName::try_from(text.to_owned()), problems));
        let value = variable.required("value", problems).and_then(|field| field.text(problems));
        variable.finish(problems);
        let name = name?;
        if !names.insert(name.clone()) {
            return name_field?.wrong("must be unique: another variable of the container has this name", problems);
        }
        Some((name, value?.into()))
    })
}

/// A command or its arguments: a list of texts, or one text with one word a line (`wire.md` §4).
fn read_words(field: Option<Field<'_>>, problems: &mut Problems) -> Option<Vec<String>> {
    let Some(field) = field else { return Some(Vec::new()) };
    if field.is_list() {
        let word = |item: &Field<'_>, problems: &mut Problems| Some(item.text(problems)?.to_owned());
        return read_items(Some(field), MAX_WORDS, problems, word);
    }
    let text = field.text(problems)?;
    let words: Vec<String> = text.strip_suffix('\n').unwrap_or(text).split('\n').map(str::to_owned).collect();
    match words.as_slice() {
        [only] if only.is_empty() => Some(Vec::new()),
        words if words.len() > MAX_WORDS => field.wrong(format!("must have at most {MAX_WORDS} lines"), problems),
        _ => Some(words),
    }
}

fn read_mount_path(
    container: &mut Object<'_>,
    purchase: &Purchase,
    problems: &mut Problems,
) -> Result<Option<ContainerPath>, Noted> {
    let Some(field) = container.optional_text("mountPath") else { return Ok(None) };
    if purchase.storage == Storage::None {
        return field.wrong("must be left out: the order keeps no volume", problems).ok_or(Noted);
    }
    field.converted(|text| ContainerPath::try_from(text.to_owned()), problems).map(Some).ok_or(Noted)
}

/// One file: `configMountPath` and `config`, or `configMap` with its path and content.
fn read_config(container: &mut Object<'_>, problems: &mut Problems) -> Result<Option<ConfigFile>, Noted> {
    let (path_of_path, path_of_config) = (container.path_of("configMountPath"), container.path_of("config"));
    let (path, content) = (container.optional_text("configMountPath"), container.optional_text("config"));
    let files = container.optional("configMap").map(|field| (field.members(problems).ok_or(Noted), field));
    if let Some((files, field)) = files {
        match (files?.as_slice(), path.is_some() || content.is_some()) {
            ([], _) => {}
            ([(path, content)], false) => {
                let read = ContainerPath::try_from((*path).to_owned());
                let read = read.map_err(|error| problems.add(content.path(), format!("has a wrong path: it {error}")));
                let content = content.text(problems);
                return Ok(Some(ConfigFile {
                    path: read.map_err(|()| Noted)?,
                    content: content.ok_or(Noted)?.to_owned(),
                }));
            }
            ([_], true) => {
                let problem = "must not be given together with configMountPath and config: exactly one of the two";
                return field.wrong(problem, problems).ok_or(Noted);
            }
            (_, _) => return field.wrong("must have at most one file", problems).ok_or(Noted),
        }
    }
    match (path, content) {
        (None, None) => Ok(None),
        (Some(path), Some(content)) => {
            let path = path.converted(|text| ContainerPath::try_from(text.to_owned()), problems);
            let content = content.text(problems);
            Ok(Some(ConfigFile { path: path.ok_or(Noted)?, content: content.ok_or(Noted)?.to_owned() }))
        }
        (Some(_), None) => {
            problems.add(path_of_config, "is required together with configMountPath");
            Err(Noted)
        }
        (None, Some(_)) => {
            problems.add(path_of_path, "is required together with config");
            Err(Noted)
        }
    }
}

/// Reads every item of a list that may be absent. None = a problem was noted.
fn read_items<T>(
    field: Option<Field<'_>>,
    most: usize,
    problems: &mut Problems,
    mut read: impl FnMut(&Field<'_>, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(field) = field else { return Some(Vec::new()) };
    let items = field.list(problems)?;
    if items.len() > most {
        return field.wrong(format!("must have at most {most} entries"), problems);
    }
    // Every item is read before the first missing one ends the list: all problems at once.
    let read: Vec<Option<T>> = items.iter().map(|item| read(item, problems)).collect();
    read.into_iter().collect()
}
