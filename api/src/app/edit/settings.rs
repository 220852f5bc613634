//! `PUT /k8s/pod/update`: configuration files and environment of named containers, each replaced whole.

use common::pod::{Pod, Variable, VariableName};
use common::sealed::{PublicKey, SealError};
use secrecy::SecretString;
use serde_json::Value;

use super::super::json::{Field, Problems};
use super::super::pod_request::MAX_VARIABLES;
use super::{check_count, place_of};

/// What is replaced, by the container's place in the pod.
pub(super) struct Edit {
    config: Vec<(usize, String)>,
    environment: Vec<(usize, Vec<(VariableName, SecretString)>)>,
}

/// Reads `{"config":{"<container>":"<content>"},"environment":{"<container>":{"KEY":"value"}}}`; existing clients leave one of
/// them empty. None = a problem was noted.
pub(super) fn read(body: &Value, pod: &Pod, problems: &mut Problems) -> Option<Edit> {
    let mut body = Field::root(body).object(problems)?;
    let (config, environment) = (body.optional("config"), body.optional("environment"));
    body.finish(problems);
    let config = read_all(config, pod, problems, |place, field, problems| {
        let content = field.text(problems)?.to_owned();
        if content.is_empty() {
            return field.wrong("must not be empty; deploy the container without configMountPath instead", problems);
        }
        match pod.containers.get(place).and_then(|container| container.config.as_ref()) {
            Some(_) => Some(content),
            None => field.wrong("must be left out: the container has no configMountPath; deploy it with one", problems),
        }
    });
    let environment = read_all(environment, pod, problems, |_, field, problems| read_environment(field, problems));
    let edit = Edit { config: config?, environment: environment? };
    if edit.config.is_empty() && edit.environment.is_empty() {
        problems.add("", "must name at least one container in config or environment");
        return None;
    }
    let replaced: Vec<usize> = edit.environment.iter().map(|(place, _)| *place).collect();
    let kept = pod.containers.iter().enumerate().filter(|(place, _)| !replaced.contains(place));
    let kept: usize = kept.map(|(_, container)| container.environment.len()).sum();
    let new: usize = edit.environment.iter().map(|(_, variables)| variables.len()).sum();
    check_count(kept + new, pod, problems);
    Some(edit)
}

/// Reads an object of containers, with each one's place in the pod.
fn read_all<'a, T>(
    field: Option<Field<'a>>,
    pod: &Pod,
    problems: &mut Problems,
    mut read: impl FnMut(usize, &Field<'a>, &mut Problems) -> Option<T>,
) -> Option<Vec<(usize, T)>> {
    let Some(field) = field else { return Some(Vec::new()) };
    let members = field.members(problems)?;
    // Every member is read before the first wrong one ends it: all problems at once.
    let read: Vec<Option<(usize, T)>> = members
        .iter()
        .map(|(name, field)| {
            let place = place_of(name, field.path(), pod, problems)?;
            Some((place, read(place, field, problems)?))
        })
        .collect();
    read.into_iter().collect()
}

fn read_environment(field: &Field<'_>, problems: &mut Problems) -> Option<Vec<(VariableName, SecretString)>> {
    let members = field.members(problems)?;
    if members.len() > MAX_VARIABLES {
        return field.wrong(format!("must have at most {MAX_VARIABLES} entries"), problems);
    }
    let read: Vec<Option<_>> = members
        .iter()
        .map(|(name, value)| {
            let name = VariableName::try_from((*name).to_owned());
            let name = name.map_err(|error| problems.add(value.path(), format!("has a wrong name: it {error}")));
            let value = value.text(problems)?;
            Some((name.ok()?, value.into()))
        })
        .collect();
    read.into_iter().collect()
}

impl Edit {
    /// Makes the change; new values are sealed to the region's key.
    pub(super) fn apply(self, pod: &mut Pod, key: &PublicKey) -> Result<(), SealError> {
        for (place, content) in self.config {
            if let Some(config) = pod.containers.get_mut(place).and_then(|container| container.config.as_mut()) {
                config.content = content;
            }
        }
        for (place, variables) in self.environment {
            let variables = variables.into_iter().map(|(name, value)| Ok(Variable { name, value: key.seal(&value)? }));
            let variables = variables.collect::<Result<_, SealError>>()?;
            if let Some(container) = pod.containers.get_mut(place) {
                container.environment = variables;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{opened, pod, problems_of, ring};
    use super::*;
    use serde_json::json;

    #[test]
    fn named_containers_are_changed_and_no_other() {
        let mut pod = pod();
        let body = json!({ "config": { "web": "new" }, "environment": { "side": { "A": "1", "B": "" } } });
        let mut problems = Problems::default();
        let edit = read(&body, &pod, &mut problems).unwrap();
        edit.apply(&mut pod, &ring().public_key()).unwrap();
        assert_eq!(pod.containers[0].config.as_ref().unwrap().content, "new");
        assert_eq!(opened(&pod.containers[0]), [("MODE", "old")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(opened(&pod.containers[1]), [("A", "1"), ("B", "")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn either_half_may_be_empty() {
        for body in [
            json!({ "config": {}, "environment": { "web": { "A": "1" } } }),
            json!({ "config": { "web": "new" }, "environment": {} }),
        ] {
            let mut problems = Problems::default();
            assert!(read(&body, &pod(), &mut problems).is_some(), "{body}");
            assert!(problems.is_empty(), "{body}: {problems:?}");
        }
    }

    #[test]
    fn an_empty_environment_removes_all() {
        let mut pod = pod();
        let edit = read(&json!({ "environment": { "web": {} } }), &pod, &mut Problems::default()).unwrap();
        edit.apply(&mut pod, &ring().public_key()).unwrap();
        assert!(pod.containers[0].environment.is_empty());
    }

    #[test]
    fn every_problem_is_noted_with_its_place() {
        let many: serde_json::Map<_, _> = (0..600).map(|n| (format!("A{n}"), json!(""))).collect();
        for (body, expected) in [
            (json!({}), "the body must name at least one container in config or environment"),
            (json!([]), "the body must be an object"),
            (json!({ "config": {}, "environment": {} }), "the body must name at least one container"),
            (json!({ "config": { "db": "x" } }), "config.db is no container of the pod, which has web, side"),
            (
                json!({ "config": { "side": "x" } }),
                "config.side must be left out: the container has no configMountPath",
            ),
            (json!({ "config": { "web": 1 } }), "config.web must be a string"),
            (json!({ "config": { "web": "" } }), "config.web must not be empty"),
            (json!({ "environment": { "web": [] } }), "environment.web must be an object"),
            (json!({ "environment": { "web": { "A": 1 } } }), "environment.web.A must be a string"),
            (
                json!({ "environment": { "web": { "9": "" } } }),
                "environment.web.9 has a wrong name: it must consist of",
            ),
            (json!({ "environment": { "web": many } }), "environment.web must have at most 256 entries"),
            (json!({ "image": "x" }), "image is not a known field"),
        ] {
            let found = problems_of(|pod, problems| read(&body, pod, problems).map(drop));
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{body}: {found:?}");
        }
    }
}
