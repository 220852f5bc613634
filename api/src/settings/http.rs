//! The settings of the listener and the edge.

use common::settings::{Reader, Setting};

use super::size;
use crate::rest::{EdgeSettings, ForwardedHeader, LimitSettings, Proxies, ServerSettings, TlsFiles};

pub(super) const LISTEN: Setting =
    Setting::new("VKUBE_HTTP_LISTEN", "127.0.0.1:8080", "Address and port to listen on.");
pub(super) const MAX_BODY_BYTES: Setting =
    Setting::new("VKUBE_HTTP_MAX_BODY_BYTES", "262144", "Largest body of a request, in bytes.");
pub(super) const MAX_IN_FLIGHT: Setting =
    Setting::new("VKUBE_HTTP_MAX_IN_FLIGHT", "1024", "Most requests in work at once; more are answered 503.");
pub(super) const MAX_IN_FLIGHT_PER_ADDRESS: Setting = Setting::new(
    "VKUBE_HTTP_MAX_IN_FLIGHT_PER_ADDRESS",
    "256",
    "Most requests of one address in work at once; more are answered 429. 0 = no limit.",
);
pub(super) const MAX_IN_FLIGHT_PER_ORDER: Setting = Setting::new(
    "VKUBE_HTTP_MAX_IN_FLIGHT_PER_ORDER",
    "32",
    "Most requests of one order in work at once; more are answered 429. 0 = no limit.",
);
pub(super) const MAX_CONNECTIONS: Setting =
    Setting::new("VKUBE_HTTP_MAX_CONNECTIONS", "10000", "Most connections at once; more are closed. 0 = no limit.");
pub(super) const MAX_CONNECTIONS_PER_ADDRESS: Setting = Setting::new(
    "VKUBE_HTTP_MAX_CONNECTIONS_PER_ADDRESS",
    "256",
    "Most connections of one address at once, unless it is a trusted proxy; more are closed. 0 = no limit.",
);
pub(super) const TLS_CERTIFICATE_FILE: Setting = Setting::without_default(
    "VKUBE_HTTP_TLS_CERTIFICATE_FILE",
    "Certificate in PEM, with those that lead to its authority: with it HTTP is encrypted. Read again when it changes.",
);
pub(super) const TLS_KEY_FILE: Setting =
    Setting::without_default("VKUBE_HTTP_TLS_KEY_FILE", "The certificate's private key in PEM, read again likewise.");
pub(super) const TRUSTED_PROXIES: Setting = Setting::without_default(
    "VKUBE_HTTP_TRUSTED_PROXIES",
    "Networks, such as 10.0.0.0/8, divided by commas, of the proxies whose word about their clients' addresses is taken.",
);
pub(super) const FORWARDED_HEADER: Setting = Setting::new(
    "VKUBE_HTTP_FORWARDED_HEADER",
    "x-forwarded-for",
    "Where trusted proxies tell the client's address: x-forwarded-for or forwarded.",
);
pub(super) const RATE_REQUESTS_PER_MINUTE: Setting = Setting::new(
    "VKUBE_RATE_REQUESTS_PER_MINUTE",
    "6000",
    "Requests of one address, a minute; a sixth of them may come at once, as with every rate. 0 = no limit.",
);
pub(super) const RATE_FAILURES_PER_MINUTE: Setting = Setting::new(
    "VKUBE_RATE_FAILURES_PER_MINUTE",
    "60",
    "Wrong secrets or tokens from one address, a minute; then it is not heard until the next is due. 0 = no limit.",
);
pub(super) const RATE_IMAGES_PER_MINUTE: Setting =
    Setting::new("VKUBE_RATE_IMAGES_PER_MINUTE", "60", "Checks of images from one address, a minute. 0 = no limit.");
pub(super) const RATE_READS_PER_MINUTE: Setting =
    Setting::new("VKUBE_RATE_READS_PER_MINUTE", "1200", "Reads of one order, a minute. 0 = no limit.");
pub(super) const RATE_CHANGES_PER_MINUTE: Setting =
    Setting::new("VKUBE_RATE_CHANGES_PER_MINUTE", "120", "Changes of one order, a minute. 0 = no limit.");
pub(super) fn server(read: &mut Reader<'_>) -> Option<ServerSettings> {
    let listen = read.required(&LISTEN);
    let tls = (read.file(&TLS_CERTIFICATE_FILE), read.file(&TLS_KEY_FILE));
    let max_connections = size(read, &MAX_CONNECTIONS, 0..=1_000_000);
    let max_connections_per_address = size(read, &MAX_CONNECTIONS_PER_ADDRESS, 0..=1_000_000);
    let grace = read.milliseconds(&super::SHUTDOWN_GRACE_MS);
    let tls = match tls {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            read.problem(&TLS_KEY_FILE, "must be set where VKUBE_HTTP_TLS_CERTIFICATE_FILE is");
            None
        }
        (None, Some(_)) => {
            read.problem(&TLS_CERTIFICATE_FILE, "must be set where VKUBE_HTTP_TLS_KEY_FILE is");
            None
        }
    };
    Some(ServerSettings {
        listen: listen?,
        tls,
        max_connections: max_connections?,
        max_connections_per_address: max_connections_per_address?,
        grace: grace?,
    })
}

/// What holds for every request.
pub(super) fn edge(read: &mut Reader<'_>) -> Option<EdgeSettings> {
    let max_body_bytes = size(read, &MAX_BODY_BYTES, 1024..=900_000);
    let max_in_flight = size(read, &MAX_IN_FLIGHT, 1..=1_000_000);
    let (limits, proxies) = (limits(read), proxies(read));
    Some(EdgeSettings {
        max_body_bytes: max_body_bytes?,
        max_in_flight: max_in_flight?,
        limits: limits?,
        proxies: proxies?,
    })
}

/// What each caller may have.
fn limits(read: &mut Reader<'_>) -> Option<LimitSettings> {
    let mut rate = |setting| read.number(setting, 0..=10_000_000).and_then(|number| u32::try_from(number).ok());
    let requests_per_minute = rate(&RATE_REQUESTS_PER_MINUTE);
    let failures_per_minute = rate(&RATE_FAILURES_PER_MINUTE);
    let images_per_minute = rate(&RATE_IMAGES_PER_MINUTE);
    let reads_per_minute = rate(&RATE_READS_PER_MINUTE);
    let changes_per_minute = rate(&RATE_CHANGES_PER_MINUTE);
    let in_flight_per_address = size(read, &MAX_IN_FLIGHT_PER_ADDRESS, 0..=1_000_000);
    let in_flight_per_order = size(read, &MAX_IN_FLIGHT_PER_ORDER, 0..=1_000_000);
    Some(LimitSettings {
        requests_per_minute: requests_per_minute?,
        failures_per_minute: failures_per_minute?,
        images_per_minute: images_per_minute?,
        reads_per_minute: reads_per_minute?,
        changes_per_minute: changes_per_minute?,
        in_flight_per_address: in_flight_per_address?,
        in_flight_per_order: in_flight_per_order?,
    })
}

fn proxies(read: &mut Reader<'_>) -> Option<Proxies> {
    let trusted = read.list(&TRUSTED_PROXIES);
    let header: Option<ForwardedHeader> = read.required(&FORWARDED_HEADER);
    Some(Proxies { trusted, header: header? })
}
