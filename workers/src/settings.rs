//! What an operator tells a worker: one table of variables and flags, read into final types, every wrong one named at
//! once.

mod kubelet;
mod pod;

pub use kubelet::KubeletSettings;
pub use pod::{Cidr, IngressSettings, PodSettings};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use common::login::{self, Login};
use common::name::RegionCode;
use common::port::PortRange;
use common::sealed::KeyRing;
use common::settings::{Reader, Setting, SettingsError};
use common::telemetry::TelemetrySettings;

const REGION: Setting = Setting::without_default(
    "VKUBE_REGION",
    "The code of the region whose pods this worker runs, such as ausrine. Must be set.",
);
const HEALTH_LISTEN: Setting =
    Setting::new("VKUBE_HEALTH_LISTEN", "127.0.0.1:8081", "The address that answers /healthz and /readyz.");
const KUBECONFIG: Setting = Setting::without_default(
    "VKUBE_KUBE_KUBECONFIG",
    "The kubeconfig file; none = $KUBECONFIG, ~/.kube/config, or the pod's own service account.",
);
const NAMESPACE: Setting = Setting::new(
    "VKUBE_KUBE_NAMESPACE",
    "vkube-system",
    "The worker's own namespace, which must exist: the fences of the orders are kept there.",
);
const SEAL_PRIVATE_KEY_FILES: Setting = Setting::without_default(
    "VKUBE_SEAL_PRIVATE_KEY_FILES",
    "Files with the region's X25519 private keys in hex, divided by commas; the first is announced, all of them open. Must be set.",
);
const JOB_CONCURRENCY: Setting = Setting::new(
    "VKUBE_JOB_CONCURRENCY",
    "4",
    "How many jobs are in work at once, 1 to 64; those that only wait for a pod do not count, 16 times as many at most.",
);
const READ_CONCURRENCY: Setting =
    Setting::new("VKUBE_READ_CONCURRENCY", "16", "How many reads are answered at once, 1 to 256.");
const LOG_FOLLOWS: Setting = Setting::new(
    "VKUBE_LOG_FOLLOWS",
    "512",
    "How many logs are followed at once, 1 to 4096, each a connection to the apiserver; further ones are read in pages.",
);
const PORTS_RANDOM_RANGE: Setting =
    Setting::new("VKUBE_PORTS_RANDOM_RANGE", "20000-29999", "Where the region's assigned host ports come from.");
const PORTS_DENY: Setting = Setting::new(
    "VKUBE_PORTS_DENY",
    "22,111,2379-2380,6443,9100,10010,10248-10259",
    "Host ports, single or in ranges, that no pod ever gets; the node ports 30000-32767 are always among them.",
);
const PORTS_SCAN_HOST: Setting = Setting::new(
    "VKUBE_PORTS_SCAN_HOST",
    "false",
    "Whether ports on which processes of this machine listen count as taken: true where the worker runs on the region's only node.",
);
const ROLLOUT_TIMEOUT: Setting = Setting::new(
    "VKUBE_JOB_ROLLOUT_TIMEOUT_SECONDS",
    "300",
    "How long a job waits for its pod to be made, to be ready or to be gone, in seconds, 30 to 3600.",
);
const SHUTDOWN_GRACE: Setting = Setting::new(
    "VKUBE_SHUTDOWN_GRACE_SECONDS",
    "20",
    "How long work in flight may take to finish after SIGTERM, in seconds, 1 to 600; the process is gone 9 s later at most.",
);

/// All that a worker is told.
#[derive(Debug)]
pub struct Settings {
    /// Whose pods it runs.
    pub region: RegionCode,
    /// Where the broker is.
    pub nats: Login,
    /// Where its health is told.
    pub health_listen: SocketAddr,
    /// Where the cluster is.
    pub cluster: ClusterSettings,
    /// What opens the region's sealed values.
    pub keys: KeyRing,
    /// How much it does at once, and how long it waits.
    pub work: WorkSettings,
    /// Which host ports there are.
    pub ports: PortSettings,
    /// What all pods have in common.
    pub pods: PodSettings,
}

