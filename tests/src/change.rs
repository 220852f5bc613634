//! Changes that an order's customer may ask for, drawn at random.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::pod::{container, envs, pod, with};

/// One change.
#[derive(Debug, Clone)]
pub enum Change {
    /// A call with a body.
    Call(Method, &'static str, Value),
    /// The end of the job that is the newest then.
    CancelNewest,
}

impl Change {
    /// Any change of an order with two units, with host ports out of a few, or with assigned ones.
    pub fn any(random: &mut StdRng, region: &str, ports: Option<&[u16]>) -> Self {
        let step = |path| Self::Call(Method::POST, path, json!({}));
        let image = ["web:1", "web:2"].choose(random).copied().unwrap_or_default();
        let word = format!("w{}", random.random_range(0..1000));
        match random.random_range(0..100) {
            0..32 => Self::Call(Method::POST, "/k8s/deploy", deploy(random, region, ports, image, &word)),
            32..45 => {
                let body = json!({ "environment": { "web": { "PAGE": word } }, "config": { "web": word } });
                Self::Call(Method::PUT, "/k8s/pod/update", body)
            }
            45..55 => Self::Call(Method::PATCH, "/k8s/pod/images", json!([{ "image": image }])),
            55..65 => step("/k8s/pod/stop"),
            65..78 => step("/k8s/pod/start"),
            78..88 => step("/k8s/pod/restart"),
            _ => Self::CancelNewest,
        }
    }
}

fn deploy(random: &mut StdRng, region: &str, ports: Option<&[u16]>, image: &str, word: &str) -> Value {
    let chosen: Vec<Option<u16>> = match ports {
        Some(ports) => ports.choose_multiple(random, 2).copied().map(Some).collect(),
        None => vec![None; 2],
    };
    let most = random.random_range(1..=2);
    let chosen: Value = chosen
        .into_iter()
        .zip([80, 81])
        .take(most)
        .map(|(host, inside)| {
            let protocol = if random.random_bool(0.3) { "UDP" } else { "TCP" };
            let port = json!({ "containerPort": inside, "protocol": protocol });
            host.map_or(port.clone(), |host| with(port, "hostPort", json!(host)))
        })
        .collect();
    let web = with(container("web", image), "ports", chosen);
    let web = with(web, "envs", envs(&[("PAGE", word.to_owned())]));
    let web = with(with(web, "configMountPath", json!("/etc/app.conf")), "config", json!(word));
    pod(region, &[web])
}
