//! What `docker-compose.yml` makes when it starts: who its parts are to NATS.

use std::path::Path;

use anyhow::{Result, ensure};
use async_nats::ConnectOptions;
use e2e::process::{Process, free_port};
use e2e::test::test;
use tokio::process::Command;

/// The region of `docker-compose.yml`.
const REGION: &str = "ausrine";

/// As its service `identities` does.
async fn make(api: &Path, folder: &Path) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new("sh");
    command.arg(root.join("dev/compose/identities.sh")).arg(api).arg(folder).arg(root.join("deploy/nats/nats.conf"));
    let output = command.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn what_compose_makes_lets_its_api_and_its_worker_in_and_nobody_else() -> Result<()> {
    test(async |t| {
        let system = t.empty_system(REGION).await?;
        let folder = system.folder().join("compose");
        for part in ["nats", "api", "worker"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        make(&t.stack.api_binary, &folder).await?;
        let key = std::fs::read_to_string(folder.join("api/nats.nk"))?;
        make(&t.stack.api_binary, &folder).await?;
        assert_eq!(std::fs::read_to_string(folder.join("api/nats.nk"))?, key, "a second start makes no other key");

        // There it is in /etc/nats and has its data in /data; what comes last holds.
        let (port, monitor_port) = (free_port()?, free_port()?);
        let (nats, data) = (folder.join("nats"), folder.join("data"));
        let (config, shown) = (nats.join("here.conf"), nats.display());
        let text = format!(
            "include \"nats.conf\"\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor_port}\"\n\
             jetstream {{ store_dir: {data:?}, sync_interval: always }}\n\
             tls {{ cert_file: \"{shown}/tls.crt\", key_file: \"{shown}/tls.key\" }}\n"
        );
        std::fs::write(&config, text)?;
        let log = folder.join("nats.log");
        let _server =
            Process::start("nats-server", &t.stack.nats_server, &["-c", &config.display().to_string()], &[], &log)?;

        let url = format!("tls://127.0.0.1:{port}");
        let file = |part: &str, name: &str| folder.join(part).join(name).display().to_string();
        let (api_key, worker_key, ca) = (file("api", "nats.nk"), file("worker", "nats.nk"), file("api", "ca.crt"));
        let login =
            |key| [("VKUBE_NATS_URL", url.as_str()), ("VKUBE_NATS_NKEY_FILE", key), ("VKUBE_NATS_CA_FILE", &ca)];
        let _api = system.new_api(&login(&api_key)).await?;
        let mut worker = system.new_worker(&login(&worker_key))?;
        worker.ready().await?;
        let stranger = ConnectOptions::new().add_root_certificates(ca.clone().into()).require_tls(true);
        assert!(stranger.connect(&url).await.is_err(), "whoever says nothing of himself is let in");
        Ok(())
    })
}
