//! The Deployment: one replica, none while the order is stopped, replaced whole (`Recreate`), since neither a host port nor a volume can be held twice.

use std::collections::{BTreeMap, BTreeSet};

use common::job::{Run, Target};
use common::name::RegionCode;
use common::pod::{Container, Pod, Port, Storage};
use common::quantity::Memory;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container as KubeContainer, ContainerPort, EnvVar, EnvVarSource,
    LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::Value;

use super::objects::{SINGLE, VOLUME, config_name};
use super::secrets::{environment_key, environment_name, login_name};
use crate::kubernetes::{
    ANNOTATION_JOB, ANNOTATION_REVISION, FIELD_MANAGER, Identity, Kind, LABEL_MANAGED_BY, LABEL_NAME, LABEL_ORDER,
    LABEL_PART_OF, Manifest, ObjectName,
};
use crate::settings::PodSettings;

/// Scratch space that a container may fill, for each Gi of its memory.
const SCRATCH_GI_PER_GI: u64 = 4;
/// How long all containers must have run for the pod to be available: what fails at its start has failed by then.
const MIN_READY_SECONDS: i32 = 2;
const GI: u64 = 1 << 30;
/// What a process of root's may do: what images need that begin as root, take care of their files and go on as somebody else.
/// Not MKNOD, `NET_RAW`, SETFCAP, SETPCAP and `AUDIT_WRITE`, which container runtimes give unless they are told otherwise.
/// `deploy/kubernetes/admission.yaml` allows no others.
const CAPABILITIES: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT"];

/// The order's Deployment.
pub(super) fn deployment(by: &Identity, target: &Target, region: &RegionCode, settings: &PodSettings) -> Manifest {
    let pod = &target.pod;
    let selector = BTreeMap::from([(LABEL_ORDER.to_owned(), by.order.to_string())]);
    let labels = [
        (LABEL_ORDER, by.order.as_str()),
        (LABEL_NAME, by.order.as_str()),
        (LABEL_PART_OF, "vkube"),
        (LABEL_MANAGED_BY, FIELD_MANAGER),
    ];
    let annotations = [
        (ANNOTATION_REVISION, by.revision.to_string()),
        (ANNOTATION_JOB, target.pod_job.unwrap_or(by.job).to_string()),
        ("kubernetes.io/ingress-bandwidth", "1024M".to_owned()),
        ("kubernetes.io/egress-bandwidth", "1024M".to_owned()),
    ];
    let metadata = ObjectMeta {
        labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
        annotations: Some(annotations.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ..ObjectMeta::default()
    };
    let spec = DeploymentSpec {
        replicas: Some(match target.run {
            Run::Running => 1,
            Run::Stopped => 0,
        }),
        revision_history_limit: Some(0),
        min_ready_seconds: Some(MIN_READY_SECONDS),
        progress_deadline_seconds: Some(i32::from(settings.progress_deadline_seconds)),
        selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
        strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), ..DeploymentStrategy::default() }),
        template: PodTemplateSpec { metadata: Some(metadata), spec: Some(pod_spec(by, pod, region, settings)) },
        ..DeploymentSpec::default()
    };
    let deployment = Deployment { spec: Some(spec), ..Deployment::default() };
    Manifest::new(Kind::Deployment, by.order.as_str(), &deployment, by)
}

fn pod_spec(by: &Identity, pod: &Pod, region: &RegionCode, settings: &PodSettings) -> PodSpec {
    let logins = pod.containers.iter().enumerate().filter(|(_, container)| container.login.is_some());
    let logins: Vec<_> = logins.map(|(position, _)| LocalObjectReference { name: login_name(by, position) }).collect();
    let volumes = volumes(by, pod);
    PodSpec {
        node_selector: Some(BTreeMap::from([("region".to_owned(), region.to_string())])),
        containers: pod.containers.iter().map(|container| kube_container(by, container, pod.storage)).collect(),
        volumes: (!volumes.is_empty()).then_some(volumes),
        image_pull_secrets: (!logins.is_empty()).then_some(logins),
        service_account_name: Some(SINGLE.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        dns_policy: Some("Default".to_owned()),
        restart_policy: Some("Always".to_owned()),
        termination_grace_period_seconds: Some(i64::from(settings.termination_grace_seconds)),
        runtime_class_name: settings.runtime_class.clone(),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

fn volumes(by: &Identity, pod: &Pod) -> Vec<Volume> {
    let mut volumes = Vec::new();
    if pod.storage == Storage::Persistent {
        let source = PersistentVolumeClaimVolumeSource { claim_name: VOLUME.to_owned(), read_only: None };
        let claim = Some(source);
        volumes.push(Volume { name: VOLUME.to_owned(), persistent_volume_claim: claim, ..Volume::default() });
    }
    if pod.containers.iter().any(|container| container.config.is_some()) {
        let source = ConfigMapVolumeSource { name: config_name(by), ..ConfigMapVolumeSource::default() };
        volumes.push(Volume { name: "config".to_owned(), config_map: Some(source), ..Volume::default() });
    }
    volumes
}

fn kube_container(by: &Identity, container: &Container, storage: Storage) -> KubeContainer {
    let ports: Vec<_> = container.ports.iter().copied().map(kube_port).collect();
    let environment: Vec<_> = variables(by, container);
    let mounts = mounts(container, storage);
    KubeContainer {
        name: container.name.to_string(),
        image: Some(container.image.to_string()),
        image_pull_policy: Some("Always".to_owned()),
        command: literal(&container.command),
        args: literal(&container.args),
        ports: (!ports.is_empty()).then_some(ports),
        env: (!environment.is_empty()).then_some(environment),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        resources: Some(resources(container.memory)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            privileged: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            }),
            ..SecurityContext::default()
        }),
        ..KubeContainer::default()
    }
}

