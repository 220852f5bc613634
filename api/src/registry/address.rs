//! Which addresses a customer's registry may have: global ones, and no other. Names are resolved here, once, at the
//! moment of connecting, so that what is checked is what is connected to.

use std::error::Error;
use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::task;

/// How many names are looked up at once. A lookup holds a thread until the system's resolver gives up, long after
/// its check has timed out.
const MAX_LOOKUPS: usize = 64;

/// IANA's special-purpose registry, multicast and the reserved upper sixteenth.
const LOCAL_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// All of IPv6 that is given out to the Internet so far.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// What within it is not: protocol assignments (Teredo among them), documentation twice, and 6to4, which leads to an
/// IPv4 address of the writer's choice.
const LOCAL_V6: [Ipv6Net; 4] =
    [v6([0x2001, 0, 0, 0], 23), v6([0x2001, 0x0db8, 0, 0], 32), v6([0x2002, 0, 0, 0], 16), v6([0x3fff, 0, 0, 0], 20)];

/// IPv4 as seen from a network that has IPv6 only (RFC 6052): as global as the IPv4 address at its end.
const NAT64: Ipv6Net = v6([0x0064, 0xff9b, 0, 0], 96);

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), length)
}

const fn v6(first: [u16; 4], length: u8) -> Ipv6Net {
    let [a, b, c, d] = first;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// Whether an address is one of the public Internet. IPv6 is refused unless known to be global, so that IPv4 in
/// disguise (mapped, compatible, 6to4, Teredo) is refused whatever it maps.
pub(super) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => LOCAL_V4.iter().all(|net| !net.contains(&address)),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_global(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(address) => GLOBAL_V6.contains(&address) && LOCAL_V6.iter().all(|net| !net.contains(&address)),
    }
}

/// The address that a URL spells out, in whatever way; nothing if it has a name.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A name that has addresses, none of them global.
#[derive(Debug, thiserror::Error)]
#[error("the name has no global address")]
struct Forbidden;

/// Whether a request failed because its host has no global address.
pub(super) fn is_forbidden(error: &reqwest::Error) -> bool {
    iter::successors(error.source(), |&error| error.source()).any(<dyn Error>::is::<Forbidden>)
}

/// Resolves names to their global addresses.
#[derive(Debug)]
pub(super) struct GlobalResolver {
    lookups: Arc<Semaphore>,
}

impl GlobalResolver {
    pub(super) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

impl Resolve for GlobalResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let found = task::spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect);
                drop(permit);
                found
            });
            only_global(found.await??)
        })
    }
}

fn only_global(found: Vec<SocketAddr>) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
    if found.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    }
    let global: Vec<_> = found.into_iter().filter(|address| is_global(address.ip())).collect();
    if global.is_empty() { Err(Forbidden.into()) } else { Ok(Box::new(global.into_iter())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_however_they_are_spelt() {
        for (host, global) in [
            ("127.0.0.1", false),
            ("127.1", false),
            ("127.0.0.1.", false),
            ("0x7f.1", false),
            ("0177.0.0.1", false),
            ("2130706433", false),
            ("0x7f000001", false),
            ("１２７.0.0.1", false),
            ("0", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("10.0.0.1", false),
            ("10.255.255.255", false),
            ("100.63.255.255", true),
            ("100.64.0.1", false),
            ("100.127.255.254", false),
            ("100.128.0.0", true),
            ("169.254.169.254", false),
            ("172.15.255.255", true),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("172.32.0.0", true),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.88.99.1", false),
            ("192.168.0.1", false),
            ("192.169.0.1", true),
            ("198.17.255.255", true),
            ("198.18.0.1", false),
            ("198.19.255.255", false),
            ("198.51.100.7", false),
            ("203.0.113.7", false),
            ("223.255.255.255", true),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("1.1.1.1", true),
            ("8.8.8.8", true),
            ("[::]", false),
            ("[::1]", false),
            ("[0:0:0:0:0:0:0:1]", false),
            ("[::7f00:1]", false),
            ("[::ffff:10.0.0.1]", false),
            ("[::ffff:127.0.0.1]", false),
            ("[::ffff:8.8.8.8]", false),
            ("[64:ff9b::10.0.0.1]", false),
            ("[64:ff9b::169.254.169.254]", false),
            ("[64:ff9b::8.8.8.8]", true),
            ("[64:ff9b:1::8.8.8.8]", false),
            ("[100::1]", false),
            ("[2001::1]", false),
            ("[2001:db8::1]", false),
            ("[2002:a00:1::]", false),
            ("[2002:808:808::]", false),
            ("[3fff::1]", false),
            ("[5f00::1]", false),
            ("[fc00::1]", false),
            ("[fd12:3456:789a::1]", false),
            ("[fe80::1]", false),
            ("[fec0::1]", false),
            ("[ff02::1]", false),
            ("[2606:4700:4700::1111]", true),
            ("[2a00:1450:4001:801::200e]", true),
        ] {
            let url = Url::parse(&format!("https://{host}:5000/v2/")).expect(host);
            let address = literal(&url).expect(host);
            assert_eq!(is_global(address), global, "{host} is {address}");
        }
    }

    #[test]
    fn a_name_is_no_address() {
        for name in ["localhost", "registry.example.com", "127.0.0.1.example.com", "fd00.example.com"] {
            let url = Url::parse(&format!("https://{name}/")).unwrap();
            assert_eq!(literal(&url), None, "{name}");
        }
    }

    #[test]
    fn only_the_global_addresses_of_a_name_are_connected_to() {
        let [local, global] = ["10.0.0.1:0", "8.8.8.8:0"].map(|text| text.parse::<SocketAddr>().unwrap());
        let kept: Vec<_> = only_global(vec![local, global]).unwrap().collect();
        assert_eq!(kept, [global]);
        assert!(only_global(vec![local]).err().unwrap().is::<Forbidden>());
        assert!(only_global(vec![]).err().unwrap().is::<io::Error>());
    }
}
