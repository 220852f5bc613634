//! How what must not be kept in clear is kept: as HMAC, under a key that PostgreSQL never sees.

use std::fmt;

/// The HMAC of a text, under the key of now and under those that were it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Under the key of now: what is written.
    pub current: [u8; 32],
    /// Under each of the older keys: what may have been written.
    pub older: Vec<[u8; 32]>,
    /// The key of now.
    pub key: KeyId,
}

/// Tells a key from others, and nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl Digest {
    /// Whether this was kept of the same text, under whichever key.
    pub fn is(&self, kept: &[u8]) -> bool {
        self.current == kept || self.older.iter().any(|older| older == kept)
    }

    /// As PostgreSQL compares them: under every key, and under the older ones.
    pub(super) fn lists(&self) -> (Vec<&[u8]>, Vec<&[u8]>) {
        let older: Vec<_> = self.older.iter().map(<[u8; 32]>::as_slice).collect();
        let all = std::iter::once(self.current.as_slice()).chain(older.iter().copied()).collect();
        (all, older)
    }
}

#[cfg(test)]
impl From<[u8; 32]> for Digest {
    fn from(current: [u8; 32]) -> Self {
        Self { current, older: Vec::new(), key: KeyId(7) }
    }
}