fn kube_port(port: Port) -> ContainerPort {
    ContainerPort {
        container_port: i32::from(port.container_port.get()),
        host_port: port.host_port.map(|port| i32::from(port.get())),
        protocol: Some(port.protocol.as_str().to_owned()),
        ..ContainerPort::default()
    }
}

fn variables(by: &Identity, container: &Container) -> Vec<EnvVar> {
    let variable = |(position, variable): (usize, &common::pod::Variable)| {
        let selector = SecretKeySelector {
            name: environment_name(by),
            key: environment_key(container, position, variable.name.as_str()),
            optional: None,
        };
        EnvVar {
            name: variable.name.as_str().to_owned(),
            value_from: Some(EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() }),
            ..EnvVar::default()
        }
    };
    container.environment.iter().enumerate().map(variable).collect()
}

fn mounts(container: &Container, storage: Storage) -> Vec<VolumeMount> {
    let path = container.mount_path.as_ref().filter(|_| storage == Storage::Persistent);
    let volume = path.map(|path| VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: path.to_string(),
        ..VolumeMount::default()
    });
    let config = container.config.as_ref().map(|file| VolumeMount {
        name: "config".to_owned(),
        mount_path: file.path.to_string(),
        sub_path: Some(container.name.to_string()),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    volume.into_iter().chain(config).collect()
}

/// Memory request = limit, a CPU request without limit (`wire.md` §4), and a bound on scratch space.
fn resources(memory: Memory) -> ResourceRequirements {
    let scratch = (memory.bytes() * SCRATCH_GI_PER_GI).div_ceil(GI).max(1);
    let quantities = |list: &[(&str, String)]| {
        Some(list.iter().map(|(resource, amount)| ((*resource).to_owned(), Quantity(amount.clone()))).collect())
    };
    ResourceRequirements {
        requests: quantities(&[
            ("cpu", format!("{}m", memory.cpu_millis())),
            ("memory", memory.to_string()),
            ("ephemeral-storage", "64Mi".to_owned()),
        ]),
        limits: quantities(&[("memory", memory.to_string()), ("ephemeral-storage", format!("{scratch}Gi"))]),
        ..ResourceRequirements::default()
    }
}

/// A command or its arguments, so that the process gets each as the customer wrote it.
fn literal(words: &[String]) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.iter().map(|word| escape(word)).collect())
}

/// Kubernetes replaces `$(NAME)` in a command by the variable's value and `$$` by `$`. Doubling each `$` that begins
/// either keeps the text as it was written: a shell's `$(date)` and `$$` work as they do anywhere else.
fn escape(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        let after = from.trim_start_matches('$');
        let run = from.len() - after.len();
        let times = if run > 1 || after.starts_with('(') { 2 * run } else { run };
        escaped.push_str(before);
        escaped.extend(std::iter::repeat_n('$', times));
        rest = after;
    }
    escaped.push_str(rest);
    escaped
}

/// The config maps and Secrets that a Deployment's template uses.
pub fn references(deployment: &Value) -> BTreeSet<ObjectName> {
    let array = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let spec = deployment.pointer("/spec/template/spec").cloned().unwrap_or_default();
    let logins = array(&spec, "imagePullSecrets").into_iter().filter_map(|login| text(&login, "/name"));
    let maps = array(&spec, "volumes").into_iter().filter_map(|volume| text(&volume, "/configMap/name"));
    let containers = array(&spec, "containers");
    let variables = containers.iter().flat_map(|container| array(container, "env"));
    let values = variables.filter_map(|variable| text(&variable, "/valueFrom/secretKeyRef/name"));
    let secrets = logins.chain(values).map(|name| (Kind::Secret, name));
    secrets.chain(maps.map(|name| (Kind::ConfigMap, name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kubernetes makes of a word of a command, with a variable `A` that is `1` (its `expansion.Expand`).
    fn expanded(word: &str) -> String {
        let (mut out, mut rest) = (String::new(), word);
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let after = &from[1..];
            if let Some(tail) = after.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                let unknown = format!("$({name})");
                out.push_str(if name == "A" { "1" } else { &unknown });
                rest = tail;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        out
    }

    proptest::proptest! {
        #[test]
        fn a_command_reaches_the_process_as_it_was_written(word in "[$()A ]{0,12}") {
            proptest::prop_assert_eq!(expanded(&escape(&word)), word);
        }
    }

    #[test]
    fn only_what_kubernetes_would_change_is_escaped() {
        for (word, written) in [
            ("tail -f /dev/null", "tail -f /dev/null"),
            ("$HOME", "$HOME"),
            ("echo $(date)", "echo $$(date)"),
            ("kill $$", "kill $$$$"),
            ("$", "$"),
        ] {
            assert_eq!(escape(word), written);
        }
    }
}
