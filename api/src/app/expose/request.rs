//! The bodies that bind and unbind domains.

use std::collections::{BTreeMap, BTreeSet};

use common::ingress::{Domain, Exposure, Ingress, Route, Tls};
use common::pod::Pod;
use common::port::{PortNumber, Protocol};
use serde_json::Value;

use super::super::json::{Field, Object, Problems};

/// The most domains of one order.
const MAX_DOMAINS: usize = 32;

/// Reads `{"domain","isEncryByself":false,"containerPort":80,"isLetsencrypt"?:bool}`: the domain is bound besides the others. None =
/// a problem was noted.
pub(super) fn bind(body: &Value, bound: Option<&Ingress>, pod: &Pod, problems: &mut Problems) -> Option<Exposure> {
    let mut body = Field::root(body).object(problems)?;
    let mut domains = bound.map(|ingress| ingress.domains.clone()).unwrap_or_default();
    let field = body.required("domain", problems);
    let domain: Option<Domain> = field.as_ref().and_then(|field| field.parsed(problems));
    let port = body.required("containerPort", problems).and_then(|field| read_port(&field, pod, problems));
    let passes = body.path_of("isEncryByself");
    let tls = read_tls(&mut body, domain.as_ref(), &domains, problems);
    body.finish(problems);
    let tls = tls?;
    domains.insert(domain?, Route { container_port: port?, tls });
    if domains.len() > MAX_DOMAINS {
        return field?.wrong(format!("must be one of at most {MAX_DOMAINS} domains of the order"), problems);
    }
    if domains.values().any(|route| (route.tls == Tls::Pod) != (tls == Tls::Pod)) {
        problems.add(passes, "must be the same for all domains of the order; unbind the others first");
        return None;
    }
    Some(Exposure::Bound(Ingress { domains }))
}

/// Reads `{"action":"Add"|"Del","domains":[..]}`: those that are added lead where the others do.
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
        if adds == Some(false) && !bound.domains.contains_key(&domain) {
            let all: Vec<&str> = bound.domains.keys().map(Domain::as_str).collect();
            problems.add(item.path(), format!("must be a domain that is bound: {}", all.join(", ")));
        }
        named.insert(domain);
    }
    let mut domains = bound.domains.clone();
    if adds? {
        let (_, route) = bound.domains.first_key_value()?;
        if bound.domains.values().any(|other| other != route) {
            return field.wrong("must be bound with POST, each: those that are bound lead different ways", problems);
        }
        domains.extend(named.into_iter().map(|domain| (domain, *route)));
    } else {
        domains.retain(|domain, _| !named.contains(domain));
    }
    if domains.len() > MAX_DOMAINS {
        return field.wrong(format!("must leave the order with at most {MAX_DOMAINS} domains"), problems);
    }
    Some(if domains.is_empty() { Exposure::Unbound } else { Exposure::Bound(Ingress { domains }) })
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

