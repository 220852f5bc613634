//! Ports: numbers, protocols, ranges, and the key under which the world knows one port of one region.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::RegionCode;

/// A port number, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u16")]
pub struct PortNumber(NonZeroU16);

/// A number that is no port, or a text that is no port range. Its `Display` is fit for customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Outside 1..65535.
    #[error("must be a port number from 1 to 65535")]
    OutOfRange,
    /// Neither `TCP` nor `UDP`.
    #[error("must be TCP or UDP")]
    Protocol,
    /// Not `<first>-<last>`.
    #[error("must be a range of ports such as 20000-29999")]
    Range,
    /// Not `<region>.<protocol>.<port>`.
    #[error("must be a port key such as ausrine.tcp.2999")]
    Key,
}

impl PortNumber {
    /// The number itself.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<i64> for PortNumber {
    type Error = PortError;

    fn try_from(number: i64) -> Result<Self, PortError> {
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self).ok_or(PortError::OutOfRange)
    }
}

impl From<PortNumber> for u16 {
    fn from(port: PortNumber) -> Self {
        port.get()
    }
}

impl FromStr for PortNumber {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        text.parse::<i64>().map_err(|_| PortError::OutOfRange)?.try_into()
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A transport protocol. TCP and UDP ports of one number are two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// The default.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// As Kubernetes and customers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// As it stands in a port key.
    pub fn as_key_token(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl FromStr for Protocol {
    type Err = PortError;

    /// Reads `TCP` or `UDP` without regard to case.
    fn from_str(text: &str) -> Result<Self, PortError> {
        [Self::Tcp, Self::Udp].into_iter().find(|p| text.eq_ignore_ascii_case(p.as_str())).ok_or(PortError::Protocol)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port of a host: what a customer asks for and a pod holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The number on the host.
    pub port: PortNumber,
}

/// The one name of a port of a region: `<region>.<tcp|udp>.<port>`, which is also its key in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// Where the port is.
    pub region: RegionCode,
    /// Which port it is.
    pub host: HostPort,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.protocol.as_key_token(), self.port)
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.region, self.host)
    }
}

impl FromStr for PortKey {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let mut tokens = text.split('.');
        let (Some(region), Some(protocol), Some(port), None) =
            (tokens.next(), tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(PortError::Key);
        };
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(PortError::Key),
        };
        Ok(Self {
            region: region.parse().map_err(|_| PortError::Key)?,
            host: HostPort { protocol, port: port.parse().map_err(|_| PortError::Key)? },
        })
    }
}

/// An unbroken range of ports, both ends included: `20000-29999`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: PortNumber,
    last: PortNumber,
}

impl PortRange {
    /// The lowest port of the range.
    pub fn first(self) -> PortNumber {
        self.first
    }

    /// The highest port of the range.
    pub fn last(self) -> PortNumber {
        self.last
    }

    /// Whether the range holds this port.
    pub fn contains(self, port: PortNumber) -> bool {
        self.first <= port && port <= self.last
    }

    /// Every port of the range, lowest first.
    pub fn ports(self) -> impl Iterator<Item = PortNumber> + Clone {
        (self.first.get()..=self.last.get()).filter_map(NonZeroU16::new).map(PortNumber)
    }
}

impl FromStr for PortRange {
    type Err = PortError;

    /// Reads `<first>-<last>`, or one port alone.
    fn from_str(text: &str) -> Result<Self, PortError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<PortNumber>().map_err(|_| PortError::Range);
        let (first, last) = (port(first)?, port(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(PortError::Range) }
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortError;

    fn try_from(text: String) -> Result<Self, PortError> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_port_lies_between_1_and_65535() {
        for (number, valid) in [(0, false), (1, true), (65_535, true), (65_536, false), (-1, false)] {
            assert_eq!(PortNumber::try_from(number).is_ok(), valid, "{number}");
        }
        assert!(serde_json::from_str::<PortNumber>("\"80\"").is_err());
    }

    #[test]
    fn a_range_holds_both_of_its_ends() {
        let range: PortRange = "65534-65535".parse().unwrap();
        assert_eq!(range.ports().map(PortNumber::get).collect::<Vec<_>>(), [65_534, 65_535]);
        assert!("9-8".parse::<PortRange>().is_err());
        assert!("".parse::<PortRange>().is_err());
    }

    proptest! {
        #[test]
        fn a_printed_key_reads_back(region in "[a-z][a-z0-9]{0,12}", udp: bool, port in 1..=65_535_i64) {
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let host = HostPort { protocol, port: port.try_into().unwrap() };
            let key = PortKey { region: region.parse().unwrap(), host };
            prop_assert_eq!(key.to_string().parse::<PortKey>().unwrap(), key);
        }

        #[test]
        fn a_printed_range_reads_back(first in 1..=60_000_i64, more in 0..5_000_i64) {
            let range = PortRange { first: first.try_into().unwrap(), last: (first + more).try_into().unwrap() };
            prop_assert_eq!(range.to_string().parse::<PortRange>().unwrap(), range);
        }
    }
}
