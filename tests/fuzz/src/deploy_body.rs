//! The body of a deploy, from the bytes to the pod that Kubernetes would be asked for.

use api::app::pod_request;
use api::store::orders::{PortSpecification, Purchase};
use common::ingress::Exposure;
use common::pod::Storage;
use serde_json::Value;

use crate::region::{KEYS, takes};

/// A body that is accepted is a pod that its region takes. The first byte says what the order paid for.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let Some((bought, body)) = data.split_first() else { return };
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
    let purchase = purchase(*bought);
    let request = match pod_request::read(&body, &purchase) {
        Ok(request) => request,
        Err(problems) => return assert!(!problems.is_empty(), "a refusal says why"),
    };
    let pod = request.seal(&purchase, &KEYS.public_key()).expect("there is randomness");
    takes(pod, Exposure::Never);
}

fn purchase(byte: u8) -> Purchase {
    Purchase {
        units: (u32::from(byte & 7) + 1).try_into().expect("units"),
        port_specification: if byte & 8 == 0 { PortSpecification::User } else { PortSpecification::Random },
        storage: if byte & 16 == 0 { Storage::None } else { Storage::Persistent },
        region: (byte & 32 == 0).then(|| "ausrine".parse().expect("a region")),
        duration_hours: 100,
        amount: 0,
        email: String::new(),
        address: String::new(),
        recipient: String::new(),
        provider: String::new(),
        service: String::new(),
        service_id: String::new(),
        service_category_id: String::new(),
        public_key: String::new(),
    }
}
