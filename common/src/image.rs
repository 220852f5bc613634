//! Image references, by the grammar of the distribution project.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;
use serde::{Deserialize, Serialize};

/// The longest reference that is read, in bytes: a repository of 255, a registry host, a tag of 128 and a digest.
const MAX_LENGTH: usize = 600;

/// A text that names no image. Its `Display` is fit for customers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an image such as nginx, nginx:stable or registry.example.com/team/app:1.0")]
pub struct ImageError;

/// An image as the customer wrote it, and what it stands for: `nginx` is `docker.io/library/nginx:latest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Image {
    written: String,
    reference: Reference,
}

impl Image {
    /// The image as the customer wrote it, which is also what the pod's container says.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The host, with a port if there is one, of the registry that holds the image: `docker.io` unless the name says
    /// otherwise.
    pub fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// The repository within the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        self.reference.repository()
    }

    /// The digest, if given, else the tag, which is `latest` when neither was given.
    pub fn tag_or_digest(&self) -> &str {
        self.reference.digest().or(self.reference.tag()).unwrap_or("latest")
    }
}

impl FromStr for Image {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        // The parser takes letters of every script in tags; registries and container runtimes take none but ASCII's.
        if text.len() > MAX_LENGTH || !text.is_ascii() {
            return Err(ImageError);
        }
        let reference: Reference = text.parse().map_err(|_| ImageError)?;
        let port_fits = match reference.registry().rsplit_once(':') {
            Some((_, port)) => port.parse::<u16>().is_ok_and(|port| port > 0),
            None => true,
        };
        if port_fits { Ok(Self { written: text.to_owned(), reference }) } else { Err(ImageError) }
    }
}

impl TryFrom<String> for Image {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Image> for String {
    fn from(image: Image) -> Self {
        image.written
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_other_texts() {
        for (text, whole) in [
            ("nginx", Some("docker.io library/nginx latest")),
            ("nginx:stable", Some("docker.io library/nginx stable")),
            ("team/app", Some("docker.io team/app latest")),
            ("127.0.0.1:5000/web:1", Some("127.0.0.1:5000 web 1")),
            ("localhost:99999/web", None),
            ("localhost:0/web", None),
            ("Nginx", None),
            ("nginx:", None),
            ("", None),
            ("a..b", None),
            ("http://registry.example.com/a", None),
            ("nginx\n", None),
            ("nginx stable", None),
            ("web:nx\u{15e}", None),
            ("web:\u{661}", None),
        ] {
            let read = text.parse::<Image>().ok();
            let read = read.map(|i| format!("{} {} {}", i.registry(), i.repository(), i.tag_or_digest()));
            assert_eq!(read.as_deref(), whole, "{text}");
        }
        assert!("a".repeat(601).parse::<Image>().is_err());
    }

    #[test]
    fn a_digest_goes_before_a_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let image: Image = format!("nginx:stable@{digest}").parse().unwrap();
        assert_eq!(image.tag_or_digest(), digest);
    }
}
