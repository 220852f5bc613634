//! What an image's registry says, which a customer chose: manifests, configurations, and how it wants to be asked.

use api::registry::{challenge, manifest};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

/// A digest that is believed is one segment of a URL; all else is an error and no more.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let digest = |digest: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+._-=:".contains(&byte);
        assert!(digest.contains(':') && digest.bytes().all(known), "{digest}");
    };
    match manifest::parse(data) {
        Ok(manifest::Manifest::Single { config }) => digest(&config),
        Ok(manifest::Manifest::Unlabelled { manifests }) => manifests.iter().for_each(|one| digest(one)),
        Ok(manifest::Manifest::Fits | manifest::Manifest::Unfit) | Err(_) => {}
    }
    let _ = manifest::config_fits(data);
    let mut headers = HeaderMap::new();
    for value in data.split(|byte| *byte == b'\n').take(8).filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(WWW_AUTHENTICATE, value);
    }
    let _ = challenge::parse(&headers);
}
