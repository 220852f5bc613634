//! Changes of a part of the order's pod: configuration files, environment, images (`wire.md` §5). Each is a whole new
//! revision, made from the order's newest that may still come true: the running pod always equals one numbered revision.
//! Costs one statement to authenticate, one to read that revision, one that accepts the job, one publish.

mod images;
mod settings;

use common::failure::Reason;
use common::name::JobId;
use common::pod::Pod;
use common::sealed::{PublicKey, SealError};
use serde_json::Value;

use super::App;
use super::change::{ChangeAnswer, ChangeRequest, Needs, not_deployed};
use super::deploy::{check_size, sealing};
use super::error::AppError;
use super::json::Problems;
use super::pod_request::check_secrets;
use crate::store::acceptance::{Acceptance, Accepted};
use crate::store::jobs::Job;
use crate::store::orders::Order;

/// How often a change is made anew because others change the same order.
const ATTEMPTS: u32 = 4;

/// Which part is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Configuration files and environment of named containers.
    Settings,
    /// Images, with their logins.
    Images,
}

/// A change as it was read, to be made in the pod that it was read for.
pub struct Edit(Read);

enum Read {
    Settings(settings::Edit),
    Images(images::Edit),
}

impl Part {
    /// Reads the body that changes this part of a pod.
    ///
    /// # Errors
    /// Every problem of the body.
    pub fn read(self, body: &Value, pod: &Pod) -> Result<Edit, AppError> {
        let mut problems = Problems::default();
        let edit = match self {
            Self::Settings => settings::read(body, pod, &mut problems).map(Read::Settings),
            Self::Images => images::read(body, pod, &mut problems).map(Read::Images),
        };
        edit.filter(|_| problems.is_empty()).map(Edit).ok_or_else(|| AppError::invalid(problems))
    }
}

impl Edit {
    /// Makes the change, with new secrets sealed to the region's key.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn apply(self, pod: &mut Pod, key: &PublicKey) -> Result<(), SealError> {
        match self.0 {
            Read::Settings(edit) => edit.apply(pod, key),
            Read::Images(edit) => edit.apply(pod, key),
        }
    }
}

impl App {
    /// Changes a part of the order's pod: a new revision, with the same ports. A stopped order stays stopped.
    ///
    /// # Errors
    /// Every problem of the body; [`Reason::NotDeployed`]; [`Reason::OrderEnded`]; the region's own reason when the job failed.
    pub async fn edit(
        &self,
        mut order: Order,
        earlier: Option<Job>,
        part: Part,
        request: ChangeRequest<'_>,
    ) -> Result<ChangeAnswer, AppError> {
        let digest = self.request_digest(&format!("edit {part:?} {:?}", request.until), request.body);
        if let Some(job) = earlier {
            return self.answered_before(job, &digest, request.wait).await;
        }
        for _ in 0..ATTEMPTS {
            let region = self.region_of_deployed(&order)?;
            let revision = order.target.as_ref().ok_or_else(not_deployed)?.revision;
            let base = self.store.pod(&order.id, revision).await?;
            let base = base.ok_or_else(|| AppError::internal("a target's revision is on record"))?;
            let edit = part.read(request.body, &base)?;
            let key = self.bus.regions.public_key(&region).ok_or_else(|| AppError::region_unavailable(&region))?;
            let pod = sealing(move || {
                let mut pod = base;
                edit.apply(&mut pod, &key)?;
                Ok(pod)
            });
            let pod = pod.await?;
            check_size(&pod)?;

            let id = JobId::new();
            let idempotency = request.idempotency_key.map(|key| (key, &digest.current));
            let acceptance = Acceptance { order: &order.id, region: &region, job: id, idempotency };
            match self.store.accept_deploy(&acceptance, &pod, request.until, Some(revision)).await? {
                Accepted::Yes(job) => return self.carry_out(job, pod, request.wait).await,
                Accepted::KeyTaken => {
                    let answer = self.answered_by_another_request(&order.id, request, &digest).await?;
                    return answer.ok_or_else(|| AppError::internal("a taken idempotency key names a job"));
                }
                Accepted::No => {}
            }
            // The same request may have come first.
            if let Some(answer) = self.answered_by_another_request(&order.id, request, &digest).await? {
                return Ok(answer);
            }
            order = self.find_order(order.id.as_str()).await?;
            if order.target.as_ref().is_some_and(|target| target.revision == revision) {
                return Err(self.not_accepted(&order.id, &region, Needs::Target).await);
            }
        }
        Err(AppError::new(Reason::Overloaded, "others keep changing the order; try again"))
    }
}

/// Notes a container that the pod does not have; else its place.
fn place_of(name: &str, path: &str, pod: &Pod, problems: &mut Problems) -> Option<usize> {
    let place = pod.containers.iter().position(|container| container.name.as_str() == name);
    if place.is_none() {
        let names: Vec<_> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        problems.add(path, format!("is no container of the pod, which has {}", names.join(", ")));
    }
    place
}

/// Notes that the pod would have too many values to seal.
fn check_count(environment: usize, pod: &Pod, problems: &mut Problems) {
    let logins = pod.containers.iter().filter(|container| container.login.is_some()).count();
    check_secrets(environment + logins, "environment", problems);
}

#[cfg(test)]
mod tests {
    use common::pod::Container;
    use common::sealed::KeyRing;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    /// The region's keys.
    pub(super) fn ring() -> KeyRing {
        KeyRing::from_hex(["01".repeat(32).as_str()]).unwrap()
    }

    /// `web` with a config, a variable and a login; `side` with nothing.
    pub(super) fn pod() -> Pod {
        let sealed: String = ring().public_key().seal(&"old".into()).unwrap().into();
        let side = json!({ "name": "side", "image": "team/side:1", "memory": "64Mi", "ports": [], "environment": [],
            "command": [], "args": [], "mount_path": null, "config": null, "login": null });
        let web = json!({ "name": "web", "image": "nginx:1", "memory": "64Mi", "ports": [],
            "environment": [{ "name": "MODE", "value": sealed }], "command": [], "args": [], "mount_path": null,
            "config": { "path": "/etc/a.conf", "content": "old" }, "login": { "username": "anna", "password": sealed } });
        serde_json::from_value(json!({ "units": 2, "storage": "none", "containers": [web, side] })).unwrap()
    }

    /// A container's environment in clear.
    pub(super) fn opened(container: &Container) -> Vec<(String, String)> {
        let open = |variable: &common::pod::Variable| ring().open(&variable.value).unwrap().expose_secret().to_owned();
        container.environment.iter().map(|v| (v.name.as_str().to_owned(), open(v))).collect()
    }

    /// What is noted of a body that is read for [`pod`].
    pub(super) fn problems_of(read: impl FnOnce(&Pod, &mut Problems) -> Option<()>) -> Vec<String> {
        let mut problems = Problems::default();
        read(&pod(), &mut problems);
        problems.into_vec().iter().map(ToString::to_string).collect()
    }
}
