//! What opens the API: the order's secret and the operator's token, from flags, the environment or files. They leave this
//! module only as headers that no debug output shows.

use std::io::Read;
use std::path::Path;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

use crate::args::Connection;
use crate::error::Error;

/// No secret is longer, in bytes.
const MAX_BYTES: u64 = 8192;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Anybody.
    Anyone,
    /// The owner of an order, by its secret.
    Owner,
    /// The operator, by a token.
    Operator,
}

/// The credentials that were given.
#[derive(Debug)]
pub(crate) struct Credentials {
    secret: Option<SecretString>,
    operator_token: Option<SecretString>,
}

impl Credentials {
    /// Reads what flags, environment and files say.
    pub(crate) fn read(given: &Connection) -> Result<Self, Error> {
        let pick = |file: Option<&Path>, text: Option<&SecretString>| match file {
            Some(file) => read_secret(file).map(Some),
            None => Ok(text.cloned().filter(|text| !text.expose_secret().is_empty())),
        };
        Ok(Self {
            secret: pick(given.secret_file.as_deref(), given.secret.as_ref())?,
            operator_token: pick(given.operator_token_file.as_deref(), given.operator_token.as_ref())?,
        })
    }

    /// Whether there is anything to hide.
    pub(crate) fn any(&self) -> bool {
        self.secret.is_some() || self.operator_token.is_some()
    }

    /// The header that shows who asks.
    pub(crate) fn header(&self, caller: Caller) -> Result<Option<(&'static str, HeaderValue)>, Error> {
        let missing = |what: &str, name: &str, variable: &str| {
            Error::Usage(format!("this needs {what}: set {variable}, or give --{name}-file or --{name}"))
        };
        match caller {
            Caller::Anyone => Ok(None),
            Caller::Owner => {
                let secret = self.secret.as_ref();
                let secret = secret.ok_or_else(|| missing("the order's secret", "secret", "VKUBE_SECRET"))?;
                Ok(Some(("secret", hidden("the secret", secret.expose_secret())?)))
            }
            Caller::Operator => {
                let token = self.operator_token.as_ref();
                let token =
                    token.ok_or_else(|| missing("an operator's token", "operator-token", "VKUBE_OPERATOR_TOKEN"))?;
                let value = hidden("the operator's token", &format!("Bearer {}", token.expose_secret()))?;
                Ok(Some(("authorization", value)))
            }
        }
    }
}

/// A header's value that no debug output shows.
pub(crate) fn hidden(what: &str, text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::Usage(format!("{what} holds characters that no header may hold")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A secret from a file, or with `-` from the standard input; white space around it does not count.
pub(crate) fn read_secret(file: &Path) -> Result<SecretString, Error> {
    let bytes = read_file(file, MAX_BYTES)?;
    let text = str::from_utf8(&bytes).map_err(|_| Error::Usage(format!("{} holds no text", name(file))))?.trim();
    if text.is_empty() {
        return Err(Error::Usage(format!("{} is empty", name(file))));
    }
    Ok(SecretString::from(text))
}

/// The bytes of a file, or with `-` of the standard input; more than `most` are refused.
pub(crate) fn read_file(file: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let source: Result<Box<dyn Read>, _> = if file.as_os_str() == "-" {
        Ok(Box::new(std::io::stdin()))
    } else {
        std::fs::File::open(file).map(|file| Box::new(file) as Box<dyn Read>)
    };
    let mut bytes = Vec::new();
    source
        .and_then(|source| source.take(most + 1).read_to_end(&mut bytes))
        .map_err(|source| Error::Input { name: name(file), source })?;
    if bytes.len() as u64 > most {
        return Err(Error::Usage(format!("{} has more than {most} bytes", name(file))));
    }
    Ok(bytes)
}

/// What a file is called in messages.
pub(crate) fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { "the standard input".to_owned() } else { file.display().to_string() }
}
