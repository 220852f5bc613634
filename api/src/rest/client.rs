//! Who is calling: the address of the connection, or what a proxy that we trust says of it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, header};
use rfc7239::NodeName;

/// The proxies whose word about their clients is taken, and where they say it.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Where they are.
    pub trusted: Vec<IpNet>,
    /// The header that they write.
    pub header: ForwardedHeader,
}

/// The header in which a proxy tells whose request it passes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 192.0.2.7, 10.0.0.1`.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.7, for="[2001:db8::7]:4711"` (RFC 7239).
    Forwarded,
}

impl FromStr for ForwardedHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err("must be x-forwarded-for or forwarded"),
        }
    }
}

impl ForwardedHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
        }
    }

    /// The address in one member of the list.
    fn address(self, member: &str) -> Option<IpAddr> {
        let member = member.trim();
        match self {
            Self::XForwardedFor => {
                let bare = member.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(member);
                bare.parse().ok().or_else(|| Some(member.parse::<SocketAddr>().ok()?.ip()))
            }
            Self::Forwarded => match rfc7239::parse(member).next()?.ok()?.forwarded_for?.name {
                NodeName::Ip(address) => Some(address),
                NodeName::Unknown | NodeName::Obfuscated(_) => None,
            },
        }
    }
}

impl Proxies {
    /// Whether this is one of them.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Whose request it is that came from `peer`: read from the end of the list, where each proxy adds whom it heard it
    /// from, up to the first that we have no reason to believe. What stands before that anybody can have written.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let values = headers.get_all(self.header.name()).iter().rev();
        let mut members = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        let mut client = peer.to_canonical();
        while self.trusts(client) {
            let Some(before) = members.next().and_then(|member| self.header.address(member)) else { break };
            client = before.to_canonical();
        }
        client
    }
}

/// What counts as one client: an address of IPv4, or the network of IPv6 that one customer of a provider has (RFC 6177).
pub(super) fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    fn client(header: ForwardedHeader, peer: &str, values: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header.name(), HeaderValue::from_str(value).unwrap());
        }
        Proxies { trusted, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_proxies_that_are_trusted_are_believed() {
        for (case, peer, values, expected) in [
            ("nobody between", "192.0.2.7", &[][..], "192.0.2.7"),
            ("a stranger's word", "192.0.2.7", &["198.51.100.1"], "192.0.2.7"),
            ("a proxy's word", "10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("a proxy that says nothing", "10.0.0.1", &[], "10.0.0.1"),
            ("two proxies", "10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("what a client wrote before", "10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("a client that says it is a proxy", "10.0.0.1", &["203.0.113.9, 10.9.9.9, 198.51.100.1"], "198.51.100.1"),
            ("two headers", "10.0.0.1", &["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            ("nonsense at the end", "10.0.0.1", &["198.51.100.1, x"], "10.0.0.1"),
            ("proxies all the way", "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("with a port", "10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("IPv6", "fd00::1", &["2001:db8::7"], "2001:db8::7"),
            ("IPv6 in brackets", "fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("IPv6 with a port", "fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("IPv4 as IPv6", "::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
        ] {
            assert_eq!(client(ForwardedHeader::XForwardedFor, peer, values), expected, "{case}");
        }
    }

    #[test]
    fn the_standard_header_is_read_too() {
        for (case, values, expected) in [
            ("one", &["for=198.51.100.1"][..], "198.51.100.1"),
            ("with more", &["proto=https;For=198.51.100.1;by=10.0.0.1"], "198.51.100.1"),
            ("several", &["for=203.0.113.9, for=198.51.100.1, for=10.0.0.2"], "198.51.100.1"),
            ("IPv6 with a port", &["for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
            ("hidden", &["for=198.51.100.1, for=_hidden"], "10.0.0.1"),
            ("unknown", &["for=unknown"], "10.0.0.1"),
            ("without it", &["proto=https"], "10.0.0.1"),
            ("nonsense", &["for"], "10.0.0.1"),
            ("a comma in quotes", &["for=198.51.100.1;host=\"a,b\""], "10.0.0.1"),
        ] {
            assert_eq!(client(ForwardedHeader::Forwarded, "10.0.0.1", values), expected, "{case}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ] {
            assert_eq!(one_client(address.parse().unwrap()).to_string(), expected, "{address}");
        }
    }
}
