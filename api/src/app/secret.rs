//! Secrets of orders and tokens of operators: made here, kept as HMAC-SHA-256 under a key that PostgreSQL never sees.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use rand::TryRngCore as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::App;
use super::error::AppError;
use crate::store::orders::{KeyUse, Order};

/// The key that order secrets are kept under, and the operators' tokens.
pub struct Secrets {
    key: Hmac<Sha256>,
    operators: Vec<(String, [u8; 32])>,
}

/// An operator who has shown a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The token's name, which stands in the order's history.
    pub name: String,
}

impl Secrets {
    /// Secrets under this key, with these operators: name to token.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    pub fn new(key: &[u8; 32], operators: &BTreeMap<String, SecretString>) -> Self {
        let mut secrets =
            Self { key: Hmac::new_from_slice(key).expect("HMAC takes keys of any length"), operators: Vec::new() };
        let digests = operators.iter().map(|(name, token)| (name.clone(), secrets.digest(&[token.expose_secret()])));
        secrets.operators = digests.collect();
        secrets
    }

    /// The HMAC of some parts, told apart by their lengths.
    pub fn digest(&self, parts: &[&str]) -> [u8; 32] {
        let mut mac = self.key.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// The operator whose token this is. All tokens are compared, each in constant time.
    fn operator(&self, token: &str) -> Option<Operator> {
        let digest = self.digest(&[token]);
        let mut found = 0_u32;
        for (number, (_, known)) in (1_u32..).zip(&self.operators) {
            let same: Choice = digest.as_slice().ct_eq(known.as_slice());
            found = u32::conditional_select(&found, &number, same);
        }
        let index = usize::try_from(found).ok()?.checked_sub(1)?;
        self.operators.get(index).map(|(name, _)| Operator { name: name.clone() })
    }
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
    pub(super) fn request_digest(&self, operation: &str, body: &serde_json::Value) -> [u8; 32] {
        self.secrets.digest(&["request", operation, &body.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let operators = [("anna", "token-a"), ("berta", "token-b")];
        let operators = operators.map(|(name, token)| (name.to_owned(), token.into()));
        Secrets::new(&[7; 32], &operators.into())
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
        let other = Secrets::new(&[8; 32], &BTreeMap::new());
        assert_ne!(secrets().digest(&["a"]), other.digest(&["a"]));
        assert_ne!(secrets().digest(&["ab", "c"]), secrets().digest(&["a", "bc"]));
    }

    #[test]
    fn no_two_generated_secrets_are_the_same() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.expose_secret().len(), 43);
        assert_ne!(one.expose_secret(), two.expose_secret());
    }
}
