//! Whom api and worker sign in at.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use async_nats::ConnectOptions;
use common::login::{Login, URL};
use common::settings::Reader;
use e2e::nats::Identity;
use e2e::process::{Process, free_port, tail};
use e2e::test::test;
use e2e::until::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{ANSWERS_WITHIN, ENDS_WITHIN, OWN};

/// What a server says first, in clear whether or not it speaks TLS.
const INFO: &[u8] =
    b"INFO {\"server_id\":\"x\",\"version\":\"2.15.0\",\"host\":\"127.0.0.1\",\"port\":4222,\"max_payload\":1048576,\
    \"proto\":1,\"headers\":true,\"jetstream\":true}\r\n";
/// The first byte of a TLS handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

#[test]
fn a_server_that_another_tells_of_is_spoken_to_by_tls_alone() -> Result<()> {
    test(async |t| {
        let system = t.empty_system(OWN).await?;
        let [_, _, (_, certificate)] = system.nats.login(Identity::Api);
        let key = certificate.replace(".crt", ".key");
        // Whoever is on the network can be at an address that a server tells of.
        let other = TcpListener::bind("127.0.0.1:0").await?;
        let told = other.local_addr()?.to_string();
        let (port, route) = (free_port()?, free_port()?);
        let start = |name: &str, port: u16, cluster: String| {
            let config = system.folder().join(format!("{name}.conf"));
            let text = format!(
                "listen: \"127.0.0.1:{port}\"\n{cluster}\nauthorization {{ user: a, password: b }}\n\
                 tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}\n"
            );
            std::fs::write(&config, text)?;
            let (arguments, log) = (["-c", &config.display().to_string()], system.folder().join(format!("{name}.log")));
            Process::start(name, &t.stack.nats_server, &arguments, &[], &log)
        };
        let cluster = format!("cluster {{ name: tls, listen: \"127.0.0.1:{route}\" }}\nclient_advertise: \"{told}\"");
        let mut second = start("second", free_port()?, cluster)?;
        let cluster = format!(
            "cluster {{ name: tls, listen: \"127.0.0.1:{}\", routes: [\"nats://127.0.0.1:{route}\"] }}",
            free_port()?
        );
        let mut first = start("first", port, cluster)?;

        let given = BTreeMap::from([(URL.variable, format!("tls://a:b@127.0.0.1:{port}"))]);
        let login = Login::read(&mut Reader::new(&given)).context("a login")?;
        let options = ConnectOptions::new().add_root_certificates(certificate.clone().into());
        let options = login.sign_in(options).await?;
        let _client = until("the first tells of the second", ANSWERS_WITHIN, async || {
            let client = options.clone().connect(login.servers()).await.ok();
            Ok(client.filter(|client| client.server_info().connect_urls.contains(&told)))
        })
        .await?;
        first.kill().await?;
        second.kill().await?;
        let (mut connection, _) = timeout(ANSWERS_WITHIN, other.accept()).await.context("it comes to the other")??;
        connection.write_all(INFO).await?;
        assert_eq!(timeout(ANSWERS_WITHIN, connection.read_u8()).await??, HANDSHAKE, "it speaks in clear");
        Ok(())
    })
}

#[test]
fn a_server_with_a_strangers_certificate_is_not_signed_in_at() -> Result<()> {
    test(async |t| {
        let system = t.empty_system(OWN).await?;
        let other = t.empty_system(OWN).await?;
        let [_, _, ca] = other.nats.login(Identity::Api);
        let settings = [(ca.0, ca.1.as_str()), ("VKUBE_NATS_CONNECT_TIMEOUT_MS", "2000")];
        let (mut api, mut worker) = (system.spawn_api(&settings)?, system.new_worker(&settings)?);
        // An api gives up; a worker goes on, as somebody may put it right. Both say what is wrong.
        let status = api.process.wait(ENDS_WITHIN).await?;
        let log = tail(api.process.log(), 5);
        assert!(!status.success() && log.contains("invalid peer certificate"), "{status} {log}");
        until("the worker says why", ENDS_WITHIN, async || {
            Ok(tail(worker.process.log(), 50).contains("invalid peer certificate").then_some(()))
        })
        .await?;
        worker.process.must_run()?;
        let connections = system.nats.connections().await?;
        assert!(!connections.iter().any(|connection| connection.name.starts_with("vkube")), "{connections:?}");
        Ok(())
    })
}
