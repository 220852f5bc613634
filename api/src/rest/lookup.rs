//! Questions that need no secret: regions, images, host ports.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::port::PortNumber;
use poem::web::Data;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};

use super::body::Body;
use super::error::{Answer, Statuses};
use super::tag::Tag;
use crate::app::App;
use crate::app::error::AppError;
use crate::app::json::Problems;
use crate::app::ports::PortsStatus;
use crate::registry::Credentials;

/// The calls.
pub(super) struct LookupApi;

/// Failures of `GET /k8s/regions`.
pub(super) struct RegionsFailures;

impl Statuses for RegionsFailures {
    const ALL: &'static [(u16, &'static str)] = &[(503, "Too much is in work; try again")];
}

/// Failures of `GET /k8s/images`.
pub(super) struct ImageFailures;

impl Statuses for ImageFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "`image format not allow.Format: image:tag`, or credentials that are not base64"),
        (401, "The registry refuses the credentials"),
        (404, "`image does not exist.`"),
        (429, "The registry limits how often it may be asked"),
        (502, "The registry cannot be reached"),
        (503, "Too much is in work; try again"),
    ];
}

/// Failures of `POST /k8s/checkports`.
pub(super) struct PortsFailures;

impl Statuses for PortsFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (400, "`item field empty`, or a body of another form"),
        (408, "The body did not come in time"),
        (413, "The body is too large"),
        (415, "The body is not JSON"),
        (503, "Too much is in work; try again"),
    ];
}

/// The image exists.
#[derive(Object)]
#[oai(example)]
struct ImageFound {
    /// Always `OK`.
    status: String,
}

impl poem_openapi::types::Example for ImageFound {
    fn example() -> Self {
        Self { status: "OK".to_owned() }
    }
}

/// Which host ports are asked about.
#[derive(Object)]
#[oai(example)]
struct CheckPorts {
    /// The region.
    region: String,
    /// The ports, 1 to 65535.
    ports: Vec<u16>,
    /// Ports held by this order count as free.
    #[oai(rename = "userServiceID")]
    user_service_id: Option<String>,
    /// `TCP` (default) or `UDP`.
    protocol: Option<String>,
}

impl poem_openapi::types::Example for CheckPorts {
    fn example() -> Self {
        Self { region: "ausrine".to_owned(), ports: vec![22, 3306, 1234, 1111], user_service_id: None, protocol: None }
    }
}

/// Which of the host ports are taken.
#[derive(Object)]
#[oai(example)]
struct CheckedPorts {
    /// Those that are taken.
    occupied: Vec<u16>,
    /// What that comes to.
    status: PortsWord,
}

impl poem_openapi::types::Example for CheckedPorts {
    fn example() -> Self {
        Self { occupied: vec![22, 3306], status: PortsWord::PortsOccupied }
    }
}

/// The guide's words.
#[derive(Enum)]
enum PortsWord {
    /// There is no such region.
    NoResource,
    /// It cannot be told at the moment.
    InternalErr,
    /// Some are taken.
    PortsOccupied,
    /// All are free.
    NotOccupied,
}

#[OpenApi(tag = "Tag::Lookup")]
impl LookupApi {
    /// Query valid regions
    ///
    /// The names of the regions that can be deployed to now, sorted; `[]` if there is none.
    #[oai(path = "/k8s/regions", method = "get", operation_id = "list_regions")]
    #[expect(clippy::unused_async, reason = "poem-openapi takes async handlers only")]
    async fn regions(&self, app: Data<&App>) -> Answer<Json<Vec<String>>, RegionsFailures> {
        Ok(Json(app.regions().iter().map(ToString::to_string).collect()))
    }

    /// Check if an image exists
    ///
    /// Asks the image's registry, Docker Hub unless the name holds a registry host, for the image for `linux/amd64`.
    #[oai(path = "/k8s/images", method = "get", operation_id = "check_image")]
    async fn image(
        &self,
        app: Data<&App>,
        /// The image's name, such as `nginx`.
        image: Query<Option<String>>,
        /// The image's tag, such as `stable`.
        tag: Query<Option<String>>,
        /// For a private image: base64 of the user name at the registry.
        #[oai(name = "Username")]
        username: Header<Option<String>>,
        /// For a private image: base64 of the password.
        #[oai(name = "Password")]
        password: Header<Option<String>>,
    ) -> Answer<Json<ImageFound>, ImageFailures> {
        let credentials = credentials(username.0.as_deref(), password.0.as_deref())?;
        let (image, tag) = (image.0.unwrap_or_default(), tag.0.unwrap_or_default());
        app.check_image(&image, &tag, credentials.as_ref()).await?;
        Ok(Json(ImageFound { status: "OK".to_owned() }))
    }

    /// Check host ports
    ///
    /// Which of some host ports are taken in a region.
    #[oai(path = "/k8s/checkports", method = "post", operation_id = "check_ports")]
    #[expect(clippy::unused_async, reason = "poem-openapi takes async handlers only")]
    async fn ports(&self, app: Data<&App>, body: Body<CheckPorts>) -> Answer<Json<CheckedPorts>, PortsFailures> {
        let answer = app.check_ports(&body.json()?)?;
        let status = match answer.status {
            PortsStatus::NoResource => PortsWord::NoResource,
            PortsStatus::InternalErr => PortsWord::InternalErr,
            PortsStatus::PortsOccupied => PortsWord::PortsOccupied,
            PortsStatus::NotOccupied => PortsWord::NotOccupied,
        };
        Ok(Json(CheckedPorts { occupied: answer.occupied.into_iter().map(PortNumber::get).collect(), status }))
    }
}

/// The headers `Username` and `Password`: each base64 of UTF-8, empty for a public image.
fn credentials(username: Option<&str>, password: Option<&str>) -> Result<Option<Credentials>, AppError> {
    let mut problems = Problems::default();
    let mut decode = |name: &str, text: Option<&str>| {
        let bytes = STANDARD.decode(text.unwrap_or_default().trim());
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| text.len() <= 4096);
        if text.is_none() {
            problems.add(name, "must be base64 of at most 4096 bytes of UTF-8");
        }
        text.unwrap_or_default()
    };
    let (username, password) = (decode("Username", username), decode("Password", password));
    match (problems.is_empty(), username.is_empty(), password.is_empty()) {
        (true, true, true) => Ok(None),
        (true, false, false) => Ok(Some(Credentials { username, password: password.into() })),
        (true, true, false) | (true, false, true) => {
            problems.add("Username", "must be given together with Password");
            Err(AppError::invalid(problems))
        }
        (false, ..) => Err(AppError::invalid(problems)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_both_base64_or_both_empty() {
        for (case, username, password, expected) in [
            ("absent", None, None, Ok(false)),
            ("empty", Some(""), Some(""), Ok(false)),
            ("both", Some("YW5uYQ=="), Some("czNjcmV0"), Ok(true)),
            ("one", Some("YW5uYQ=="), None, Err(())),
            ("not base64", Some("anna!"), Some("czNjcmV0"), Err(())),
            ("not UTF-8", Some("/w=="), Some("czNjcmV0"), Err(())),
        ] {
            assert_eq!(credentials(username, password).map(|c| c.is_some()).map_err(drop), expected, "{case}");
        }
    }
}
