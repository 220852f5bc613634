//! What each caller may have: so many requests a minute and in work at once, of an address and of an order. Counted by each
//! instance for itself. Callers by NATS have no address: they are services that an operator let in, but their orders count.

mod rate;
mod slots;

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::failure::Reason;
use poem::Request;
use poem::http::{Method, StatusCode};

use self::rate::Rate;
pub(super) use self::rate::{LIMIT, REMAINING, RESET, Standing};
use self::slots::Slots;
pub(super) use self::slots::{Share, Shares};
use super::client::one_client;
use crate::app::error::AppError;

/// How soon a place among those in work may be free.
const SOON: Duration = Duration::from_secs(1);

/// How much each caller may have. 0, the default, = as much as they like.
#[derive(Debug, Clone, Copy, Default)]
pub struct LimitSettings {
    /// Requests of one address, a minute.
    pub requests_per_minute: u32,
    /// Answers 401 to one address, a minute. Who has had them all is not heard until the next one is due.
    pub failures_per_minute: u32,
    /// Checks of images of one address, a minute.
    pub images_per_minute: u32,
    /// Reads of one order, a minute.
    pub reads_per_minute: u32,
    /// Changes of one order, a minute.
    pub changes_per_minute: u32,
    /// Requests of one address in work at once.
    pub in_flight_per_address: usize,
    /// Requests of one order in work at once.
    pub in_flight_per_order: usize,
}

/// Counts what callers have.
pub(super) struct Limits {
    hasher: RandomState,
    began: Instant,
    requests: Rate,
    failures: Rate,
    images: Rate,
    reads: Rate,
    changes: Rate,
    /// Until when an address is not heard, in milliseconds since `began`.
    shut_out: Slots<AtomicU64>,
    by_address: Shares,
    by_order: Shares,
}

/// Whose request it is, and what it asks for. Keys are hashes.
pub(super) struct Caller {
    address: Option<u64>,
    order: Option<u64>,
    class: Class,
}

/// What a request costs us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Read,
    Change,
    /// A read that makes us ask a registry of the caller's choice.
    Image,
}

/// What a request holds while it is in work.
pub(super) struct Admitted {
    /// With the narrowest rate that it counts for.
    pub(super) standing: Option<Standing>,
    _shares: [Option<Share>; 2],
}

/// Why a request is not worked on.
pub(super) struct Refused {
    pub(super) error: AppError,
    /// With the rate that has none left.
    pub(super) standing: Option<Standing>,
}

impl Limits {
    pub(super) fn new(settings: LimitSettings) -> Self {
        Self {
            hasher: RandomState::new(),
            began: Instant::now(),
            requests: Rate::per_minute(settings.requests_per_minute),
            failures: Rate::per_minute(settings.failures_per_minute),
            images: Rate::per_minute(settings.images_per_minute),
            reads: Rate::per_minute(settings.reads_per_minute),
            changes: Rate::per_minute(settings.changes_per_minute),
            shut_out: Slots::new(),
            by_address: Shares::new(settings.in_flight_per_address),
            by_order: Shares::new(settings.in_flight_per_order),
        }
    }

