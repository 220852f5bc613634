//! What registries say about an image: OCI and Docker, index or single manifest, and an image's configuration.

use serde::Deserialize;

use super::Fault;

/// The kinds of manifest that are understood, as asked for.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// What a manifest says about `linux/amd64`.
#[derive(Debug, PartialEq, Eq)]
pub enum Manifest {
    /// It lists the platform.
    Fits,
    /// It can have nothing for the platform.
    Unfit,
    /// It lists manifests without saying for which platform they are: their digests.
    Unlabelled { manifests: Vec<String> },
    /// It is for one platform, which the blob of this digest names.
    Single { config: String },
}

/// The members of all kinds of manifest that matter here. Told apart by them, since registries err about types.
#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u32>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

impl Platform {
    fn fits(&self) -> bool {
        self.os == "linux" && self.architecture == "amd64"
    }
}

/// Reads a manifest.
pub fn parse(body: &[u8]) -> Result<Manifest, Fault> {
    let document: Document = serde_json::from_slice(body).map_err(|source| Fault::Json { what: "manifest", source })?;
    match document {
        Document { manifests: Some(listed), .. } => {
            if listed.iter().filter_map(|entry| entry.platform.as_ref()).any(Platform::fits) {
                return Ok(Manifest::Fits);
            }
            let unlabelled = listed.into_iter().filter(|entry| entry.platform.is_none());
            let manifests = unlabelled.map(Descriptor::into_digest).collect::<Result<Vec<_>, _>>()?;
            if manifests.is_empty() { Ok(Manifest::Unfit) } else { Ok(Manifest::Unlabelled { manifests }) }
        }
        Document { config: Some(config), .. } => Ok(Manifest::Single { config: config.into_digest()? }),
        // Docker's first format, which container runtimes have given up.
        Document { schema_version: Some(1), .. } => Ok(Manifest::Unfit),
        Document { .. } => Err(Fault::Nonsense("manifest")),
    }
}

/// Whether an image's configuration is for `linux/amd64`. That of something else than an image is not.
pub fn config_fits(body: &[u8]) -> Result<bool, Fault> {
    let platform: Platform = serde_json::from_slice(body).map_err(|source| Fault::Json { what: "config", source })?;
    Ok(platform.fits())
}

impl Descriptor {
    /// The digest, once it is known to be a single segment of a URL.
    fn into_digest(self) -> Result<String, Fault> {
        let (algorithm, encoded) = self.digest.split_once(':').unwrap_or_default();
        let algorithm_fits = algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b));
        let encoded_fits = encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"=_-".contains(&b));
        let whole = !algorithm.is_empty() && !encoded.is_empty();
        if whole && algorithm_fits && encoded_fits { Ok(self.digest) } else { Err(Fault::Nonsense("digest")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read() {
        let single = |config: &str| Some(Manifest::Single { config: config.to_owned() });
        let unlabelled = |one: &str| Some(Manifest::Unlabelled { manifests: vec![one.to_owned()] });
        for (case, body, expected) in [
            (
                "an index with the platform",
                r#"{"schemaVersion":2,"manifests":[
                    {"digest":"sha256:a1","platform":{"os":"linux","architecture":"arm64","variant":"v8"}},
                    {"digest":"sha256:a2","platform":{"os":"linux","architecture":"amd64"}}]}"#,
                Some(Manifest::Fits),
            ),
            (
                "an index of other platforms, and an attestation",
                r#"{"manifests":[
                    {"digest":"sha256:a1","platform":{"os":"windows","architecture":"amd64"}},
                    {"digest":"sha256:a2","platform":{"os":"linux","architecture":"arm64"}},
                    {"digest":"sha256:a3","platform":{"os":"unknown","architecture":"unknown"}}]}"#,
                Some(Manifest::Unfit),
            ),
            ("an empty index", r#"{"schemaVersion":2,"manifests":[]}"#, Some(Manifest::Unfit)),
            (
                "an index that names no platform",
                r#"{"manifests":[{"digest":"sha256:a1"},{"digest":"sha256:a2","platform":{"os":"linux"}}]}"#,
                unlabelled("sha256:a1"),
            ),
            ("one manifest", r#"{"config":{"digest":"sha256:c0"},"layers":[]}"#, single("sha256:c0")),
            ("the first format", r#"{"schemaVersion":1,"architecture":"amd64","fsLayers":[]}"#, Some(Manifest::Unfit)),
            ("a digest that leaves its place", r#"{"config":{"digest":"sha256:../../x"}}"#, None),
            ("a digest of nothing", r#"{"config":{"digest":":"}}"#, None),
            ("a digest with a query", r#"{"manifests":[{"digest":"sha256:a?b"}]}"#, None),
            ("something else", r#"{"errors":[]}"#, None),
            ("an array", "[]", None),
            ("HTML", "<html></html>", None),
            ("nothing", "", None),
        ] {
            assert_eq!(parse(body.as_bytes()).ok(), expected, "{case}");
        }
    }

    #[test]
    fn configurations_are_read() {
        for (case, body, expected) in [
            ("the platform", r#"{"os":"linux","architecture":"amd64","rootfs":{}}"#, Some(true)),
            ("another machine", r#"{"os":"linux","architecture":"arm64"}"#, Some(false)),
            ("another system", r#"{"os":"windows","architecture":"amd64"}"#, Some(false)),
            ("of an artifact", r#"{"name":"chart","version":"1"}"#, Some(false)),
            ("nothing", "", None),
        ] {
            assert_eq!(config_fits(body.as_bytes()).ok(), expected, "{case}");
        }
    }
}