/// Where the cluster is.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// None = found where kubectl or a pod finds it.
    pub kubeconfig: Option<PathBuf>,
    /// The worker's own namespace.
    pub namespace: String,
    /// How figures of use are asked for.
    pub kubelet: KubeletSettings,
}

/// How much is done at once, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct WorkSettings {
    /// Jobs at once.
    pub jobs: usize,
    /// Reads at once.
    pub reads: usize,
    /// Logs followed at once.
    pub follows: usize,
    /// How long a job waits for what the cluster does.
    pub rollout_timeout: Duration,
    /// How long work in flight may take at the end.
    pub shutdown_grace: Duration,
}

/// Which host ports there are.
#[derive(Debug, Clone)]
pub struct PortSettings {
    /// Where assigned ports come from.
    pub random: PortRange,
    /// Never handed out; node ports included.
    pub denied: Vec<PortRange>,
    /// Whether this machine's own listeners count.
    pub scan_host: bool,
}

impl Settings {
    /// Every setting, for `--help` and the documentation's table.
    pub fn all() -> Vec<Setting> {
        let own = [
            REGION,
            login::URL,
            login::NKEY_FILE,
            login::CREDENTIALS_FILE,
            login::CA_FILE,
            HEALTH_LISTEN,
            KUBECONFIG,
            NAMESPACE,
            SEAL_PRIVATE_KEY_FILES,
            JOB_CONCURRENCY,
            READ_CONCURRENCY,
            LOG_FOLLOWS,
            ROLLOUT_TIMEOUT,
            SHUTDOWN_GRACE,
            PORTS_RANDOM_RANGE,
            PORTS_DENY,
            PORTS_SCAN_HOST,
        ];
        own.into_iter().chain(PodSettings::ALL).chain(KubeletSettings::ALL).chain(TelemetrySettings::ALL).collect()
    }

    /// The one setting that the health check needs.
    pub fn health_listen(given: &BTreeMap<&'static str, String>) -> Result<SocketAddr, SettingsError> {
        let mut read = Reader::new(given);
        let listen = read.required(&HEALTH_LISTEN);
        read.finish(listen)
    }

    /// The region's keys, a line each: the id, which `vkube-api region-keys` lists too, and the place among the files.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub fn key_table(given: &BTreeMap<&'static str, String>) -> Result<String, SettingsError> {
        let mut read = Reader::new(given);
        let keys = read.required_with(&SEAL_PRIVATE_KEY_FILES, read_keys);
        let line = |(index, id)| {
            let announced = if index == 0 { ", announced" } else { "" };
            format!("{id}  file {} of {}{announced}\n", index + 1, SEAL_PRIVATE_KEY_FILES.variable)
        };
        read.finish(keys.map(|keys| keys.ids().enumerate().map(line).collect()))
    }

    /// Reads all settings, and how to log.
    ///
    /// # Errors
    /// Names every setting that is wrong.
    pub fn read(given: &BTreeMap<&'static str, String>) -> Result<(Self, TelemetrySettings), SettingsError> {
        let mut read = Reader::new(given);
        let region = read.required(&REGION);
        let nats = Login::read(&mut read);
        let health_listen = read.required(&HEALTH_LISTEN);
        let kubeconfig = read.file(&KUBECONFIG);
        let namespace = read.required(&NAMESPACE);
        let kubelet = KubeletSettings::read(&mut read);
        let keys = read.required_with(&SEAL_PRIVATE_KEY_FILES, read_keys);
        let work = read_work(&mut read);
        let ports = read_ports(&mut read);
        let pods = PodSettings::read(&mut read, work.map(|work| work.rollout_timeout));
        let telemetry = TelemetrySettings::read(&mut read);
        let all = (|| {
            let cluster = ClusterSettings { kubeconfig, namespace: namespace?, kubelet: kubelet? };
            let (health_listen, work, ports, pods) = (health_listen?, work?, ports?, pods?);
            let settings =
                Self { region: region?, nats: nats?, health_listen, cluster, keys: keys?, work, ports, pods };
            Some((settings, telemetry?))
        })();
        read.finish(all)
    }
}

