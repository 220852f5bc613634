//! Parts of the order's pod, as existing clients change them (`wire.md` §5): configuration files, environment, images.

use std::collections::HashMap;

use common::failure::Reason;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi, Union};

use super::auth::OrderSecret;
use super::body::Body;
use super::change::{Change, ChangeFailures, DeployResponse};
use super::error::{Answer, Statuses};
use super::param::HeaderLines;
use super::tag::Tag;
use crate::app::App;
use crate::app::edit::Part;
use crate::app::error::AppError;

/// The calls.
pub(super) struct EditApi;

/// Failures of `GET /k8s/pod/configmap`.
pub(super) struct ConfigFailures;

impl Statuses for ConfigFailures {
    const ALL: &'static [(u16, &'static str)] = &[
        (401, "The secret is missing or not valid"),
        (404, "Nothing is deployed, or no container has a configuration file"),
        (500, "`server error`"),
        (503, "The service is busy; try again"),
    ];
}

/// What is replaced; at least one of the two.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
struct UpdatePod {
    /// By container: the content of its configuration file.
    config: Option<HashMap<String, String>>,
    /// By container: all its environment variables.
    environment: Option<HashMap<String, HashMap<String, String>>>,
}

impl Example for UpdatePod {
    fn example() -> Self {
        let one = |name: &str, value: &str| HashMap::from([(name.to_owned(), value.to_owned())]);
        Self {
            config: Some(one("container1", "worker_processes 1;")),
            environment: Some(HashMap::from([("container1".to_owned(), one("MODE", "production"))])),
        }
    }
}

/// New images: of each with its login, or as older clients send them.
#[derive(Union)]
#[oai(one_of)]
enum UpdateImages {
    Each(Vec<UpdateImage>),
    Names(ImageNames),
}

/// New images whose logins stay.
#[derive(Object)]
struct ImageNames {
    /// The images. Each is for the only container, else for the one with the same repository.
    images: Vec<String>,
}

/// A new image.
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
struct UpdateImage {
    /// The image. It is for the only container, else for the one with the same repository.
    image: String,
    /// The login of a private registry; the one before stays unless given, while the registry is the same.
    login: Option<ImageLogin>,
}

/// A login at a registry; both empty for a public image.
#[derive(Object)]
struct ImageLogin {
    /// The user's name.
    username: String,
    /// The user's password. Never shown again.
    password: String,
}

impl Example for UpdateImage {
    fn example() -> Self {
        Self { image: "nginx:stable".to_owned(), login: None }
    }
}

/// What came with a change of a part.
struct Given<'a, T> {
    secret: OrderSecret,
    until: Option<&'a str>,
    key: HeaderLines,
    prefer: HeaderLines,
    body: Body<T>,
}

async fn edit<T>(app: &App, part: Part, given: Given<'_, T>) -> Answer<DeployResponse, ChangeFailures> {
    let change = Change::begin(app, &given.secret, &given.key).await?;
    let body = given.body.json()?;
    let request = change.request(app, &body, &given.prefer, given.until)?;
    let answer = app.edit(change.order, change.earlier, part, request).await?;
    Ok(DeployResponse::of(app, &answer).await)
}

#[OpenApi(tag = "Tag::Order")]
impl EditApi {
    /// Change configuration files and environment
    ///
    /// Those of the named containers are replaced whole; all else stays as it is. This is a new revision.
    #[oai(path = "/k8s/pod/update", method = "put", operation_id = "update_pod")]
    async fn update(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// `available`: succeed only when every container is ready.
        until: Query<Option<String>>,
        /// The same key with the same body is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<UpdatePod>,
    ) -> Answer<DeployResponse, ChangeFailures> {
        edit(&app, Part::Settings, Given { secret, until: until.0.as_deref(), key, prefer, body }).await
    }

    /// Change images
    ///
    /// This is a new revision; all else stays as it is.
    #[oai(path = "/k8s/pod/images", method = "patch", operation_id = "update_pod_images")]
    async fn images(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
        /// `available`: succeed only when every container is ready.
        until: Query<Option<String>>,
        /// The same key with the same body is the same job, for 24 hours.
        #[oai(name = "Idempotency-Key")]
        key: HeaderLines,
        /// `respond-async`, or `wait=<seconds>`, 60 at most (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: HeaderLines,
        body: Body<UpdateImages>,
    ) -> Answer<DeployResponse, ChangeFailures> {
        edit(&app, Part::Images, Given { secret, until: until.0.as_deref(), key, prefer, body }).await
    }

    /// Show configuration files
    ///
    /// By container, the content of its file.
    #[oai(path = "/k8s/pod/configmap", method = "get", operation_id = "get_pod_configmap")]
    async fn config(
        &self,
        app: Data<&App>,
        secret: OrderSecret,
    ) -> Answer<Json<HashMap<String, String>>, ConfigFailures> {
        let order = app.authenticate(secret.as_deref()).await?;
        let files = app.config_files(&order).await?;
        if files.is_empty() {
            let message = "no container of the pod has a configuration file";
            return Err(AppError::new(Reason::NotFound, message).into());
        }
        Ok(Json(files.into_iter().map(|(container, content)| (container.to_string(), content)).collect()))
    }
}
