//! `PATCH /k8s/pod/images`: which image a container runs. Which container is meant follows from the image: the only one, else
//! the one with the same repository (`wire.md` §5).

use common::image::Image;
use common::pod::{Pod, RegistryLogin};
use common::sealed::{PublicKey, SealError};
use secrecy::SecretString;
use serde_json::Value;

use super::super::json::{Field, Problems};
use super::super::pod_request::read_login;

/// The new images, by the container's place in the pod.
pub(super) struct Edit(Vec<(usize, Image, Login)>);

/// What becomes of a container's registry login.
enum Login {
    /// It stays, while the registry stays the same: no password goes to another.
    Keep,
    /// It is this one; none = the image is public.
    Set(Option<(String, SecretString)>),
}

/// Reads `[{"image":"repo:tag","login":{"username","password"}}]`, or `{"images":["repo:tag"]}` of older clients. None = a
/// problem was noted.
pub(super) fn read(body: &Value, pod: &Pod, problems: &mut Problems) -> Option<Edit> {
    let mut list = Field::root(body);
    let is_old = body.is_object();
    if is_old {
        let mut fields = list.object(problems)?;
        let images = fields.required("images", problems);
        fields.finish(problems);
        list = images?;
    }
    let items = list.list(problems)?;
    if items.is_empty() || items.len() > pod.containers.len() {
        let most = pod.containers.len();
        return list.wrong(format!("must have 1 to {most} images, at most one for each container"), problems);
    }
    let mut edits: Vec<(usize, Image, Login)> = Vec::new();
    for item in &items {
        let read = if is_old { read_image(item, pod, problems) } else { read_item(item, pod, problems) };
        let Some((place, image, login)) = read else { continue };
        if edits.iter().any(|(taken, ..)| *taken == place) {
            problems.add(item.path(), "must be for another container than the images before it");
        }
        edits.push((place, image, login));
    }
    Some(Edit(edits))
}

fn read_item(item: &Field<'_>, pod: &Pod, problems: &mut Problems) -> Option<(usize, Image, Login)> {
    let mut fields = item.object(problems)?;
    let field = fields.required("image", problems);
    let login = fields.optional("login");
    fields.finish(problems);
    let login = match login {
        None => Login::Keep,
        Some(field) => Login::Set(read_login(&field, problems)),
    };
    let (place, image, _) = read_image(&field?, pod, problems)?;
    Some((place, image, login))
}

/// Reads an image whose login stays.
fn read_image(field: &Field<'_>, pod: &Pod, problems: &mut Problems) -> Option<(usize, Image, Login)> {
    let image: Image = field.parsed(problems)?;
    let place = place_for(&image, pod).or_else(|| {
        let all = pod.containers.iter().map(|container| format!("{} ({})", container.name, container.image));
        let all: Vec<String> = all.collect();
        let problem = "must have the repository of exactly one container; deploy anew to change it. The pod has";
        field.wrong(format!("{problem} {}", all.join(", ")), problems)
    })?;
    Some((place, image, Login::Keep))
}

/// The only container, else the only one with the image's repository.
fn place_for(image: &Image, pod: &Pod) -> Option<usize> {
    if pod.containers.len() == 1 {
        return Some(0);
    }
    let same = |other: &Image| other.registry() == image.registry() && other.repository() == image.repository();
    let mut places = pod.containers.iter().enumerate().filter(|(_, container)| same(&container.image));
    let (place, _) = places.next()?;
    places.next().is_none().then_some(place)
}

impl Edit {
    /// Makes the change; new passwords are sealed to the region's key.
    pub(super) fn apply(self, pod: &mut Pod, key: &PublicKey) -> Result<(), SealError> {
        for (place, image, login) in self.0 {
            let Some(container) = pod.containers.get_mut(place) else { continue };
            container.login = match login {
                Login::Keep => container.login.take().filter(|_| container.image.registry() == image.registry()),
                Login::Set(None) => None,
                Login::Set(Some((username, password))) => {
                    Some(RegistryLogin { username, password: key.seal(&password)? })
                }
            };
            container.image = image;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::tests::{pod, problems_of, ring};
    use super::*;
    use serde_json::json;

    fn changed(pod: &Pod, body: &Value) -> Pod {
        let mut pod = pod.clone();
        let mut problems = Problems::default();
        let edit = read(body, &pod, &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        edit.apply(&mut pod, &ring().public_key()).unwrap();
        pod
    }

    #[test]
    fn the_container_with_the_same_repository_is_meant() {
        let changed = changed(&pod(), &json!([{ "image": "team/side:2" }]));
        assert_eq!(changed.containers.iter().map(|c| c.image.as_str()).collect::<Vec<_>>(), ["nginx:1", "team/side:2"]);
    }

    #[test]
    fn an_only_container_takes_any_image_and_a_login_stays_with_its_registry() {
        let mut one = pod();
        one.containers.truncate(1);
        let same = changed(&one, &json!([{ "image": "other:1" }]));
        assert_eq!(same.containers[0].login, one.containers[0].login);
        let elsewhere = changed(&one, &json!([{ "image": "registry.example.com/nginx:1" }]));
        assert_eq!(elsewhere.containers[0].login, None);
        let public = changed(&one, &json!([{ "image": "nginx:2", "login": { "username": "", "password": "" } }]));
        assert_eq!(public.containers[0].login, None);
        let body = json!([{ "image": "nginx:2", "login": { "username": "berta", "password": "p" } }]);
        let login = changed(&one, &body).containers[0].login.clone().unwrap();
        assert_eq!((login.username.as_str(), ring().open(&login.password).unwrap().expose_secret()), ("berta", "p"));
    }

    #[test]
    fn every_problem_is_noted_with_its_place() {
        for (body, expected) in [
            (json!("nginx:2"), "the body must be a list"),
            (json!({}), "images is required"),
            (json!({ "images": [{ "image": "nginx:2" }] }), "images[0] must be a string"),
            (json!([]), "the body must have 1 to 2 images"),
            (json!([{}]), "[0].image is required"),
            (json!([{ "image": "NGINX" }]), "[0].image must be an image such as"),
            (json!([{ "image": "redis" }]), "[0].image must have the repository of exactly one container"),
            (json!([{ "image": "nginx:2" }, { "image": "nginx:3" }]), "[1] must be for another container"),
            (json!([{ "image": "nginx:2", "login": { "username": "a" } }]), "[0].login must have both"),
            (json!([{ "image": "nginx:2", "tag": "3" }]), "[0].tag is not a known field"),
        ] {
            let found = problems_of(|pod, problems| read(&body, pod, problems).map(drop));
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{body}: {found:?}");
        }
    }
}
