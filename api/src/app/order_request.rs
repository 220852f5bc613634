//! The body that an operator makes an order from (`wire.md` §7), and its options (§4).

use common::name::{OrderId, RegionCode};
use common::pod::Storage;
use serde_json::Value;

use super::json::{Field, Object, Problems};
use crate::store::orders::{PortSpecification, Purchase};

/// `portSpecification` when the customer chooses host ports.
pub const USER_PORTS: &str = "User Specified Service Port";
/// `portSpecification` when the system assigns them.
pub const RANDOM_PORTS: &str = "System Random Map Port";
/// The id of an order that would have the namespace `vkube-system`, where workers keep their fences.
const WORKERS_OWN: &str = "system";
/// The longest of an order's texts, in characters.
const MAX_TEXT: usize = 512;
/// The longest paid time: 10 years, in hours.
pub const MAX_HOURS: u32 = 87_600;

/// A new order, as the operator wants it.
#[derive(Debug, PartialEq, Eq)]
pub struct OrderRequest {
    /// Its id; none = ours to make.
    pub id: Option<OrderId>,
    /// What was bought.
    pub purchase: Purchase,
}

/// Reads the body.
///
/// # Errors
/// Every problem of the body.
pub fn read(body: &Value) -> Result<OrderRequest, Problems> {
    let mut problems = Problems::default();
    let request = read_body(body, &mut problems);
    match request {
        Some(request) if problems.is_empty() => Ok(request),
        _ => Err(problems),
    }
}

fn read_body(body: &Value, problems: &mut Problems) -> Option<OrderRequest> {
    let mut body = Field::root(body).object(problems)?;
    let id = match body.optional("id") {
        Some(field) => match field.parsed::<OrderId>(problems) {
            Some(id) if id.as_str() == WORKERS_OWN => {
                field.wrong("is not free: it names the workers' own namespace", problems)
            }
            id => id.map(Some),
        },
        None => Some(None),
    };
    let options = body.required("serviceOptions", problems).and_then(|field| read_options(&field, problems));
    let hours = |number| match u32::try_from(number) {
        Ok(hours) if (1..=MAX_HOURS).contains(&hours) => Ok(hours),
        _ => Err(format!("must be a number of hours from 1 to {MAX_HOURS}")),
    };
    let duration_hours = body.required("duration", problems).and_then(|field| field.integer(hours, problems));
    let amount = match body.optional("amount") {
        Some(field) => field.integer(|n| u64::try_from(n).map_err(|_| "must not be negative"), problems),
        None => Some(0),
    };
    let mut text = |name| read_text(&mut body, name, problems);
    let (email, address, recipient) = (text("email"), text("address"), text("recipient"));
    let (provider, service, service_id) = (text("provider"), text("service"), text("serviceID"));
    let (service_category_id, public_key) = (text("serviceCategoryID"), text("publicKey"));
    body.finish(problems);
    let options = options?;
    Some(OrderRequest {
        id: id?,
        purchase: Purchase {
            units: options.units,
            port_specification: options.port_specification,
            storage: options.storage,
            region: options.region,
            duration_hours: duration_hours?,
            amount: amount?,
            email: email?,
            address: address?,
            recipient: recipient?,
            provider: provider?.or_default("v-kube-service"),
            service: service?.or_default("Container Service"),
            service_id: service_id?,
            service_category_id: service_category_id?,
            public_key: public_key?,
        },
    })
}

/// A text that has a default.
trait OrDefault {
    fn or_default(self, default: &str) -> Self;
}

impl OrDefault for String {
    fn or_default(self, default: &str) -> Self {
        if self.is_empty() { default.to_owned() } else { self }
    }
}

fn read_text(body: &mut Object<'_>, name: &'static str, problems: &mut Problems) -> Option<String> {
    match body.optional(name) {
        Some(field) => field.short_text(MAX_TEXT, problems),
        None => Some(String::new()),
    }
}

