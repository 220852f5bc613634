//! The stack that the tests run in (`dev/stack`): what it is called and where its servers are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, ensure};
use common::name::RegionCode;
use common::settings::{Reader, Setting};
use tokio::process::Command;
use tokio::sync::OnceCell;

const REGION: Setting = Setting::without_default("VKUBE_E2E_REGION", "The label `region` of the cluster's node.");
const DATABASE_URL: Setting = Setting::without_default("VKUBE_E2E_DATABASE_URL", "PostgreSQL, as its superuser.");
const NATS_SERVER: Setting = Setting::without_default("VKUBE_E2E_NATS_SERVER", "The program nats-server.");
const KUBECONFIG: Setting = Setting::without_default("VKUBE_E2E_KUBECONFIG", "The cluster, as its administrator.");
const NODE_ADDRESS: Setting = Setting::without_default("VKUBE_E2E_NODE_ADDRESS", "The address of the cluster's node.");
const REGISTRY: Setting = Setting::without_default("VKUBE_E2E_REGISTRY", "The registry that stands in for Docker Hub.");
const PRIVATE_REGISTRY: Setting = Setting::without_default("VKUBE_E2E_PRIVATE_REGISTRY", "A registry with a login.");
const PRIVATE_USERNAME: Setting = Setting::without_default("VKUBE_E2E_PRIVATE_REGISTRY_USERNAME", "Who logs in there.");
const PRIVATE_PASSWORD: Setting = Setting::without_default("VKUBE_E2E_PRIVATE_REGISTRY_PASSWORD", "And the password.");
const AUDIT_LOG: Setting = Setting::without_default("VKUBE_E2E_AUDIT_LOG", "The API server's log of all requests.");
const LOGS: Setting = Setting::without_default("VKUBE_E2E_LOGS", "A folder for logs.");
const API_BINARY: Setting = Setting::without_default("VKUBE_E2E_API_BINARY", "The api to test.");
const WORKER_BINARY: Setting = Setting::without_default("VKUBE_E2E_WORKER_BINARY", "The worker to test.");
const CLI_BINARY: Setting = Setting::without_default("VKUBE_E2E_CLI_BINARY", "The command vkube to test.");
const CONTROL: Setting = Setting::without_default("VKUBE_E2E_CONTROL", "The command that starts and stops servers.");

const ALL: [Setting; 15] = [
    REGION,
    NATS_SERVER,
    DATABASE_URL,
    KUBECONFIG,
    NODE_ADDRESS,
    REGISTRY,
    PRIVATE_REGISTRY,
    PRIVATE_USERNAME,
    PRIVATE_PASSWORD,
    AUDIT_LOG,
    LOGS,
    API_BINARY,
    WORKER_BINARY,
    CLI_BINARY,
    CONTROL,
];

/// Where everything is.
#[derive(Debug)]
pub struct Stack {
    /// The label `region` of the cluster's node: pods of other regions stay pending.
    pub region: RegionCode,
    /// PostgreSQL, as its superuser.
    pub database_url: String,
    /// The program `nats-server`: each system of the tests starts one of its own.
    pub nats_server: PathBuf,
    /// The cluster, as its administrator.
    pub kubeconfig: PathBuf,
    /// The address of the cluster's node.
    pub node_address: String,
    /// The registry that stands in for Docker Hub: `host:port`.
    pub registry: String,
    /// A registry with a login: `host:port`.
    pub private_registry: String,
    /// Who logs in there.
    pub private_username: String,
    /// And the password.
    pub private_password: String,
    /// The API server's log of all requests.
    pub audit_log: PathBuf,
    /// A folder of this run, for logs and data.
    pub folder: PathBuf,
    /// The api to test.
    pub api_binary: PathBuf,
    /// The worker to test.
    pub worker_binary: PathBuf,
    /// The command `vkube` to test.
    pub cli_binary: PathBuf,
    control: PathBuf,
}

