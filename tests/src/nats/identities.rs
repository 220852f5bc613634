//! Who the clients of the tests' NATS are: a key for each, with the permissions that vkube ships, and the certificate that the
//! servers show.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use common::access::{Access, print_user};
use common::name::{RegionCode, ServiceName};
use nkeys::KeyPair;

/// The other region that the servers know.
pub const OTHER_REGION: &str = "elsewhere";
/// The service that calls the api.
pub const SERVICE: &str = "market";
/// The person who runs the product.
pub const OPERATOR: &str = "anna";
/// The tests themselves, who may do everything: whoever does not say who he is.
const TESTS: &str = "e2e";

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The api instances.
    Api,
    /// The workers of the system's region.
    Worker,
    /// A worker of the other region.
    OtherWorker,
    /// Another service.
    Service,
    /// The operator.
    Operator,
}

impl Identity {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Api, Self::Worker, Self::OtherWorker, Self::Service, Self::Operator];

    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::OtherWorker => "worker-elsewhere",
            Self::Service => SERVICE,
            Self::Operator => OPERATOR,
        }
    }

    fn access(self, region: &RegionCode) -> Result<Access> {
        let (other, service): (RegionCode, ServiceName) = (OTHER_REGION.parse()?, SERVICE.parse()?);
        let operator = OPERATOR.parse()?;
        Ok(match self {
            Self::Api => Access::of_api(&[region.clone(), other], &[service, operator]),
            Self::Worker => Access::of_worker(region),
            Self::OtherWorker => Access::of_worker(&other),
            Self::Service => Access::of_service(&service),
            Self::Operator => Access::of_operator(&operator),
        })
    }
}

/// Their keys and permissions.
#[derive(Debug, Clone)]
pub(super) struct Identities {
    folder: PathBuf,
    users: Vec<(Identity, String)>,
}

impl Identities {
    /// Makes keys in a folder, and a certificate of servers at these addresses.
    pub(super) fn make(folder: &Path, region: &RegionCode, addresses: &[&str]) -> Result<Self> {
        let mut made = Self { folder: folder.to_owned(), users: Vec::new() };
        for identity in Identity::ALL {
            let key = KeyPair::new_user();
            std::fs::write(made.key_file(identity), key.seed()?)?;
            made.users.push((identity, print_user(&key.public_key(), &identity.access(region)?)));
        }
        let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        let shown = rcgen::generate_simple_self_signed(addresses)?;
        std::fs::write(made.certificate(), shown.cert.pem())?;
        std::fs::write(made.certificate_key(), shown.signing_key.serialize_pem())?;
        Ok(made)
    }

    /// The file with an identity's seed.
    pub(super) fn key_file(&self, identity: Identity) -> PathBuf {
        self.folder.join(format!("{}.nk", identity.name()))
    }

    /// What the servers show, and clients trust.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("nats.crt")
    }

    pub(super) fn certificate_key(&self) -> PathBuf {
        self.folder.join("nats.key")
    }

    /// The part of a server's configuration, one of them without some of its permissions.
    pub(super) fn configuration(&self, denied: Option<(Identity, &[&str])>) -> String {
        let user = |(identity, text): &(Identity, String)| match denied.filter(|(who, _)| who == identity) {
            Some((_, subjects)) => text.replacen("publish: {", &format!("publish: {{ deny: {subjects:?},"), 1),
            None => text.clone(),
        };
        let users: String = self.users.iter().map(user).collect();
        format!(
            "no_auth_user: {TESTS}\nauthorization {{ users: [\n{users}{{ user: {TESTS}, password: {TESTS} }}\n] }}\n"
        )
    }

    /// An identity's seed.
    pub(super) fn seed(&self, identity: Identity) -> Result<String> {
        std::fs::read_to_string(self.key_file(identity)).context("a seed")
    }
}
