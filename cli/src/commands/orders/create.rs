//! `vkube orders create`: a new order and its secret.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::pairs;
use crate::args::id;
use crate::commands::Context;
use crate::credentials::Caller;
use crate::error::Error;
use crate::table::{cell, fields};

/// `vkube orders create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// How many units: each is 1 host port and 1 Gi of memory, and 8 Gi of volume with --storage
    #[arg(long, value_name = "N")]
    units: u32,
    /// Who chooses the host ports: the customer (user) or the system (random)
    #[arg(long, value_enum)]
    ports: Ports,
    /// Keep a volume
    #[arg(long)]
    storage: bool,
    /// Where it runs; unless given, where its first deploy says
    #[arg(long)]
    region: Option<String>,
    /// How long it runs
    #[arg(long, value_name = "N")]
    hours: u32,
    /// Its id, a DNS label of at most 48 characters; the API makes one unless given
    #[arg(long, value_parser = id)]
    id: Option<String>,
    /// The customer's address for letters
    #[arg(long)]
    email: Option<String>,
    /// What was paid
    #[arg(long, value_name = "N")]
    amount: Option<u64>,
    /// The customer's wallet
    #[arg(long)]
    address: Option<String>,
    /// The purchased service's id
    #[arg(long, value_name = "ID")]
    service_id: Option<String>,
    /// The purchased service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// The service's category
    #[arg(long, value_name = "ID")]
    service_category_id: Option<String>,
    /// The merchant's name
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The merchant's wallet
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The public key that made the order
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
}

/// Who chooses host ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ports {
    User,
    Random,
}

impl Create {
    /// Sent once: a second try could make a second order.
    pub(super) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        let call = context.client.post(Caller::Operator, &["admin", "orders"], &self.body())?;
        let answer = context.client.send(&call).await?;
        let secret = cell(&answer.value, "/secret");
        context.show(&answer, |answer, out| {
            let mut known = pairs(answer.get("order").unwrap_or(answer));
            known.push(("Secret", secret.clone()));
            fields(out, known)
        })?;
        context.note(if secret.is_empty() {
            "the order was there already; its secret is not shown again (vkube orders secret makes a new one)"
        } else {
            "keep the secret: it opens the order, and is not shown again"
        });
        Ok(())
    }

    /// The body of `POST /admin/orders`.
    fn body(&self) -> Value {
        let ports = match self.ports {
            Ports::User => "User Specified Service Port",
            Ports::Random => "System Random Map Port",
        };
        let options = given([
            ("resourceUnit", Some(format!("{}-Unit-Resource", self.units).into())),
            ("portSpecification", Some(ports.into())),
            ("persistStorage", self.storage.then(|| "Yes".into())),
            ("region", self.region.clone().map(Value::from)),
        ]);
        let text = |text: &Option<String>| text.clone().map(Value::from);
        given([
            ("serviceOptions", Some(options)),
            ("duration", Some(json!(self.hours))),
            ("id", text(&self.id)),
            ("email", text(&self.email)),
            ("amount", self.amount.map(Value::from)),
            ("address", text(&self.address)),
            ("serviceID", text(&self.service_id)),
            ("service", text(&self.service)),
            ("serviceCategoryID", text(&self.service_category_id)),
            ("provider", text(&self.provider)),
            ("recipient", text(&self.recipient)),
            ("publicKey", text(&self.public_key)),
        ])
    }
}

/// An object of the members that have a value.
fn given<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(members.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    #[test]
    fn a_body_holds_what_was_given_and_nothing_else() {
        for (line, expected) in [
            (
                "x --units 2 --ports user --hours 100",
                json!({
                    "serviceOptions": { "resourceUnit": "2-Unit-Resource", "portSpecification": "User Specified Service Port" },
                    "duration": 100,
                }),
            ),
            (
                "x --units 1 --ports random --hours 5 --storage --region ausrine --id a --email a@b.c --amount 7 --service-id s",
                json!({
                    "id": "a", "email": "a@b.c", "amount": 7, "serviceID": "s", "duration": 5,
                    "serviceOptions": {
                        "resourceUnit": "1-Unit-Resource", "portSpecification": "System Random Map Port",
                        "persistStorage": "Yes", "region": "ausrine",
                    },
                }),
            ),
        ] {
            let create = Line::try_parse_from(line.split(' ')).unwrap().create;
            assert_eq!(create.body(), expected, "{line}");
        }
    }
}