    /// Whose request this is. `address` is the client's; none = it came by NATS.
    pub(super) fn caller(&self, request: &Request, address: Option<IpAddr>) -> Caller {
        let secret = request.headers().get("secret").filter(|secret| !secret.is_empty());
        Caller {
            address: address.map(|address| self.hasher.hash_one(one_client(address))),
            order: secret.map(|secret| self.hasher.hash_one(secret.as_bytes())),
            class: class(request.method(), request.uri().path()),
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// When its caller has had all that it may.
    pub(super) fn admit(&self, caller: &Caller) -> Result<Admitted, Box<Refused>> {
        let mut standing = None;
        if let Some(address) = caller.address {
            self.heard(address)?;
            standing = counted(&self.requests, address, "requests from this address")?;
            if caller.class == Class::Image {
                standing = counted(&self.images, address, "checks of images from this address")?.or(standing);
            }
        }
        if let Some(order) = caller.order {
            let (rate, what) = match caller.class {
                Class::Change => (&self.changes, "changes of this order"),
                Class::Read | Class::Image => (&self.reads, "reads of this order"),
            };
            standing = counted(rate, order, what)?.or(standing);
        }
        let address = placed(&self.by_address, caller.address, "of this address")?;
        let order = placed(&self.by_order, caller.order, "of this order")?;
        Ok(Admitted { standing, _shares: [address, order] })
    }

    /// Lets a probe in, which is of no order and waits for no place.
    ///
    /// # Errors
    /// When its caller has had all that it may.
    pub(super) fn admit_probe(&self, caller: &Caller) -> Result<Option<Standing>, Box<Refused>> {
        caller.address.map_or(Ok(None), |address| counted(&self.requests, address, "requests from this address"))
    }

    /// Counts how a request ended.
    pub(super) fn ended(&self, caller: &Caller, status: StatusCode) {
        let Some(address) = caller.address.filter(|_| status == StatusCode::UNAUTHORIZED) else { return };
        // The last one of the bucket shuts out, so that no further guess is looked at.
        let wait = match self.failures.take(address) {
            Ok(Some(standing)) if standing.is_last() => standing.next(),
            Err(standing) => standing.next(),
            Ok(_) => return,
        };
        let until = millis(self.began.elapsed() + wait);
        self.shut_out.of(address).fetch_max(until, Ordering::Relaxed);
    }

    /// Whether an address is heard, which has not given too many wrong secrets.
    fn heard(&self, address: u64) -> Result<(), Box<Refused>> {
        let until = self.shut_out.of(address).load(Ordering::Relaxed);
        let wait = until.saturating_sub(millis(self.began.elapsed()));
        if wait == 0 {
            return Ok(());
        }
        let message = "too many wrong secrets or tokens came from this address; try again later";
        let error = AppError::new(Reason::RateLimited, message).retry_after(Duration::from_millis(wait));
        Err(Box::new(Refused { error, standing: None }))
    }
}

fn counted(rate: &Rate, key: u64, what: &str) -> Result<Option<Standing>, Box<Refused>> {
    rate.take(key).map_err(|standing| {
        let wait = standing.next();
        let message = format!("too many {what}; try again when Retry-After says");
        let error = AppError::new(Reason::RateLimited, message).retry_after(wait);
        Box::new(Refused { error, standing: Some(standing) })
    })
}

fn placed(shares: &Shares, key: Option<u64>, whose: &str) -> Result<Option<Share>, Box<Refused>> {
    let Some(key) = key else { return Ok(None) };
    shares.take(key).map(Some).ok_or_else(|| {
        let message = format!("too many requests {whose} are in work; wait for their answers");
        let error = AppError::new(Reason::RateLimited, message).retry_after(SOON);
        Box::new(Refused { error, standing: None })
    })
}

fn class(method: &Method, path: &str) -> Class {
    match *method {
        Method::GET | Method::HEAD if path.ends_with("/k8s/images") => Class::Image,
        Method::GET | Method::HEAD => Class::Read,
        _ => Class::Change,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, path: &str, secret: Option<&str>) -> Request {
        let mut request = Request::builder().method(method).uri(path.parse().unwrap());
        if let Some(secret) = secret {
            request = request.header("secret", secret);
        }
        request.finish()
    }

    /// How many of a hundred such requests are let in.
    fn admitted(limits: &Limits, method: &Method, path: &str, secret: Option<&str>, address: Option<&str>) -> usize {
        let address = address.map(|address| address.parse().unwrap());
        let caller = |_: &i32| limits.caller(&request(method.clone(), path, secret), address);
        (0..100).filter(|number| limits.admit(&caller(number)).is_ok()).count()
    }

    #[test]
    fn each_class_of_call_has_its_rate() {
        let limits = Limits::new(LimitSettings {
            requests_per_minute: 240,
            images_per_minute: 60,
            reads_per_minute: 120,
            changes_per_minute: 60,
            ..LimitSettings::default()
        });
        let (get, post) = (&Method::GET, &Method::POST);
        for (case, method, path, secret, address, expected) in [
            ("images of an address", get, "/api/v1/k8s/images", None, Some("192.0.2.1"), 10),
            ("images of another", get, "/k8s/images", None, Some("192.0.2.2"), 10),
            ("all of an address", get, "/k8s/regions", None, Some("192.0.2.3"), 40),
            ("reads of an order by NATS", get, "/k8s/order", Some("a"), None, 20),
            ("changes of an order by NATS", post, "/k8s/pod", Some("a"), None, 10),
            ("reads of another", get, "/k8s/order", Some("b"), None, 20),
            ("by NATS without an order", get, "/k8s/images", None, None, 100),
            ("an order from anywhere", post, "/k8s/pod", Some("a"), Some("192.0.2.4"), 0),
        ] {
            assert_eq!(admitted(&limits, method, path, secret, address), expected, "{case}");
        }
    }

    #[test]
    fn wrong_secrets_shut_an_address_out_and_nobody_else() {
        let limits = Limits::new(LimitSettings { failures_per_minute: 60, ..LimitSettings::default() });
        let of = |address: &str| limits.caller(&request(Method::GET, "/", Some("x")), Some(address.parse().unwrap()));
        let (guesser, other) = (of("2001:db8::1"), of("2001:db8:1::1"));
        for guess in 0..10 {
            assert!(limits.admit(&guesser).is_ok(), "{guess}");
            limits.ended(&guesser, StatusCode::UNAUTHORIZED);
        }
        let refused = limits.admit(&of("2001:db8::2")).err().unwrap().error;
        assert_eq!(refused.reason, Reason::RateLimited);
        assert!(refused.retry_after.is_some_and(|wait| wait <= Duration::from_secs(1)), "{:?}", refused.retry_after);
        assert!(limits.admit(&other).is_ok());
    }

    #[test]
    fn right_secrets_are_no_failures() {
        let limits = Limits::new(LimitSettings { failures_per_minute: 6, ..LimitSettings::default() });
        let caller = limits.caller(&request(Method::GET, "/", Some("x")), Some("192.0.2.1".parse().unwrap()));
        for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS] {
            limits.ended(&caller, status);
            assert!(limits.admit(&caller).is_ok(), "{status}");
        }
    }

    #[test]
    fn a_place_in_work_is_free_again_when_its_request_ends() {
        let limits =
            Limits::new(LimitSettings { in_flight_per_address: 3, in_flight_per_order: 2, ..LimitSettings::default() });
        let of = |secret| limits.caller(&request(Method::GET, "/", Some(secret)), Some("192.0.2.1".parse().unwrap()));
        let (first, _second) = (limits.admit(&of("a")).ok().unwrap(), limits.admit(&of("a")).ok().unwrap());
        let refused = limits.admit(&of("a")).err().unwrap();
        assert!(refused.error.message.contains("of this order"), "{}", refused.error.message);
        // What the order refused is not held for the address.
        let _third = limits.admit(&of("b")).ok().unwrap();
        let refused = limits.admit(&of("c")).err().unwrap();
        assert!(refused.error.message.contains("of this address"), "{}", refused.error.message);
        drop(first);
        assert!(limits.admit(&of("a")).is_ok());
    }
}