/// Who encrypts. Existing clients leave `isLetsencrypt` out where a domain is bound that ends in the same two labels: it is
/// as for that one then.
fn read_tls(
    body: &mut Object<'_>,
    domain: Option<&Domain>,
    bound: &BTreeMap<Domain, Route>,
    problems: &mut Problems,
) -> Option<Tls> {
    let path = body.path_of("isLetsencrypt");
    let mut flag = |name| match body.optional(name) {
        Some(field) => field.boolean(problems).map(Some),
        None => Some(None),
    };
    match (flag("isEncryByself")?.unwrap_or(false), flag("isLetsencrypt")?) {
        (true, Some(true)) => {
            problems.add(path, "must not be true together with isEncryByself: either the region encrypts or the pod");
            None
        }
        (true, Some(false) | None) => Some(Tls::Pod),
        (false, Some(true)) => Some(Tls::Issued),
        (false, Some(false)) => Some(Tls::Region),
        (false, None) => {
            let mut related = bound.iter().filter(|(other, _)| Some(other.base()) == domain.map(Domain::base));
            let issued = related.any(|(_, route)| route.tls == Tls::Issued);
            Some(if issued { Tls::Issued } else { Tls::Region })
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
                { "container_port": 8080, "protocol": "TCP", "host_port": null },
                { "container_port": 53, "protocol": "UDP", "host_port": null }],
            "mount_path": null, "config": null, "login": null });
        serde_json::from_value(json!({ "units": 2, "storage": "none", "containers": [web] })).unwrap()
    }

    fn route(port: u16, tls: Tls) -> Route {
        Route { container_port: i64::from(port).try_into().unwrap(), tls }
    }

    fn ingress(domains: &[(&str, Route)]) -> Ingress {
        Ingress { domains: domains.iter().map(|(domain, route)| (domain.parse().unwrap(), *route)).collect() }
    }

    fn bound(domains: &[&str]) -> Ingress {
        let domains: Vec<_> = domains.iter().map(|domain| (*domain, route(80, Tls::Region))).collect();
        ingress(&domains)
    }

    #[test]
    fn domains_are_added_and_removed() {
        let mut problems = Problems::default();
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
    fn a_domain_that_is_bound_leaves_the_others_as_they_are() {
        let mut problems = Problems::default();
        let before = ingress(&[("www.a.lt", route(80, Tls::Issued)), ("b.lt", route(80, Tls::Region))]);
        for (case, body, domain, expected) in [
            ("as the others of its base", json!({ "domain": "Shop.a.lt" }), "shop.a.lt", Tls::Issued),
            ("said otherwise", json!({ "domain": "shop.a.lt", "isLetsencrypt": false }), "shop.a.lt", Tls::Region),
            ("of another base", json!({ "domain": "a.com" }), "a.com", Tls::Region),
            ("of another base, issued", json!({ "domain": "a.com", "isLetsencrypt": true }), "a.com", Tls::Issued),
            ("bound before", json!({ "domain": "www.a.lt" }), "www.a.lt", Tls::Issued),
            ("of one that has none", json!({ "domain": "www.b.lt" }), "www.b.lt", Tls::Region),
        ] {
            let mut body = body;
            body["containerPort"] = json!(8080);
            body["isEncryByself"] = json!(false);
            let mut expected = Ingress { domains: [(domain.parse().unwrap(), route(8080, expected))].into() };
            for (other, route) in &before.domains {
                expected.domains.entry(other.clone()).or_insert(*route);
            }
            assert_eq!(
                bind(&body, Some(&before), &pod(), &mut problems),
                Some(Exposure::Bound(expected)),
                "{case}: {problems:?}"
            );
        }
    }

    #[test]
    fn every_problem_is_noted_with_its_place() {
        let many: Vec<String> = (0..33).map(|n| format!("a{n}.lt")).collect();
        for (body, expected) in [
            (json!({}), "domain is required"),
            (json!({ "domain": "localhost", "containerPort": 80 }), "domain must be a domain such as"),
            (
                json!({ "domain": "a.lt", "containerPort": 81 }),
                "containerPort must be a TCP port of the pod, which has 80, 8080",
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
            (
                json!({ "domain": "b.lt", "containerPort": 80, "isEncryByself": true }),
                "isEncryByself must be the same for all domains of the order",
            ),
        ] {
            let mut problems = Problems::default();
            bind(&body, Some(&bound(&["a.lt"])), &pod(), &mut problems);
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
    #[test]
    fn none_is_added_to_domains_that_lead_different_ways() {
        let before = ingress(&[("a.lt", route(80, Tls::Region)), ("b.lt", route(8080, Tls::Region))]);
        let mut problems = Problems::default();
        assert_eq!(edit(&json!({ "action": "Add", "domains": ["c.lt"] }), &before, &mut problems), None);
        let found: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["domains must be bound with POST, each: those that are bound lead different ways"]);
    }
}
