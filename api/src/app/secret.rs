//! Secrets of orders and tokens of operators: made here, kept as HMAC-SHA-256 under a key that PostgreSQL never sees.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use rand::TryRngCore as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::App;
use super::error::AppError;
use crate::store::digest::{Digest, KeyId};
use crate::store::orders::{KeyUse, Order};

/// Keys, 32 bytes each, that nobody sees.
pub struct SecretKeys {
    /// What is kept from now on is kept under this one.
    pub current: [u8; 32],
    /// What was kept before may be under one of these.
    pub older: Vec<[u8; 32]>,
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKeys(..)")
    }
}

/// The keys that order secrets are kept under, and the operators' tokens.
pub struct Secrets {
    /// What is kept from now on is kept under this one.
    key: Hmac<Sha256>,
    key_id: KeyId,
    /// What was kept before may be under one of these.
    older: Vec<Hmac<Sha256>>,
    operators: Vec<(String, [u8; 32])>,
}

/// An operator who has shown a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The token's name, which stands in the order's history.
    pub name: String,
}

impl Secrets {
    /// Secrets under the first of these keys, those kept before under any of them, with these operators: name to token.
    pub fn new(keys: &SecretKeys, operators: &BTreeMap<String, SecretString>) -> Self {
        let (key, older) = (hmac(&keys.current), keys.older.iter().map(hmac).collect());
        let mut secrets = Self { key_id: key_id(&key), key, older, operators: Vec::new() };
        let digests =
            operators.iter().map(|(name, token)| (name.clone(), secrets.digest(&[token.expose_secret()]).current));
        secrets.operators = digests.collect();
        secrets
    }

    /// The HMAC of some parts, told apart by their lengths.
    pub fn digest(&self, parts: &[&str]) -> Digest {
        let older = self.older.iter().map(|key| digest(key, parts)).collect();
        Digest { current: digest(&self.key, parts), older, key: self.key_id }
    }

    /// The ids of the keys, that of now first.
    pub fn key_ids(&self) -> Vec<KeyId> {
        std::iter::once(self.key_id).chain(self.older.iter().map(key_id)).collect()
    }

    /// The operator whose token this is. All tokens are compared, each in constant time.
    fn operator(&self, token: &str) -> Option<Operator> {
        let digest = digest(&self.key, &[token]);
        let mut found = 0_u32;
        for (number, (_, known)) in (1_u32..).zip(&self.operators) {
            let same: Choice = digest.as_slice().ct_eq(known.as_slice());
            found = u32::conditional_select(&found, &number, same);
        }
        let index = usize::try_from(found).ok()?.checked_sub(1)?;
        self.operators.get(index).map(|(name, _)| Operator { name: name.clone() })
    }
}

/// # Panics
/// Never.
fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn digest(key: &Hmac<Sha256>, parts: &[&str]) -> [u8; 32] {
    let mut mac = key.clone();
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

/// What tells a key from others.
fn key_id(key: &Hmac<Sha256>) -> KeyId {
    let [a, b, c, d, ..] = digest(key, &["the key's id"]);
    KeyId(u32::from_be_bytes([a, b, c, d]))
}

/// A new secret of 256 random bits, as 43 characters of URL-safe base64.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn generate() -> Result<SecretString, AppError> {
    let mut bytes = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(AppError::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

impl App {
    /// The order that a secret opens. A missing secret takes the same way as a wrong one, so that both are answered in
    /// the same time.
    ///
    /// # Errors
    /// [`AppError::unauthorized`], or that PostgreSQL does not answer.
    pub async fn authenticate(&self, secret: Option<&str>) -> Result<Order, AppError> {
        Ok(self.authenticate_change(secret, None).await?.0)
    }

    /// The order that a secret opens, and what its customer has used an idempotency key for, in one statement.
    ///
    /// # Errors
    /// As [`App::authenticate`].
    pub async fn authenticate_change(
        &self,
        secret: Option<&str>,
        idempotency_key: Option<&str>,
    ) -> Result<(Order, Option<KeyUse>), AppError> {
        let digest = self.secrets.digest(&[secret.unwrap_or_default()]);
        let found = self.store.order_by_secret(&digest, idempotency_key).await?;
        let (order, used) = found.ok_or_else(AppError::unauthorized)?;
        tracing::Span::current().record("order.id", order.id.as_str());
        Ok((order, used))
    }

    /// Whether any operator's token is configured: without one, the operator's calls do not exist.
    pub fn has_operators(&self) -> bool {
        !self.secrets.operators.is_empty()
    }

    /// The operator whose token this is.
    ///
    /// # Errors
    /// [`AppError::unauthorized`].
    pub fn authenticate_operator(&self, token: Option<&str>) -> Result<Operator, AppError> {
        self.secrets.operator(token.unwrap_or_default()).ok_or_else(AppError::unauthorized)
    }

    /// The HMAC of a request: two requests with one idempotency key must have the same.
    pub(super) fn request_digest(&self, operation: &str, body: &serde_json::Value) -> Digest {
        self.secrets.digest(&["request", operation, &body.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let operators = [("anna", "token-a"), ("berta", "token-b")];
        let operators = operators.map(|(name, token)| (name.to_owned(), token.into()));
        Secrets::new(&SecretKeys { current: [7; 32], older: vec![[6; 32]] }, &operators.into())
    }

    #[test]
    fn an_operator_is_known_by_the_whole_token_only() {
        for (token, name) in [
            ("token-a", Some("anna")),
            ("token-b", Some("berta")),
            ("token-", None),
            ("token-aa", None),
            ("", None),
            ("anna", None),
        ] {
            assert_eq!(secrets().operator(token).map(|o| o.name).as_deref(), name, "{token}");
        }
    }

    #[test]
    fn digests_depend_on_the_key_and_on_where_parts_end() {
        let other = Secrets::new(&SecretKeys { current: [8; 32], older: vec![] }, &BTreeMap::new());
        assert_ne!(secrets().digest(&["a"]), other.digest(&["a"]));
        assert_ne!(secrets().digest(&["ab", "c"]), secrets().digest(&["a", "bc"]));
    }

    #[test]
    fn what_was_kept_under_an_older_key_is_known_again_and_written_under_that_of_now() {
        let older = Secrets::new(&SecretKeys { current: [6; 32], older: vec![] }, &BTreeMap::new());
        let (now, then) = (secrets().digest(&["a"]), older.digest(&["a"]));
        assert!(now.is(&then.current) && now.is(&now.current) && !then.is(&now.current));
        assert!(!now.is(&older.digest(&["b"]).current));
        assert_eq!(secrets().key_ids(), [now.key, then.key]);
        assert_ne!(now.key, then.key);
    }

    #[test]
    fn no_two_generated_secrets_are_the_same() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.expose_secret().len(), 43);
        assert_ne!(one.expose_secret(), two.expose_secret());
    }
}
