//! How a part of the product signs in to NATS: where the servers are, who it says it is, whom it trusts, and whether it was
//! granted what it needs.

use std::fmt;
use std::path::PathBuf;

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

use crate::access::{Access, USER_INFO, UserInfo};
use crate::settings::{Reader, Setting};

/// Setting: where the servers are.
pub const URL: Setting = Setting::new(
    "VKUBE_NATS_URL",
    "nats://127.0.0.1:4222",
    "NATS servers of version 2.15 or newer, divided by commas; with tls:// in one of them nothing travels in clear.",
);
/// Setting: who signs in.
pub const NKEY_FILE: Setting = Setting::without_default(
    "VKUBE_NATS_NKEY_FILE",
    "File with the seed of the NKey by which NATS knows who this is, as vkube-api nkey makes it.",
);
/// Setting: who signs in, by JWT.
pub const CREDENTIALS_FILE: Setting = Setting::without_default(
    "VKUBE_NATS_CREDENTIALS_FILE",
    "File with a JWT and its seed (.creds) instead, where NATS knows its users by JWTs.",
);
/// Setting: whom to trust.
pub const CA_FILE: Setting = Setting::without_default(
    "VKUBE_NATS_CA_FILE",
    "CA that signed the certificate of NATS, in PEM, besides the system's; with it nothing travels in clear.",
);

/// Why a login cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The credentials file is none.
    #[error("the NATS credentials file {} cannot be used", .0.display())]
    Credentials(PathBuf, #[source] std::io::Error),
    /// The file of the seed cannot be read.
    #[error("the NATS key file {} cannot be read", .0.display())]
    ReadKey(PathBuf, #[source] std::io::Error),
    /// It holds no seed of a user.
    #[error("the NATS key file {} holds no seed of a user's NKey (SU...)", .0.display())]
    Key(PathBuf),
}

/// Where NATS is, and who signs in.
#[derive(Clone)]
pub struct Login {
    servers: Vec<ServerAddr>,
    nkey_file: Option<PathBuf>,
    credentials_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl fmt::Debug for Login {
    /// Without the servers: a URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("nkey_file", &self.nkey_file)
            .field("credentials_file", &self.credentials_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// A login with nothing but servers' addresses.
    pub fn anonymous(servers: Vec<ServerAddr>) -> Self {
        Self { servers, nkey_file: None, credentials_file: None, ca_file: None }
    }

    /// Reads the settings. None = a problem was noted.
    pub fn read(read: &mut Reader<'_>) -> Option<Self> {
        let servers = read.required_with(&URL, servers);
        let nkey_file = read.file(&NKEY_FILE);
        let credentials_file = read.file(&CREDENTIALS_FILE);
        let ca_file = read.file(&CA_FILE);
        if nkey_file.is_some() && credentials_file.is_some() {
            read.problem(&NKEY_FILE, format!("{} is set too: one of them says who this is", CREDENTIALS_FILE.variable));
        }
        Some(Self { servers: servers?, nkey_file, credentials_file, ca_file })
    }

    /// The servers.
    pub fn servers(&self) -> &[ServerAddr] {
        &self.servers
    }

    /// The options with what they need to sign in.
    ///
    /// # Errors
    /// When a file is not what it should be.
    pub async fn sign_in(&self, options: ConnectOptions) -> Result<ConnectOptions, LoginError> {
        let options = match &self.ca_file {
            Some(file) => options.add_root_certificates(file.clone()),
            None => options,
        };
        // Of all servers: those that the named ones tell of come without a scheme, and would be spoken to in clear.
        let options = options.require_tls(self.ca_file.is_some() || self.servers.iter().any(ServerAddr::tls_required));
        if let Some(file) = &self.nkey_file {
            let text = std::fs::read_to_string(file).map_err(|error| LoginError::ReadKey(file.clone(), error))?;
            let seed = text.trim();
            let key =
                nkeys::KeyPair::from_seed(seed).ok().filter(|key| key.key_pair_type() == nkeys::KeyPairType::User);
            return if key.is_some() { Ok(options.nkey(seed.to_owned())) } else { Err(LoginError::Key(file.clone())) };
        }
        if let Some(file) = &self.credentials_file {
            let signed = options.credentials_file(file).await;
            return signed.map_err(|error| LoginError::Credentials(file.clone(), error));
        }
        Ok(self.by_url(options))
    }

    /// The login of the first server whose URL has one, which the client itself leaves unread: a user with a password, or a
    /// token.
    fn by_url(&self, options: ConnectOptions) -> ConnectOptions {
        let login = self.servers.iter().find_map(|server| Some((server.username()?, server.password())));
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        match login {
            Some((user, Some(password))) => options.user_and_password(plain(user), plain(password)),
            Some((token, None)) => options.token(plain(token)),
            None => options,
        }
    }
}

/// What of what a connection needs it was not granted. None = the server does not say, as it may not be asked either.
pub async fn missing(client: &async_nats::Client, needed: &Access) -> Option<Vec<String>> {
    let request = async_nats::Request::new();
    let answer = client.send_request(USER_INFO, request).await;
    let info = answer.map(|answer| serde_json::from_slice::<UserInfo>(&answer.payload));
    let problem = match info {
        Ok(Ok(info)) => return Some(needed.missing(&info.data)),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(problem, subject = USER_INFO, "nats: the server does not say what this process may do");
    None
}

/// Reads addresses divided by commas; what is wrong is told without the text, which may hold a password.
fn servers(text: &str) -> Result<Vec<ServerAddr>, &'static str> {
    let servers = text.split(',').map(|server| server.trim().parse());
    servers.collect::<Result<_, _>>().map_err(|_| "must be nats://host:port, several divided by commas")
}
