//! `GET /k8s/images`: asked of real registries.

use std::io::ErrorKind;
use std::net::TcpListener;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::failure::Reason;
use e2e::test::test;
use serde_json::json;

#[test]
fn an_image_exists_if_its_registry_has_it_for_linux_amd64() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        for (image, tag, exists) in [
            ("nginx", "latest", true),
            ("library/nginx", "stable", true),
            ("docker.io/library/nginx", "stable", true),
            ("web", "2", true),
            ("both", "1", true),
            ("arm64-only", "1", false),
            ("arm64-list", "1", false),
            ("nginx", "no-such-tag", false),
            ("no/such/image", "1", false),
        ] {
            let answer = client.get(&format!("/k8s/images?image={image}&tag={tag}")).send().await?;
            if exists {
                assert_eq!(answer.ok()?, json!({ "status": "OK" }), "{image}:{tag}");
            } else {
                let error = answer.refused(404, Reason::ImageNotFound)?;
                assert_eq!(error["message"], "image does not exist.", "{image}:{tag}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_private_image_exists_for_whoever_may_see_it() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        let path = format!("/k8s/images?image={}/private/web&tag=1", t.stack.private_registry);
        let ask = |username: &str, password: &str| {
            let request = client.get(&path).header("Username", &STANDARD.encode(username));
            request.header("Password", &STANDARD.encode(password)).send()
        };
        let (username, password) = (t.stack.private_username.as_str(), t.stack.private_password.as_str());
        // In this order: what one customer may see tells the next one nothing.
        assert_eq!(ask(username, password).await?.ok()?, json!({ "status": "OK" }));
        ask(username, "wrong").await?.refused(401, Reason::RegistryRefused)?;
        ask("somebody", password).await?.refused(401, Reason::RegistryRefused)?;
        let nobody = client.get(&path).send().await?;
        assert!(matches!(nobody.status, 401 | 404), "{}", nobody.body);
        assert_eq!(ask(username, password).await?.ok()?, json!({ "status": "OK" }));
        // Empty headers are those of a public image.
        let public = client.get("/k8s/images?image=nginx&tag=stable").header("Username", "").header("Password", "");
        assert_eq!(public.send().await?.ok()?, json!({ "status": "OK" }));
        Ok(())
    })
}

#[test]
fn no_question_leads_into_our_own_network() -> Result<()> {
    test(async |t| {
        let client = t.client().await?;
        let inside = TcpListener::bind("127.0.0.1:0")?;
        inside.set_nonblocking(true)?;
        let port = inside.local_addr()?.port();
        let here = ["127.0.0.1", "127.1", "localhost", "2130706433", "0x7f.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]"];
        let hosts = here.map(|host| format!("{host}:{port}"));
        let elsewhere = ["10.201.0.1:10250", "169.254.169.254", "[::1]:80"].map(str::to_owned);
        for host in hosts.iter().chain(&elsewhere) {
            let answer = client.get(&format!("/k8s/images?image={host}/a/b&tag=1")).send().await?;
            // No image has a host in brackets; every other one is a registry that cannot be reached.
            if host.starts_with('[') {
                answer.refused(400, Reason::InvalidRequest)?;
            } else {
                answer.refused(502, Reason::RegistryUnreachable)?;
            }
        }
        let reached = inside.accept().map(|(_, peer)| peer);
        assert!(reached.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "a registry was looked for here");
        Ok(())
    })
}
