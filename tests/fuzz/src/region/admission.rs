//! What `deploy/kubernetes/admission.yaml` asks of an order's pods, said again: fast enough to be tried a million times.

#![expect(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use serde_json::Value;

/// A rule by the words of the policy, and what it asks of a pod's template.
type Rule = (&'static str, fn(&Value) -> bool);

/// Which host ports a region hands out is known to the ledger alone: here they are only ports.
const RULES: [Rule; 11] = [
    ("no namespace of the host", |pod| {
        ["hostNetwork", "hostPID", "hostIPC"].iter().all(|name| !is_true(&pod["spec"][name]))
    }),
    ("a host port is one of the region's, on all addresses (config map vkube-admission)", |pod| {
        ports(pod).all(|port| {
            port["hostPort"].is_null() || port["hostPort"].as_u64().is_some_and(|port| (1..=65_535).contains(&port))
        })
    }),
    ("a host port is open on all addresses", |pod| ports(pod).all(|port| port["hostIP"].is_null())),
    ("volumes are config maps, secrets, claims and empty folders", |pod| {
        let known = ["configMap", "secret", "persistentVolumeClaim", "emptyDir"];
        list(&pod["spec"]["volumes"]).all(|volume| known.iter().any(|kind| volume[kind].is_object()))
    }),
    ("no container is privileged, or may become so", |pod| {
        security(pod).all(|security| !is_true(&security["privileged"]) && security["allowPrivilegeEscalation"] == false)
    }),
    (
        "no capability beside CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, NET_BIND_SERVICE, SETGID, SETUID and SYS_CHROOT",
        |pod| {
            let known = [
                "CHOWN",
                "DAC_OVERRIDE",
                "FOWNER",
                "FSETID",
                "KILL",
                "NET_BIND_SERVICE",
                "SETGID",
                "SETUID",
                "SYS_CHROOT",
            ];
            security(pod).all(|security| {
                let added = list(&security["capabilities"]["add"]);
                added.into_iter().all(|name| name.as_str().is_some_and(|name| known.contains(&name)))
            })
        },
    ),
    ("the runtime's own seccomp and AppArmor profiles hold", |pod| {
        pod["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
            && security(pod)
                .all(|security| security["seccompProfile"].is_null() && security["appArmorProfile"].is_null())
    }),
    ("/proc is masked, no sysctl is set, and no SELinux or Windows option", |pod| {
        let plain = |context: &Value| {
            ["procMount", "sysctls", "seLinuxOptions", "windowsOptions"].iter().all(|name| context[name].is_null())
        };
        security(pod).all(plain) && plain(&pod["spec"]["securityContext"])
    }),
    ("no token of a service account (automountServiceAccountToken is false)", |pod| {
        pod["spec"]["automountServiceAccountToken"] == false
    }),
    ("each container has limits of memory and ephemeral-storage", |pod| {
        containers(pod).all(|container| {
            let limits = &container["resources"]["limits"];
            limits["memory"].is_string() && limits["ephemeral-storage"].is_string()
        })
    }),
    ("the scheduler chooses a node of the region (nodeSelector), as for every pod", |pod| {
        let spec = &pod["spec"];
        spec["nodeSelector"]["region"] == "ausrine"
            && ["nodeName", "tolerations", "priorityClassName", "initContainers", "ephemeralContainers"]
                .iter()
                .all(|name| spec[name].is_null())
    }),
];

/// The template passes every rule.
///
/// # Panics
/// Where it does not.
pub(super) fn admits(template: &Value) {
    for (words, rule) in RULES {
        assert!(rule(template), "{words}: {template}");
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["spec"]["containers"])
}

fn security(pod: &Value) -> impl Iterator<Item = &Value> {
    containers(pod).map(|container| &container["securityContext"])
}

fn ports(pod: &Value) -> impl Iterator<Item = &Value> {
    containers(pod).flat_map(|container| list(&container["ports"]))
}

fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true)
}

#[cfg(test)]
mod tests {
    use super::RULES;

    #[test]
    fn these_are_the_rules_of_the_policy() {
        let policies = include_str!("../../../../deploy/kubernetes/admission.yaml");
        let (_, policy) = policies.split_once("name: vkube-order-pods\n").unwrap();
        let (policy, _) = policy.split_once("\n---\n").unwrap();
        let messages = policy.lines().filter_map(|line| line.trim_start().strip_prefix("- message: "));
        assert_eq!(messages.collect::<Vec<_>>(), RULES.map(|(words, _)| words));
    }
}
