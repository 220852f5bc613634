//! Names that customers, operators and Kubernetes give to things. A value in hand is valid: each name is parsed once, at
//! the edge, by the rule of the place where it ends up.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the name it was meant to be. Its `Display` is fit for customers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than the place where the name ends up can hold.
    #[error("must have 1 to {max} characters")]
    Length {
        /// The most characters allowed.
        max: usize,
    },
    /// Not a label of RFC 1123.
    #[error("must consist of lower case letters, digits and '-', and begin and end with a letter or a digit")]
    NotALabel,
    /// Not a token of letters, digits, `-` and `_`.
    #[error("must consist of letters, digits, '-' and '_'")]
    NotAToken,
    /// Not a UUID.
    #[error("must be a UUID")]
    NotAUuid,
}

/// Checks a DNS label (RFC 1123): lower case letters, digits and `-`, of `max` characters at most.
fn check_label(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length { max });
    }
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inside = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let bytes = text.as_bytes();
    if inside && edge(bytes.first()) && edge(bytes.last()) { Ok(()) } else { Err(NameError::NotALabel) }
}

/// Checks a token that may stand in a NATS subject: letters, digits, `-` and `_`.
fn check_token(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length { max });
    }
    let valid = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if valid { Ok(()) } else { Err(NameError::NotAToken) }
}

/// A text newtype that only its parser can make.
macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_name!(
    /// An order's id. It becomes the name of a Deployment and, behind `vkube-`, of a namespace: a DNS label of at most 48
    /// characters, which leaves room for the suffixes that Kubernetes adds to pod names.
    OrderId,
    |text| check_label(text, 48)
);

text_name!(
    /// A container's name: a DNS label of at most 63 characters (Kubernetes, "Container v1 core").
    ContainerName,
    |text| check_label(text, 63)
);

text_name!(
    /// One process of an api or a worker, unique among those that run at the same time: a subject token of at most 64
    /// characters.
    Instance,
    |text| check_token(text, 64)
);

impl Instance {
    /// A new instance name that no other process has: `<prefix>-<16 hex digits>`.
    pub fn unique(prefix: &str) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        Self(format!("{prefix}-{}", id.get(..16).unwrap_or(&id)))
    }
}

text_name!(
    /// A region's code (`ausrine`): a DNS label of at most 40 characters, which stands in subjects, stream names and node
    /// labels.
    RegionCode,
    |text| check_label(text, 40)
);

text_name!(
    /// The name of another service, or of a person, that is a client of NATS: a DNS label of at most 40 characters.
    ServiceName,
    |text| check_label(text, 40)
);

impl RegionCode {
    /// Reads a region as people write it (`North America`) or as its code (`north-america`): the code is the name in
    /// lower case with spaces turned to `-` (`wire.md` §4).
    pub fn from_name(name: &str) -> Result<Self, NameError> {
        name.trim().to_lowercase().replace(' ', "-").parse()
    }
}

/// A job's id: a UUID of version 7, so that ids sort by the time at which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id, of now.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// When the id was made, by the maker's clock, to the millisecond.
    pub fn made_at(self) -> Timestamp {
        let unix = self.0.get_timestamp().map(|at| at.to_unix());
        let at = unix.and_then(|(seconds, nanoseconds)| {
            Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
        });
        at.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The id as PostgreSQL keeps it.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl Default for JobId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Uuid> for JobId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl FromStr for JobId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Uuid::try_parse(text).map(Self).map_err(|_| NameError::NotAUuid)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A counter that starts at 1 and is only ever compared or moved on by its owner.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name(std::num::NonZeroU32);

        impl $name {
            /// The number itself.
            pub fn get(self) -> u64 {
                u64::from(self.0.get())
            }
        }

        impl TryFrom<u64> for $name {
            type Error = NotACounter;

            fn try_from(number: u64) -> Result<Self, NotACounter> {
                u32::try_from(number).ok().and_then(std::num::NonZeroU32::new).map(Self).ok_or(NotACounter)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.get()
            }
        }

        impl FromStr for $name {
            type Err = NotACounter;

            fn from_str(text: &str) -> Result<Self, NotACounter> {
                text.parse::<u64>().map_err(|_| NotACounter)?.try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// A revision or sequence that is not a whole number from 1 to 4294967295.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to 4294967295")]
pub struct NotACounter;

counter!(
    /// Numbers an order's pods: 1 is the first that was accepted. It orders contents.
    Revision
);

counter!(
    /// Numbers an order's jobs: 1 is the first that was accepted. It orders changes.
    Sequence
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_from_other_texts() {
        for (case, text, valid) in [
            ("plain", "ausrine", true),
            ("digits", "71b60598-e176-4357", true),
            ("one letter", "a", true),
            ("empty", "", false),
            ("upper case", "Ausrine", false),
            ("leading dash", "-a", false),
            ("trailing dash", "a-", false),
            ("dot", "a.b", false),
            ("wildcard", "*", false),
            ("newline", "a\nb", false),
            ("not ascii", "aušrinė", false),
        ] {
            assert_eq!(text.parse::<RegionCode>().is_ok(), valid, "{case}");
            assert_eq!(text.parse::<OrderId>().is_ok(), valid, "{case}");
        }
        assert_eq!("a".repeat(49).parse::<OrderId>(), Err(NameError::Length { max: 48 }));
    }

    #[test]
    fn a_region_is_the_same_by_its_name_and_by_its_code() {
        assert_eq!(RegionCode::from_name("North America").unwrap().as_str(), "north-america");
        assert_eq!(RegionCode::from_name("north-america").unwrap().as_str(), "north-america");
        assert!(RegionCode::from_name("eu.*").is_err());
    }

    #[test]
    fn a_jobs_id_says_when_it_was_made() {
        let (before, id) = (Timestamp::now(), JobId::new());
        let made = id.made_at();
        assert!(made.as_millisecond() >= before.as_millisecond() && made <= Timestamp::now(), "{made}");
        assert_eq!(JobId::from(Uuid::nil()).made_at(), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn counters_start_at_one() {
        assert_eq!(Revision::try_from(0), Err(NotACounter));
        assert_eq!("7".parse::<Sequence>().unwrap().get(), 7);
        assert!(serde_json::from_str::<Revision>("0").is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_printed_name_reads_back(text in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?") {
            let name: OrderId = text.parse().unwrap();
            proptest::prop_assert_eq!(name.to_string().parse::<OrderId>().unwrap(), name);
        }
    }
}