impl Stack {
    /// The stack that this process runs in.
    pub fn get() -> Result<&'static Self> {
        static STACK: LazyLock<Result<Stack, String>> = LazyLock::new(|| Stack::read().map_err(|e| format!("{e:#}")));
        STACK.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn read() -> Result<Self> {
        let variable = |setting: &Setting| Some((setting.variable, std::env::var_os(setting.variable)?));
        let text = |(name, value): (&'static str, std::ffi::OsString)| Some((name, value.into_string().ok()?));
        let given: BTreeMap<_, _> = ALL.iter().filter_map(variable).filter_map(text).collect();
        let mut read = Reader::new(&given);
        let region = read.required(&REGION);
        let database_url = read.required(&DATABASE_URL);
        let nats_server = read.required(&NATS_SERVER);
        let kubeconfig = read.required(&KUBECONFIG);
        let node_address = read.required(&NODE_ADDRESS);
        let registry = read.required(&REGISTRY);
        let private_registry = read.required(&PRIVATE_REGISTRY);
        let private_username = read.required(&PRIVATE_USERNAME);
        let private_password = read.required(&PRIVATE_PASSWORD);
        let audit_log = read.required(&AUDIT_LOG);
        let logs = read.required::<PathBuf>(&LOGS);
        let api_binary = read.required(&API_BINARY);
        let worker_binary = read.required(&WORKER_BINARY);
        let cli_binary = read.required(&CLI_BINARY);
        let control = read.required(&CONTROL);
        let build = || {
            Some(Self {
                region: region?,
                database_url: database_url?,
                nats_server: nats_server?,
                kubeconfig: kubeconfig?,
                node_address: node_address?,
                registry: registry?,
                private_registry: private_registry?,
                private_username: private_username?,
                private_password: private_password?,
                audit_log: audit_log?,
                folder: logs?.join("e2e"),
                api_binary: api_binary?,
                worker_binary: worker_binary?,
                cli_binary: cli_binary?,
                control: control?,
            })
        };
        let stack = build();
        let stack = read.finish(stack).map_err(|problems| anyhow::anyhow!("{problems}")).context(
            "these tests need real servers: run dev/test, or dev/stack/test-stack up and then dev/stack/test-stack exec -- COMMAND",
        )?;
        for binary in [&stack.api_binary, &stack.worker_binary, &stack.cli_binary] {
            ensure!(binary.is_file(), "{} is not there: run cargo build --bins", binary.display());
        }
        Ok(stack)
    }

    /// Runs the stack's control command, such as `restart apiserver`, and returns what it printed.
    pub async fn control(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.control).args(arguments).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let problem = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} {arguments:?}: {text} {problem}", self.control.display());
        Ok(text)
    }

    /// A token that may ask the kubelet what its pods use, and nothing else.
    pub async fn kubelet_token(&self) -> Result<&'static str> {
        static TOKEN: OnceCell<String> = OnceCell::const_new();
        Ok(TOKEN.get_or_try_init(|| self.control(&["kubelet-token"])).await?)
    }

    /// The kubeconfig of a worker: the cluster as a service account that may do what workers need (`deploy/kubernetes`).
    pub async fn worker_kubeconfig(&self) -> Result<&'static Path> {
        static FILE: OnceCell<PathBuf> = OnceCell::const_new();
        let written = async || {
            let file = self.folder.join("worker-kubeconfig.yaml");
            std::fs::create_dir_all(&self.folder)?;
            std::fs::write(&file, self.control(&["worker-kubeconfig"]).await?)?;
            Ok::<_, anyhow::Error>(file)
        };
        FILE.get_or_try_init(written).await.map(PathBuf::as_path)
    }

    /// The program that a server of the stack runs.
    pub async fn program(&self, server: &str) -> Result<PathBuf> {
        let pid = self.control(&["pid", server]).await?;
        std::fs::read_link(format!("/proc/{pid}/exe")).with_context(|| format!("the stack's {server} does not run"))
    }
}
