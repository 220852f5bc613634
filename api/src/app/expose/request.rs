//! The bodies that bind and unbind domains.

use std::collections::BTreeSet;

use common::ingress::{Domain, Exposure, Ingress, Tls};
use common::pod::Pod;
use common::port::{PortNumber, Protocol};
use serde_json::Value;

use super::super::json::{Field, Object, Problems};

/// The most domains of one order.
const MAX_DOMAINS: usize = 32;

/// Reads `{"domain","isEncryByself":false,"containerPort":80,"isLetsencrypt"?:bool}`: the domain is added to those that are bound,
/// and all of them lead to this port. None = a problem was noted.
pub(super) fn bind(body: &Value, bound: Option<&Ingress>, pod: &Pod, problems: &mut Problems) -> Option<Exposure> {
    let mut body = Field::root(body).object(problems)?;
    let field = body.required("domain", problems);
    let domain: Option<Domain> = field.as_ref().and_then(|field| field.parsed(problems));
    let port = body.required("containerPort", problems).and_then(|field| read_port(&field, pod, problems));
    let tls = read_tls(&mut body, problems);
    body.finish(problems);
    let mut domains = bound.map(|ingress| ingress.domains.clone()).unwrap_or_default();
    let domain = domain?;
    if !domains.contains(&domain) {
        domains.push(domain);
    }
    if domains.len() > MAX_DOMAINS {
        return field?.wrong(format!("must be one of at most {MAX_DOMAINS} domains of the order"), problems);
    }
    Some(Exposure::Bound(Ingress { container_port: port?, tls: tls?, domains }))
}

/// Reads `{"action":"Add"|"Del","domains":[..]}`.
pub(super) fn edit(body: &Value, bound: &Ingress, problems: &mut Problems) -> Option<Exposure> {
    let mut body = Field::root(body).object(problems)?;
    let adds = body.required("action", problems).and_then(|field| {
        let read = |text: &str| match text {
            text if text.eq_ignore_ascii_case("add") => Ok(true),
            text if text.eq_ignore_ascii_case("del") => Ok(false),
            _ => Err("must be Add or Del"),
        };
        field.converted(read, problems)
    });
    let field = body.required("domains", problems);
    body.finish(problems);
    let field = field?;
    let items = field.list(problems)?;
    if items.is_empty() || items.len() > MAX_DOMAINS {
        return field.wrong(format!("must have 1 to {MAX_DOMAINS} domains"), problems);
    }
    let mut named = BTreeSet::new();
    for item in &items {
        let Some(domain) = item.parsed::<Domain>(problems) else { continue };
        if adds == Some(false) && !bound.domains.contains(&domain) {
            let all: Vec<&str> = bound.domains.iter().map(Domain::as_str).collect();
            problems.add(item.path(), format!("must be a domain that is bound: {}", all.join(", ")));
        }
        named.insert(domain);
    }
    let mut domains = bound.domains.clone();
    if adds? {
        named.retain(|domain| !domains.contains(domain));
        domains.extend(named);
    } else {
        domains.retain(|domain| !named.contains(domain));
    }
    if domains.len() > MAX_DOMAINS {
        return field.wrong(format!("must leave the order with at most {MAX_DOMAINS} domains"), problems);
    }
    let exposure = Exposure::Bound(Ingress { domains: domains.clone(), ..bound.clone() });
    Some(if domains.is_empty() { Exposure::Unbound } else { exposure })
}

/// Reads `{}`: no domain is to be bound any more.
pub(super) fn nothing(body: &Value, problems: &mut Problems) -> Option<Exposure> {
    Field::root(body).object(problems)?.finish(problems);
    Some(Exposure::Unbound)
}

/// A TCP port that a container of the pod listens on.
fn read_port(field: &Field<'_>, pod: &Pod, problems: &mut Problems) -> Option<PortNumber> {
    let port = field.integer(PortNumber::try_from, problems)?;
    let ports = pod.containers.iter().flat_map(|container| &container.ports);
    let ports: Vec<PortNumber> =
        ports.filter(|port| port.protocol == Protocol::Tcp).map(|port| port.container_port).collect();
    if ports.contains(&port) {
        return Some(port);
    }
    let all: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let has = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    field.wrong(format!("must be a TCP port of the pod, which has {has}"), problems)
}