/// What `serviceOptions` come to.
struct Options {
    units: common::quantity::Units,
    port_specification: PortSpecification,
    storage: Storage,
    region: Option<RegionCode>,
}

fn read_options(field: &Field<'_>, problems: &mut Problems) -> Option<Options> {
    let mut options = field.object(problems)?;
    let units = options.required("resourceUnit", problems).and_then(|field| field.parsed(problems));
    let port_specification = options.required("portSpecification", problems).and_then(|field| {
        let read = |text: &str| match text {
            text if text.eq_ignore_ascii_case(USER_PORTS) => Ok(PortSpecification::User),
            text if text.eq_ignore_ascii_case(RANDOM_PORTS) => Ok(PortSpecification::Random),
            _ => Err(format!("must be \"{USER_PORTS}\" or \"{RANDOM_PORTS}\"")),
        };
        field.converted(read, problems)
    });
    let storage = match options.optional_text("persistStorage") {
        Some(field) => {
            let read = |text: &str| match text {
                text if text.eq_ignore_ascii_case("yes") => Ok(Storage::Persistent),
                text if text.eq_ignore_ascii_case("no") => Ok(Storage::None),
                _ => Err("must be Yes or No"),
            };
            field.converted(read, problems)
        }
        None => Some(Storage::None),
    };
    let region = match options.optional_text("region") {
        Some(field) => field.converted(RegionCode::from_name, problems).map(Some),
        None => Some(None),
    };
    options.finish(problems);
    Some(Options { units: units?, port_specification: port_specification?, storage: storage?, region: region? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plain() -> Value {
        json!({
            "serviceOptions": {"resourceUnit": "2-Unit-Resource", "portSpecification": "user specified service port"},
            "duration": 100
        })
    }

    #[test]
    fn options_are_matched_without_regard_to_case() {
        let mut body = plain();
        body["serviceOptions"]["persistStorage"] = json!("YES");
        body["serviceOptions"]["region"] = json!("North America");
        let purchase = read(&body).unwrap().purchase;
        assert_eq!(purchase.storage, Storage::Persistent);
        assert_eq!(purchase.region.unwrap().as_str(), "north-america");
        assert_eq!(purchase.port_specification, PortSpecification::User);
        assert_eq!(purchase.service, "Container Service");
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (field, value, expected) in [
            ("id", json!("A B"), "id must consist of"),
            ("id", json!("system"), "id is not free"),
            ("duration", json!(0), "duration must be a number of hours"),
            ("duration", json!("100"), "duration must be a whole number"),
            ("duration", Value::Null, "duration is required"),
            ("amount", json!(-1), "amount must not be negative"),
            ("email", json!(1), "email must be a string"),
            ("email", json!("a".repeat(513)), "email must have at most 512 characters"),
            ("serviceOptions", json!("x"), "serviceOptions must be an object"),
            ("serviceOptions", Value::Null, "serviceOptions is required"),
            ("colour", json!("red"), "colour is not a known field"),
        ] {
            let mut body = plain();
            body[field] = value;
            let problems = read(&body).unwrap_err().into_vec();
            assert!(problems.iter().any(|p| p.to_string().starts_with(expected)), "{field}: {problems:?}");
        }
        for (field, value, expected) in [
            ("resourceUnit", json!("2"), "serviceOptions.resourceUnit must be a number of units"),
            ("portSpecification", json!("any"), "serviceOptions.portSpecification must be \"User Specified"),
            ("persistStorage", json!("maybe"), "serviceOptions.persistStorage must be Yes or No"),
            ("region", json!("a.b"), "serviceOptions.region must consist of"),
            ("colour", json!("red"), "serviceOptions.colour is not a known field"),
        ] {
            let mut body = plain();
            body["serviceOptions"][field] = value;
            let problems = read(&body).unwrap_err().into_vec();
            assert!(problems.iter().any(|p| p.to_string().starts_with(expected)), "{field}: {problems:?}");
        }
    }
}
