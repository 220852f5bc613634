//! Which ports the processes of this machine listen on, as `/proc/net` tells.

use std::collections::BTreeSet;
use std::path::Path;

use common::port::{HostPort, PortNumber, Protocol};

/// `TCP_LISTEN` and, for UDP, the state of a socket without a peer (Linux, `include/net/tcp_states.h`).
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// The ports in use by processes of this machine's network namespace. A UDP port of the range from which clients get
/// theirs is left out: it is gone before anybody could ask for it.
pub fn scan(proc: &Path) -> std::io::Result<BTreeSet<HostPort>> {
    let ephemeral = std::fs::read_to_string(proc.join("sys/net/ipv4/ip_local_port_range")).unwrap_or_default();
    let mut bounds = ephemeral.split_whitespace().filter_map(|bound| bound.parse::<u16>().ok());
    let ephemeral = bounds.next().zip(bounds.next()).map_or(32_768..=60_999, |(first, last)| first..=last);
    let mut found = BTreeSet::new();
    for (file, protocol) in
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
    {
        let table = match std::fs::read_to_string(proc.join("net").join(file)) {
            Ok(table) => table,
            // A machine without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.ends_with('6') => continue,
            Err(error) => return Err(error),
        };
        let ports = bound(&table, protocol);
        found.extend(ports.filter(|host| protocol == Protocol::Tcp || !ephemeral.contains(&host.port.get())));
    }
    Ok(found)
}

/// The ports of a table's sockets that wait for whoever comes.
fn bound(table: &str, protocol: Protocol) -> impl Iterator<Item = HostPort> + '_ {
    let waiting = match protocol {
        Protocol::Tcp => TCP_LISTEN,
        Protocol::Udp => UDP_UNCONNECTED,
    };
    table.lines().skip(1).filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, _remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        let number = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let port = PortNumber::try_from(i64::from(number)).ok()?;
        (state == waiting).then_some(HostPort { protocol, port })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   104        0 18 1
   1: 0100007F:1538 0100007F:C350 01 00000000:00000000 00:00000000 00000000   104        0 19 1
";

    #[test]
    fn only_listeners_count() {
        let ports: Vec<_> = bound(TCP, Protocol::Tcp).map(|host| host.port.get()).collect();
        assert_eq!(ports, [5432]);
        assert_eq!(bound(TCP, Protocol::Udp).count(), 0);
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = i64::from(listener.local_addr().unwrap().port());
        let host = HostPort { protocol: Protocol::Tcp, port: port.try_into().unwrap() };
        assert!(scan(Path::new("/proc")).unwrap().contains(&host));
        drop(listener);
        assert!(!scan(Path::new("/proc")).unwrap().contains(&host));
    }
}