fn read_tls(body: &mut Object<'_>, problems: &mut Problems) -> Option<Tls> {
    let path = body.path_of("isLetsencrypt");
    let mut flag = |name| match body.optional(name) {
        Some(field) => field.boolean(problems),
        None => Some(false),
    };
    match (flag("isEncryByself")?, flag("isLetsencrypt")?) {
        (false, false) => Some(Tls::Region),
        (false, true) => Some(Tls::Issued),
        (true, false) => Some(Tls::Pod),
        (true, true) => {
            problems.add(path, "must not be true together with isEncryByself: either the region encrypts or the pod");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        let web = json!({ "name": "web", "image": "nginx:1", "memory": "64Mi", "environment": [], "command": [], "args": [],
            "ports": [{ "container_port": 80, "protocol": "TCP", "host_port": 2000 },
                { "container_port": 53, "protocol": "UDP", "host_port": null }],
            "mount_path": null, "config": null, "login": null });
        serde_json::from_value(json!({ "units": 2, "storage": "none", "containers": [web] })).unwrap()
    }

    fn bound(domains: &[&str]) -> Ingress {
        let domains = domains.iter().map(|domain| domain.parse().unwrap()).collect();
        Ingress { container_port: 80.try_into().unwrap(), tls: Tls::Region, domains }
    }

    #[test]
    fn domains_are_added_and_removed() {
        let mut problems = Problems::default();
        let body = json!({ "domain": "B.lt", "isEncryByself": false, "containerPort": 80, "isLetsencrypt": true });
        let expected = Ingress { tls: Tls::Issued, ..bound(&["a.lt", "b.lt"]) };
        assert_eq!(bind(&body, Some(&bound(&["a.lt"])), &pod(), &mut problems), Some(Exposure::Bound(expected)));
        let two = bound(&["a.lt", "b.lt"]);
        for (body, expected) in [
            (
                json!({ "action": "Add", "domains": ["c.lt", "A.lt"] }),
                Exposure::Bound(bound(&["a.lt", "b.lt", "c.lt"])),
            ),
            (json!({ "action": "del", "domains": ["a.lt"] }), Exposure::Bound(bound(&["b.lt"]))),
            (json!({ "action": "Del", "domains": ["a.lt", "b.lt"] }), Exposure::Unbound),
        ] {
            assert_eq!(edit(&body, &two, &mut problems), Some(expected), "{body}");
        }
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn every_problem_is_noted_with_its_place() {
        let many: Vec<String> = (0..33).map(|n| format!("a{n}.lt")).collect();
        for (body, expected) in [
            (json!({}), "domain is required"),
            (json!({ "domain": "localhost", "containerPort": 80 }), "domain must be a domain such as"),
            (
                json!({ "domain": "a.lt", "containerPort": 81 }),
                "containerPort must be a TCP port of the pod, which has 80",
            ),
            (json!({ "domain": "a.lt", "containerPort": 53 }), "containerPort must be a TCP port of the pod"),
            (
                json!({ "domain": "a.lt", "containerPort": 80, "isEncryByself": 1 }),
                "isEncryByself must be true or false",
            ),
            (
                json!({ "domain": "a.lt", "containerPort": 80, "isEncryByself": true, "isLetsencrypt": true }),
                "isLetsencrypt must not be true together",
            ),
            (json!({ "domain": "a.lt", "containerPort": 80, "path": "/" }), "path is not a known field"),
        ] {
            let mut problems = Problems::default();
            bind(&body, None, &pod(), &mut problems);
            let found: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{body}: {found:?}");
        }
        for (body, expected) in [
            (json!({ "action": "Add" }), "domains is required"),
            (json!({ "action": "Set", "domains": ["a.lt"] }), "action must be Add or Del"),
            (json!({ "action": "Add", "domains": [] }), "domains must have 1 to 32 domains"),
            (json!({ "action": "Add", "domains": many[1..] }), "domains must leave the order with at most 32"),
            (json!({ "action": "Del", "domains": ["b.lt"] }), "domains[0] must be a domain that is bound: a.lt"),
            (json!({ "action": "Add", "domains": [1] }), "domains[0] must be a string"),
        ] {
            let mut problems = Problems::default();
            edit(&body, &bound(&["a.lt"]), &mut problems);
            let found: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{body}: {found:?}");
        }
    }
}
