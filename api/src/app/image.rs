//! Whether an image exists, asked of its registry.

use std::time::Duration;

use common::failure::Reason;
use common::image::Image;
use common::telemetry::Chain;

use super::App;
use super::error::AppError;
use crate::registry::{Credentials, ImageCheckError};

impl App {
    /// Whether an image exists for `linux/amd64`.
    ///
    /// # Errors
    /// The guide's texts for a wrong form (400) and for an image that does not exist (404); that the registry refuses the
    /// login, limits us or does not answer.
    pub async fn check_image(&self, image: &str, tag: &str, credentials: Option<&Credentials>) -> Result<(), AppError> {
        let whole = format!("{image}:{tag}");
        let parsed = whole.parse::<Image>().ok().filter(|_| !image.is_empty() && !tag.is_empty());
        let Some(image) = parsed else {
            // The guide's own text, which clients may match.
            return Err(AppError::new(Reason::InvalidRequest, "image format not allow.Format: image:tag"));
        };
        self.registry.check(&image, credentials).await.map_err(|error| refusal(&error, image.registry()))
    }
}

/// What a client is told of an image that is not known to exist.
fn refusal(error: &ImageCheckError, registry: &str) -> AppError {
    match error {
        // The guide's own text.
        ImageCheckError::NotFound | ImageCheckError::NoPlatform => {
            AppError::new(Reason::ImageNotFound, "image does not exist.")
        }
        ImageCheckError::Refused => AppError::new(
            Reason::RegistryRefused,
            "the registry refuses these credentials; check Username and Password",
        ),
        ImageCheckError::RateLimited { retry_after } => {
            let message = "the registry limits how often it may be asked; try again later";
            let limited = AppError::new(Reason::RegistryRateLimited, message);
            limited.retry_after(retry_after.unwrap_or(Duration::from_mins(1)))
        }
        ImageCheckError::Unreachable(_) | ImageCheckError::ForbiddenHost => {
            tracing::warn!(error = %Chain(error), registry, "registry not reached");
            AppError::new(
                Reason::RegistryUnreachable,
                "the image's registry cannot be reached; check its name, or try again",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Fault;

    #[test]
    fn what_a_registry_says_is_told_with_when_to_ask_again() {
        let limited =
            |seconds: Option<u64>| ImageCheckError::RateLimited { retry_after: seconds.map(Duration::from_secs) };
        for (error, reason, retry_after) in [
            (ImageCheckError::NotFound, Reason::ImageNotFound, None),
            (ImageCheckError::NoPlatform, Reason::ImageNotFound, None),
            (ImageCheckError::Refused, Reason::RegistryRefused, None),
            (limited(Some(7)), Reason::RegistryRateLimited, Some(7)),
            (limited(None), Reason::RegistryRateLimited, Some(60)),
            (ImageCheckError::Unreachable(Fault::TooLong(1)), Reason::RegistryUnreachable, None),
            (ImageCheckError::ForbiddenHost, Reason::RegistryUnreachable, None),
        ] {
            let told = refusal(&error, "registry.example.com");
            assert_eq!((told.reason, told.retry_after.map(|after| after.as_secs())), (reason, retry_after), "{error}");
        }
    }
}
