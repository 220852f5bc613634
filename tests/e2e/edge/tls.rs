//! HTTP over TLS: a certificate that is read again, and what is no TLS.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::http::builder;
use e2e::system::System;
use e2e::test::test;
use e2e::until::until;
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Client, Version};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// A certificate for this machine, and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Puts both where the api reads them.
    fn put(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("http.pem"), &self.certificate)?;
        Ok(std::fs::write(folder.join("http.key"), &self.key)?)
    }

    /// A client that knows this one and no other.
    fn client(&self) -> Result<Client> {
        let own = Certificate::from_pem(self.certificate.as_bytes())?;
        Ok(builder().tls_certs_only([own]).pool_max_idle_per_host(0).build()?)
    }
}

/// The files' settings.
fn settings(system: &System) -> [(&'static str, String); 2] {
    let file = |name: &str| system.folder().join(name).display().to_string();
    [("VKUBE_HTTP_TLS_CERTIFICATE_FILE", file("http.pem")), ("VKUBE_HTTP_TLS_KEY_FILE", file("http.key"))]
}

async fn is_shown(pair: &Pair, url: &str) -> Result<bool> {
    Ok(pair.client()?.get(format!("{url}/healthz")).send().await.is_ok_and(|answer| answer.status() == 200))
}

#[test]
fn a_certificate_encrypts_and_a_new_one_is_taken_without_a_restart() -> Result<()> {
    test(async |t| {
        let system = t.empty_system("encrypted").await?;
        let (old, new) = (Pair::new()?, Pair::new()?);
        old.put(system.folder())?;
        let settings = settings(&system);
        let given = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        let api = system.spawn_api(&given)?;
        let url = api.url.replace("http://", "https://");
        until("it is ready", Duration::from_secs(30), async || {
            let answer = old.client()?.get(format!("{url}/readyz")).send().await;
            Ok(answer.ok().filter(|answer| answer.status() == 200))
        })
        .await?;
        let answer = old.client()?.get(format!("{url}/api/v1/k8s/regions")).send().await?;
        assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
        assert!(!is_shown(&new, &url).await?);

        let health = Command::new(&system.stack().api_binary)
            .arg("healthcheck")
            .env_clear()
            .env("VKUBE_HTTP_LISTEN", api.url.trim_start_matches("http://"))
            .envs(settings.iter().map(|(name, value)| (*name, value)))
            .output()?;
        ensure!(health.status.success(), "{}", String::from_utf8_lossy(&health.stderr));

        // Half of a new pair, and rubbish, change nothing.
        std::fs::write(system.folder().join("http.key"), &new.key)?;
        until("it is told", Duration::from_secs(20), async || {
            let log = std::fs::read_to_string(api.process.log())?;
            Ok(log.contains("the new certificate is of no use; the old one is kept").then_some(()))
        })
        .await?;
        assert!(is_shown(&old, &url).await?);
        std::fs::write(system.folder().join("http.pem"), "-----BEGIN NOTHING-----")?;
        assert!(is_shown(&old, &url).await?);

        new.put(system.folder())?;
        until("the new one is shown", Duration::from_secs(20), async || Ok(is_shown(&new, &url).await?.then_some(())))
            .await?;
        assert!(!is_shown(&old, &url).await?);
        let log = std::fs::read_to_string(api.process.log())?;
        assert!(!log.contains("PRIVATE KEY"), "{log}");
        Ok(())
    })
}

#[test]
fn without_encryption_nothing_is_said_where_there_is_a_certificate() -> Result<()> {
    test(async |t| {
        let system = t.empty_system("handshakes").await?;
        let pair = Pair::new()?;
        pair.put(system.folder())?;
        let settings = settings(&system);
        let given = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        let api = system.spawn_api(&given)?;
        let url = api.url.replace("http://", "https://");
        until("it is ready", Duration::from_secs(30), async || Ok(is_shown(&pair, &url).await?.then_some(()))).await?;
        assert!(builder().build()?.get(format!("{}/healthz", api.url)).send().await.is_err());
        // Who begins no handshake does not stay, and keeps nobody from theirs.
        let mut silent = TcpStream::connect(api.url.trim_start_matches("http://")).await?;
        assert!(is_shown(&pair, &url).await?);
        let mut nothing = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut nothing)).await;
        let _ = ended.context("the connection stays open")?;
        assert!(nothing.is_empty());
        Ok(())
    })
}

#[test]
fn a_certificate_of_no_use_is_told_at_the_start() -> Result<()> {
    test(async |t| {
        let system = t.empty_system("unfit").await?;
        let (one, other) = (Pair::new()?, Pair::new()?);
        for (case, certificate, key, expected) in [
            ("another's key", &one.certificate, &other.key, "the certificate and the key do not fit"),
            ("no certificate", &one.key, &one.key, "http.pem\" has none in PEM"),
            ("no key", &one.certificate, &one.certificate, "http.key\" has none in PEM"),
        ] {
            Pair { certificate: certificate.clone(), key: key.clone() }.put(system.folder())?;
            let settings = settings(&system);
            let given = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
            let mut api = system.spawn_api(&given)?;
            let status = api.process.wait(Duration::from_secs(30)).await?;
            let log = std::fs::read_to_string(api.process.log())?;
            assert!(!status.success() && log.contains(expected), "{case}: {log}");
            assert!(!log.contains("PRIVATE KEY"), "{case}: {log}");
        }
        Ok(())
    })
}
