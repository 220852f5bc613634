//! Headers of a request by HTTP: who is calling by a proxy's word, keys, preferences, and where a stream goes on; and what
//! stands in queries and paths: names, ids, places in lists.

use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use api::app::change::Wait;
use api::app::json::Problems;
use api::app::order::Cursor;
use api::rest::{ForwardedHeader, HeaderLines, Proxies};
use common::name::{ContainerName, JobId, OrderId, RegionCode, Sequence};
use poem::http::{HeaderMap, HeaderName, HeaderValue};

/// The longest that anybody may ask to wait, and what is waited without a wish.
const LONGEST: Duration = Duration::from_mins(1);
const USUAL: Duration = Duration::from_secs(20);

/// No header, each line of the data one, is believed from somebody who is not trusted, leads to a wait beyond the longest, or
/// is a key or a place that reads otherwise than it was written; and no value of a query or a path does.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let lines: Vec<Vec<u8>> = data.split(|byte| *byte == b'\n').take(16).map(<[u8]>::to_vec).collect();
    callers(&lines);
    lines.iter().filter_map(|line| str::from_utf8(line).ok()).for_each(values);
    let headers = HeaderLines::new(lines.clone());
    if let Ok(Some(key)) = headers.idempotency_key() {
        assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(lines, [key.as_bytes()]);
    }
    let mut problems = Problems::default();
    if let Some(position) = headers.last_event_id(&mut problems) {
        assert!(problems.is_empty() && lines.iter().any(|line| position.to_string().as_bytes() == line));
    }
    match headers.wait(USUAL) {
        Wait::No => assert!(headers.holds("respond-async")),
        Wait::For(time) => assert!(time <= LONGEST),
    }
}

/// What is read from it is what is written again.
fn values(text: &str) {
    fn same<T: FromStr + Display + PartialEq + Debug>(read: Option<T>) {
        let Some(read) = read else { return };
        assert_eq!(read.to_string().parse().ok(), Some(read));
    }
    same(RegionCode::from_name(text).ok());
    same(text.parse::<ContainerName>().ok());
    same(text.parse::<OrderId>().ok());
    same(text.parse::<Cursor>().ok());
    same(text.parse::<Sequence>().ok());
    let job = text.parse::<JobId>().ok();
    // Ids of others' making have times of others' making.
    let _ = job.map(JobId::made_at);
    same(job);
}

fn callers(lines: &[Vec<u8>]) {
    let trusted = vec!["10.0.0.0/8".parse().expect("a network"), "fd00::/8".parse().expect("a network")];
    for (header, name) in
        [(ForwardedHeader::XForwardedFor, "x-forwarded-for"), (ForwardedHeader::Forwarded, "forwarded")]
    {
        let mut headers = HeaderMap::new();
        for value in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
            headers.append(HeaderName::from_static(name), value);
        }
        let proxies = Proxies { trusted: trusted.clone(), header };
        let stranger: IpAddr = "192.0.2.7".parse().expect("an address");
        assert_eq!(proxies.client(stranger, &headers), stranger);
        let proxy: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
        let client = proxies.client(proxy, &headers);
        assert_eq!(client, client.to_canonical(), "an address has one spelling");
    }
}
