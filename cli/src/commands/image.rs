//! `vkube image`: does this image exist for linux/amd64?

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use reqwest::header::HeaderName;
use secrecy::ExposeSecret as _;

use super::Context;
use crate::credentials::{Caller, hidden, read_secret};
use crate::error::Error;

/// `vkube image`.
#[derive(Debug, Args)]
pub(crate) struct Image {
    /// The image, with its registry unless that is Docker Hub; without a tag, latest
    #[arg(value_name = "IMAGE[:TAG]")]
    reference: String,

    /// The user of a private registry
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,

    /// File with the user's password; - reads the standard input
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
}

impl Image {
    /// Whether it sends a password.
    pub(crate) fn has_password(&self) -> bool {
        self.password_file.is_some()
    }

    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        let (image, tag) = split(&self.reference);
        let call = context.client.get(Caller::Anyone, &["k8s", "images"])?;
        let mut call = call.query("image", Some(image)).query("tag", Some(tag));
        if let (Some(username), Some(file)) = (&self.username, &self.password_file) {
            let password = read_secret(file)?;
            for (name, text) in [("username", username.as_str()), ("password", password.expose_secret())] {
                let value = hidden(name, &STANDARD.encode(text))?;
                call = call.header(HeaderName::from_static(name), value);
            }
        }
        let answer = context.client.send(&call).await?;
        context.show(&answer, |_, out| writeln!(out, "{image}:{tag} exists"))
    }
}

/// The repository and the tag. A colon before the last slash is a registry's port.
fn split(image: &str) -> (&str, &str) {
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    let (path, last) = image.split_at(name);
    match last.rsplit_once(':') {
        Some((repository, tag)) => (image.get(..path.len() + repository.len()).unwrap_or(image), tag),
        None => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_divided_into_repository_and_tag() {
        for (image, expected) in [
            ("nginx", ("nginx", "latest")),
            ("nginx:stable", ("nginx", "stable")),
            ("registry.example.com:5000/team/app", ("registry.example.com:5000/team/app", "latest")),
            ("registry.example.com:5000/team/app:1.0", ("registry.example.com:5000/team/app", "1.0")),
            ("nginx:", ("nginx", "")),
            ("", ("", "latest")),
        ] {
            assert_eq!(split(image), expected, "{image}");
        }
    }
}
