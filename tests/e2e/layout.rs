//! Who may import whom (`ARCHITECTURE.md`): the crates by `cargo tree`, the folders by what their files name. Needs no
//! server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use common::fail_point::FailPoint;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The names of all crates that a package is built from.
fn crates_of(package: &str) -> Result<BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none", "--package", package])
        .current_dir(root())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

#[test]
fn crates_are_built_from_what_they_may_know() -> Result<()> {
    let kubernetes = ["kube", "kube-client", "kube-runtime", "k8s-openapi"];
    let postgres = ["tokio-postgres", "deadpool-postgres", "refinery"];
    let poem = ["poem", "poem-openapi"];
    // One TLS library: ring's. Two of them do not start together.
    let tls = ["aws-lc-rs", "openssl", "openssl-sys", "native-tls"];
    for (package, forbidden) in [
        ("common", [&["api", "workers"][..], &kubernetes, &postgres, &poem, &tls].concat()),
        ("api", [&["workers"][..], &kubernetes, &tls].concat()),
        ("cli", [&["common", "api", "workers", "e2e", "async-nats"][..], &kubernetes, &postgres, &poem, &tls].concat()),
        ("workers", [&["api"][..], &postgres, &poem, &tls].concat()),
        ("e2e", tls.to_vec()),
    ] {
        let found = crates_of(package)?;
        assert!(found.contains(package) && found.contains("serde"), "{package}: {found:?}");
        let known: Vec<_> = forbidden.into_iter().filter(|name| found.contains(*name)).collect();
        assert!(known.is_empty(), "{package} is built from {known:?}");
    }
    Ok(())
}

/// The Rust files below a folder.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// The code lines of the Rust files below a folder, and of the file of the same name; without tests.
fn code_of(folder: &str) -> Result<Vec<(String, String)>> {
    let path = root().join(folder);
    let mut files = rust_files(&path)?;
    files.push(path.with_extension("rs"));
    let mut lines = Vec::new();
    for file in files.into_iter().filter(|file| file.is_file()) {
        if file.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests")) {
            continue;
        }
        let name = file.strip_prefix(root())?.display().to_string();
        let text = std::fs::read_to_string(&file)?;
        // Modules of tests that are files of their own are declared among the others.
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        let code = text.get(..tests).unwrap_or_default().lines();
        lines.extend(
            code.filter(|line| !line.trim_start().starts_with("//")).map(|line| (name.clone(), line.to_owned())),
        );
    }
    ensure!(!lines.is_empty(), "{folder} holds no code");
    Ok(lines)
}

#[test]
fn every_step_of_a_change_and_of_a_read_has_one_fail_point_and_a_row_in_the_documents() -> Result<()> {
    let code: Vec<_> = code_of("api/src")?.into_iter().chain(code_of("workers/src")?).collect();
    let text = std::fs::read_to_string(root().join("docs/RELIABILITY.md"))?;
    for point in FailPoint::ALL {
        let of = if point.name().starts_with("worker-") { "workers/" } else { "api/" };
        let call = format!("FailPoint::{point:?}.reached()");
        let found: Vec<_> = code.iter().filter(|(_, line)| line.contains(&call)).collect();
        ensure!(found.len() == 1 && found[0].0.starts_with(of), "{call} is in {found:?}");
        ensure!(text.contains(&format!("| `{}` |", point.name())), "docs/RELIABILITY.md lacks {}", point.name());
    }
    let points = code.iter().filter(|(_, line)| line.contains(".reached();")).count();
    ensure!(points == FailPoint::ALL.len(), "{points} fail points");
    Ok(())
}

#[test]
fn every_test_that_the_threat_model_names_is_there() -> Result<()> {
    let text = std::fs::read_to_string(root().join("docs/SECURITY.md"))?;
    let is_name = |word: &&str| {
        word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') && word.matches('_').count() > 2
    };
    let named: BTreeSet<&str> = text.split('`').filter(is_name).collect();
    ensure!(named.len() > 60, "{} tests are named", named.len());
    let mut there = BTreeSet::new();
    for folder in ["api/src", "common/src", "workers/src", "tests/e2e", "tests/fuzz/src"] {
        for file in rust_files(&root().join(folder))? {
            let code = std::fs::read_to_string(file)?;
            there.extend(code.split("fn ").filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
    let missing: Vec<_> = named.into_iter().filter(|name| !there.contains(*name)).collect();
    ensure!(missing.is_empty(), "there are no tests {missing:?}");
    Ok(())
}

#[test]
fn folders_name_only_what_they_may_know() -> Result<()> {
    for (folder, forbidden) in [
        (
            "api/src/rest",
            &["crate::bus", "tokio_postgres", "deadpool_postgres", "common::subject", "common::stream"][..],
        ),
        (
            "api/src/app",
            &[
                "crate::rest",
                "crate::service",
                "poem",
                "async_nats",
                "tokio_postgres",
                "deadpool_postgres",
                "common::subject",
            ],
        ),
        ("api/src/service", &["crate::store", "crate::bus", "crate::registry", "tokio_postgres", "deadpool_postgres"]),
        ("api/src/store", &["crate::bus", "crate::rest", "crate::app", "crate::registry", "poem", "async_nats"]),
        ("api/src/bus", &["crate::store", "crate::rest", "crate::app", "crate::registry", "poem", "tokio_postgres"]),
        ("api/src/registry", &["crate::store", "crate::rest", "crate::app", "crate::bus", "poem", "async_nats"]),
        (
            "workers/src/manifests",
            &["crate::cluster", "crate::operations", "crate::consume", "kube::Client", "async fn"],
        ),
        ("workers/src/cluster", &["crate::operations", "crate::consume", "crate::manifests", "async_nats"]),
        ("workers/src/operations", &["crate::consume", "kube::Client", "kube::Api", "kube::api", "async_nats"]),
        ("workers/src/consume", &["crate::manifests", "kube::"]),
    ] {
        for (file, line) in code_of(folder)? {
            let named = forbidden.iter().find(|name| names(&line, name));
            assert_eq!(named, None, "{file}: {line}");
        }
    }
    Ok(())
}

/// Whether a line names a path or crate, and not only a longer name that ends with it.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, found)| {
        let before = line.get(..at).unwrap_or_default().chars().last();
        let after = line.get(at + found.len()..).unwrap_or_default().chars().next();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !word(before) && (name.ends_with(':') || !word(after))
    })
}

#[test]
fn subjects_streams_and_buckets_are_spelled_in_one_place() -> Result<()> {
    for folder in ["api/src", "workers/src"] {
        for (file, line) in code_of(folder)? {
            for spelled in [
                "\"vkube.api",
                "\"vkube.jobs",
                "\"vkube.reads",
                "\"vkube.results",
                "\"JOBS_",
                "\"READS_",
                "\"RESULTS\"",
                "\"$KV.",
                "\"KV_",
            ] {
                assert!(!line.contains(spelled), "{file}: {line}");
            }
        }
    }
    Ok(())
}
