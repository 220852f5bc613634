//! The order's current pod in the form of the deploy body (`wire.md` §5, `deployment/info`): the newest revision that may
//! still come true. Environment values are readable by the region alone, so it is asked to seal them anew, to a key that
//! lives as long as the question: nothing in clear is on its way (`design.md` §9).

use common::failure::Reason;
use common::name::ContainerName;
use common::pod::{Container, Pod};
use common::quantity::Units;
use common::read::{Query, ResealQuery};
use common::sealed::{KeyRing, Sealed};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::App;
use super::change::not_deployed;
use super::deploy::sealing;
use super::error::AppError;
use crate::store::orders::{Order, PortSpecification};

impl App {
    /// The current pod as a deploy body, which can be deployed as it is but for registry passwords. One statement; one
    /// question to the region if there are environment values.
    ///
    /// # Errors
    /// [`common::failure::Reason::NotDeployed`]; that the region cannot be asked.
    pub async fn info(&self, order: &Order) -> Result<Value, AppError> {
        let pod = self.current_pod(order).await?;
        let values = self.environment_values(order, &pod).await?;
        Ok(body(order, &pod, values))
    }

    /// The configuration files of the current pod, by their containers. One statement.
    ///
    /// # Errors
    /// [`common::failure::Reason::NotDeployed`].
    pub async fn config_files(&self, order: &Order) -> Result<Vec<(ContainerName, String)>, AppError> {
        let pod = self.current_pod(order).await?;
        let files = pod.containers.into_iter();
        Ok(files.filter_map(|container| Some((container.name, container.config?.content))).collect())
    }

    async fn current_pod(&self, order: &Order) -> Result<Pod, AppError> {
        let revision = order.target.as_ref().ok_or_else(not_deployed)?.revision;
        let pod = self.store.pod(&order.id, revision).await?;
        pod.ok_or_else(|| AppError::internal("a target's revision is on record"))
    }

    /// The environment values of all containers in clear, in their order.
    async fn environment_values(&self, order: &Order, pod: &Pod) -> Result<Vec<String>, AppError> {
        let values = pod.containers.iter().flat_map(|container| &container.environment);
        let values: Vec<Sealed> = values.map(|variable| variable.value.clone()).collect();
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let count = values.len();
        let region = order.purchase.region.as_ref().ok_or_else(not_deployed)?;
        let ring = KeyRing::generate();
        let _place = self
            .reseals
            .try_acquire()
            .map_err(|_| AppError::new(Reason::Overloaded, "too many ask for environments at the moment; try again"))?;
        let query = Query::Reseal(ResealQuery { key: ring.public_key(), values });
        let answer = self.ask(&order.id, region, query).await?;
        let values: Vec<Sealed> = serde_json::from_slice(&answer).map_err(AppError::internal)?;
        if values.len() != count {
            return Err(AppError::internal("a region answers as many values as it was asked for"));
        }
        sealing(move || {
            let open = |sealed: &Sealed| Ok(ring.open(sealed)?.expose_secret().to_owned());
            values.iter().map(open).collect()
        })
        .await
    }
}

/// The body. Assigned ports are left out where the customer may not choose any, so that it can be deployed again.
fn body(order: &Order, pod: &Pod, values: Vec<String>) -> Value {
    let chosen = order.purchase.port_specification == PortSpecification::User;
    let mut values = values.into_iter();
    let containers: Vec<Value> =
        pod.containers.iter().map(|container| container_body(container, chosen, &mut values)).collect();
    let mut body = json!({ "containers": containers });
    if let (Some(region), Some(body)) = (&order.purchase.region, body.as_object_mut()) {
        body.insert("nodeSelector".to_owned(), json!({ "region": region }));
    }
    if pod.containers.iter().any(|container| container.login.is_some())
        && let Some(body) = body.as_object_mut()
    {
        let username = |container: &Container| container.login.as_ref().map(|login| login.username.clone());
        let logins =
            pod.containers.iter().map(|c| json!({ "username": username(c).unwrap_or_default(), "password": "" }));
        body.insert("pvtLogin".to_owned(), logins.collect());
    }
    body
}

fn container_body(container: &Container, chosen: bool, values: &mut impl Iterator<Item = String>) -> Value {
    let ports = container.ports.iter().map(|port| {
        let mut body = json!({ "containerPort": port.container_port, "protocol": port.protocol });
        if let (Some(host_port), true, Some(body)) = (port.host_port, chosen, body.as_object_mut()) {
            body.insert("hostPort".to_owned(), json!(host_port));
        }
        body
    });
    let environment = container.environment.iter().zip(values);
    let (path, content) = container.config.as_ref().map(|c| (c.path.as_str(), c.content.as_str())).unwrap_or_default();
    let (resource, amount) = match Units::of(container.memory) {
        Some(units) => ("resourceUnit", json!(units)),
        None => ("resource", json!({ "memory": container.memory })),
    };
    json!({
        "name": container.name,
        "imageName": container.image,
        resource: amount,
        "ports": ports.collect::<Vec<_>>(),
        "envs": environment.map(|(v, value)| json!({ "name": v.name, "value": value })).collect::<Vec<_>>(),
        "command": container.command,
        "args": container.args,
        "mountPath": container.mount_path.as_ref().map(common::pod::ContainerPath::as_str).unwrap_or_default(),
        "configMountPath": path,
        "config": content,
    })
}