fn read_work(read: &mut Reader<'_>) -> Option<WorkSettings> {
    let jobs = read.number(&JOB_CONCURRENCY, 1..=64);
    let reads = read.number(&READ_CONCURRENCY, 1..=256);
    let follows = read.number(&LOG_FOLLOWS, 1..=4096);
    let rollout_timeout = read.number(&ROLLOUT_TIMEOUT, 30..=3600);
    let shutdown_grace = read.number(&SHUTDOWN_GRACE, 1..=600);
    Some(WorkSettings {
        jobs: usize::try_from(jobs?).ok()?,
        reads: usize::try_from(reads?).ok()?,
        follows: usize::try_from(follows?).ok()?,
        rollout_timeout: Duration::from_secs(rollout_timeout?),
        shutdown_grace: Duration::from_secs(shutdown_grace?),
    })
}

fn read_ports(read: &mut Reader<'_>) -> Option<PortSettings> {
    let random = read.required(&PORTS_RANDOM_RANGE);
    let mut denied: Vec<PortRange> = read.list(&PORTS_DENY);
    denied.extend("30000-32767".parse::<PortRange>());
    let scan_host = read.required_with(&PORTS_SCAN_HOST, |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    });
    Some(PortSettings { random: random?, denied, scan_host: scan_host? })
}

fn read_keys(files: &str) -> Result<KeyRing, String> {
    let read = |file: &str| std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    let keys = files.split(',').map(str::trim).filter(|file| !file.is_empty()).map(read);
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    KeyRing::from_hex(keys.iter().map(|key| key.trim())).map_err(|error| format!("{error}, in hex"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(values: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
        values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let given = given(&[
            ("VKUBE_REGION", "Not A Code"),
            ("VKUBE_NATS_URL", "nats://anna:hunter2@[oops"),
            ("VKUBE_NATS_CREDENTIALS_FILE", "/nowhere/creds"),
            ("VKUBE_KUBE_KUBECONFIG", "/nowhere/config"),
            ("VKUBE_KUBELET_TOKEN_FILE", "/nowhere/token"),
            ("VKUBE_KUBELET_PORT", "0"),
            ("VKUBE_SEAL_PRIVATE_KEY_FILES", "/nowhere/key"),
            ("VKUBE_JOB_CONCURRENCY", "0"),
            ("VKUBE_PORTS_DENY", "9-8"),
            ("VKUBE_PORTS_SCAN_HOST", "perhaps"),
            ("VKUBE_POD_EGRESS_DENY", "10.0.0.0/33"),
        ]);
        let error = Settings::read(&given).unwrap_err().to_string();
        for name in given.keys() {
            assert!(error.contains(name), "{name} is missing in: {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_documented_table_is_this_table() {
        let documented = include_str!("../../docs/SETTINGS.md");
        assert!(documented.contains(&common::settings::table(&Settings::all())), "stale: see vkube-worker settings");
    }

    #[test]
    fn defaults_need_only_a_region_and_a_key() {
        let file = std::env::temp_dir().join(format!("vkube-worker-key-{}", std::process::id()));
        std::fs::write(&file, "01".repeat(32) + "\n").unwrap();
        let given = given(&[("VKUBE_REGION", "ausrine"), ("VKUBE_SEAL_PRIVATE_KEY_FILES", file.to_str().unwrap())]);
        let (settings, _) = Settings::read(&given).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(settings.ports.random.to_string(), "20000-29999");
        assert!(settings.ports.denied.iter().any(|range| range.contains(30_080.try_into().unwrap())));
        assert!(u64::from(settings.pods.progress_deadline_seconds) < settings.work.rollout_timeout.as_secs());
    }
}
