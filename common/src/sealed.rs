//! Values that only one region can read: environment values and registry passwords, sealed to the region's X25519 key as
//! soon as they are parsed (`design.md` §9). The box is libsodium's `crypto_box_seal`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::aead::OsRng;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a key or a sealed value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not 32 bytes in base64 (public) or hex (private).
    #[error("must be an X25519 key of 32 bytes")]
    Key,
    /// Not `<key id>.<base64>`.
    #[error("must be a sealed value")]
    Format,
    /// None of the keys in the ring is the one it was sealed to.
    #[error("was sealed to key {0}, which is not in the key ring")]
    UnknownKey(String),
    /// The box does not open, or holds no UTF-8.
    #[error("does not open with the key it names")]
    Broken,
}

/// The half of a region's key that the worker announces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(crypto_box::PublicKey);

impl PublicKey {
    /// A short name for the key, which travels with everything sealed to it: 8 bytes of its SHA-256, in hex.
    fn id(&self) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        hex::encode(digest.get(..8).unwrap_or_default())
    }

    /// Seals a value, so that only the owner of the private half can read it. Sealing the same value twice gives two
    /// different texts.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn seal(&self, value: &SecretString) -> Result<Sealed, SealError> {
        let bytes = value.expose_secret().as_bytes();
        let boxed = self.0.seal(&mut OsRng, bytes).map_err(|_| SealError::Broken)?;
        Ok(Sealed(format!("{}.{}", self.id(), STANDARD.encode(boxed))))
    }
}

impl FromStr for PublicKey {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(text).map_err(|_| SealError::Key)?;
        crypto_box::PublicKey::from_slice(&bytes).map(Self).map_err(|_| SealError::Key)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = SealError;

    fn try_from(text: String) -> Result<Self, SealError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

/// A sealed value: `<key id>.<base64>`. Safe to store and to send; useless without the region's private key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sealed(String);

impl FromStr for Sealed {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let (id, boxed) = text.split_once('.').ok_or(SealError::Format)?;
        let valid = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()) && STANDARD.decode(boxed).is_ok();
        if valid { Ok(Self(text.to_owned())) } else { Err(SealError::Format) }
    }
}

impl TryFrom<String> for Sealed {
    type Error = SealError;

    fn try_from(text: String) -> Result<Self, SealError> {
        text.parse()
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        sealed.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// A region's private keys: the first is announced, the others still open what was sealed before it.
pub struct KeyRing(Vec<crypto_box::SecretKey>);

impl KeyRing {
    /// A ring of one new key, for as long as a question takes.
    pub fn generate() -> Self {
        Self(vec![crypto_box::SecretKey::generate(&mut OsRng)])
    }

    /// Reads private keys, each 32 bytes in hex; the first is the one to announce.
    ///
    /// # Errors
    /// When there is no key, or one is not 32 bytes in hex.
    pub fn from_hex<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, SealError> {
        let read = |text: &str| {
            let bytes = hex::decode(text.trim()).map_err(|_| SealError::Key)?;
            crypto_box::SecretKey::from_slice(&bytes).map_err(|_| SealError::Key)
        };
        let keys = keys.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(SealError::Key) } else { Ok(Self(keys)) }
    }

    /// The public half to announce.
    ///
    /// # Panics
    /// Never: a ring has at least one key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.first().expect("a key ring is never empty").public_key())
    }

    /// The ids of all keys, the announced one's first: what a sealed value begins with.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|key| PublicKey(key.public_key()).id())
    }

    /// Opens a value that was sealed to one of the keys.
    ///
    /// # Errors
    /// When the key is not in the ring, or the box is broken.
    pub fn open(&self, sealed: &Sealed) -> Result<SecretString, SealError> {
        let (id, boxed) = sealed.0.split_once('.').ok_or(SealError::Format)?;
        let key = self.0.iter().find(|key| PublicKey(key.public_key()).id() == id);
        let key = key.ok_or_else(|| SealError::UnknownKey(id.to_owned()))?;
        let boxed = STANDARD.decode(boxed).map_err(|_| SealError::Format)?;
        let opened = key.unseal(&boxed).map_err(|_| SealError::Broken)?;
        String::from_utf8(opened).map(SecretString::from).map_err(|_| SealError::Broken)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[u8]) -> KeyRing {
        let keys: Vec<String> = keys.iter().map(|byte| hex::encode([*byte; 32])).collect();
        KeyRing::from_hex(keys.iter().map(String::as_str)).unwrap()
    }

    #[test]
    fn what_is_sealed_to_a_region_opens_there_and_nowhere_else() {
        let sealed = ring(&[1]).public_key().seal(&"s3cret".into()).unwrap();
        assert_eq!(ring(&[1]).open(&sealed).unwrap().expose_secret(), "s3cret");
        assert!(matches!(ring(&[2]).open(&sealed), Err(SealError::UnknownKey(_))));
    }

    #[test]
    fn an_old_key_in_the_ring_still_opens() {
        let sealed = ring(&[1]).public_key().seal(&String::new().into()).unwrap();
        assert_eq!(ring(&[2, 1]).open(&sealed).unwrap().expose_secret(), "");
    }

    #[test]
    fn neither_half_of_a_sealed_value_shows_in_debug() {
        let sealed = ring(&[1]).public_key().seal(&"s3cret".into()).unwrap();
        assert_eq!(format!("{sealed:?}"), "Sealed(..)");
        assert_eq!(format!("{:?}", ring(&[1, 2])), "KeyRing(2 keys)");
    }

    #[test]
    fn broken_keys_and_boxes_are_refused() {
        assert_eq!(KeyRing::from_hex([]).unwrap_err(), SealError::Key);
        assert_eq!(KeyRing::from_hex(["00"]).unwrap_err(), SealError::Key);
        assert!("not-a-box".parse::<Sealed>().is_err());
        let text = String::from(ring(&[1]).public_key().seal(&"s3cret".into()).unwrap());
        let cut: Sealed = text.get(..text.len() - 8).unwrap().parse().unwrap();
        assert_eq!(ring(&[1]).open(&cut).unwrap_err(), SealError::Broken);
    }
}
