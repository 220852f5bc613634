use std::collections::BTreeSet;

use super::*;

fn given(values: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
    values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[test]
fn every_wrong_setting_is_told_at_once_and_none_shows_a_secret() {
    let error = Settings::read(&given(&[
        ("VKUBE_HTTP_LISTEN", "here"),
        ("VKUBE_NATS_CREDENTIALS_FILE", "/nowhere/creds"),
        ("VKUBE_POSTGRES_URL", "postgres://user:hunter2@"),
        ("VKUBE_POSTGRES_CA_FILE", "/nowhere/ca.pem"),
        ("VKUBE_REGISTRY_MIRROR", "https://registry:5000"),
        ("VKUBE_REGISTRY_INSECURE_HOSTS", "registry:5000,registry:port"),
        ("VKUBE_OPERATOR_TOKENS", "anna:hunter2"),
        ("VKUBE_DRIFT", "ignore"),
        ("VKUBE_LOG_FORMAT", "xml"),
    ]))
    .unwrap_err()
    .to_string();
    for name in [
        "VKUBE_HTTP_LISTEN (--http-listen)",
        "VKUBE_NATS_CREDENTIALS_FILE (--nats-credentials-file): \"/nowhere/creds\" cannot be read",
        "VKUBE_POSTGRES_URL (--postgres-url)",
        "VKUBE_POSTGRES_CA_FILE (--postgres-ca-file): \"/nowhere/ca.pem\" cannot be read",
        "VKUBE_REGISTRY_MIRROR (--registry-mirror): must be a registry's host:port",
        "VKUBE_REGISTRY_INSECURE_HOSTS (--registry-insecure-hosts): \"registry:port\" must be a registry's host:port",
        "VKUBE_SECRET_KEY_FILES (--secret-key-files): is not set",
        "VKUBE_OPERATOR_TOKENS (--operator-tokens): entry 1 must have a name",
        "VKUBE_DRIFT (--drift): must be repair or report",
        "VKUBE_LOG_FORMAT (--log-format): must be json or text",
    ] {
        assert!(error.contains(name), "{name}: {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn defaults_are_enough_but_for_what_only_the_operator_knows() {
    let error = Settings::read(&given(&[])).unwrap_err().to_string();
    assert!(error.starts_with("2 wrong setting(s)"), "{error}");
}

#[test]
fn a_change_is_waited_for_as_the_contract_says_and_a_read_as_workers_believe() {
    let wait = |setting: Setting| Duration::from_millis(setting.default.unwrap().parse().unwrap());
    assert_eq!(wait(CHANGE_DEADLINE_MS), Duration::from_secs(20), "wire.md §6");
    assert_eq!(wait(READ_DEADLINE_MS), common::read::USUAL_DEADLINE);
}

#[test]
fn the_documented_table_is_this_table() {
    let documented = include_str!("../../../docs/SETTINGS.md");
    assert!(documented.contains(&common::settings::table(&ALL)), "stale: see vkube-api settings");
}

#[test]
fn every_setting_is_in_the_table_once() {
    let names: BTreeSet<&str> = ALL.iter().map(|setting| setting.variable).collect();
    assert_eq!(names.len(), ALL.len());
}
