//! What is secret: nowhere in clear but in the pod itself.

mod keys;

use std::path::Path;

use anyhow::Result;
use e2e::order::OrderOptions;
use e2e::pod::{container, envs, pod, with};
use e2e::test::test;
use reqwest::Method;
use serde_json::json;

/// Files below a folder that hold a text.
fn files_with(folder: &Path, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        if path.is_dir() {
            found.extend(files_with(&path, text)?);
        } else {
            let bytes = std::fs::read(&path)?;
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}

#[test]
fn values_and_passwords_rest_and_travel_only_sealed() -> Result<()> {
    test(async |t| {
        let system = t.system("sealed", 1, 1).await?;
        let order = t.order_of(&system, &OrderOptions::units(1)).await?;
        let (value, password) = ("v4lu3-0f-4-cu5t0m3r", "p4ssw0rd-0f-4-cu5t0m3r");
        let image = format!("{}/private/web:1", t.stack.private_registry);
        let container = with(container("web", &image), "envs", envs(&[("TOKEN", value.to_owned())]));
        let body = with(pod("sealed", &[container]), "pvtLogin", json!([{ "username": "anna", "password": password }]));
        let answer = order.deployed(&body).await?;
        let mut shown = vec![answer.to_string(), order.status().await?.body.to_string()];
        for path in ["/jobs", "/k8s/order", &format!("/admin/orders/{}", order.id)] {
            let request = order.request(Method::GET, path).operator(&system.operator_token);
            shown.push(request.send().await?.ok()?.to_string());
        }
        let client = system.database.connect().await?;
        let tables = "select table_name::text from information_schema.tables where table_schema = 'public'";
        let tables: Vec<String> = client.query(tables, &[]).await?.iter().map(|row| row.get(0)).collect();
        assert!(
            ["orders", "revisions", "jobs"].iter().all(|table| tables.iter().any(|one| one == table)),
            "{tables:?}"
        );
        for table in tables {
            for row in client.query(&format!("select t::text from {table} t"), &[]).await? {
                shown.push(row.get(0));
            }
        }
        for secret in [value, password, &order.secret] {
            assert!(!shown.iter().any(|text| text.contains(secret)), "{secret} in {shown:?}");
            // Logs of all processes, and the broker's files.
            let mut found = files_with(system.folder(), secret)?;
            found.extend(files_with(system.data(), secret)?);
            assert!(found.is_empty(), "{secret} in {found:?}");
        }
        Ok(())
    })
}
