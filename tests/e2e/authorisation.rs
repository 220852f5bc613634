//! Who may call what: every operation of the document by both doors, with every kind of credential that does not belong there.
//!
//! A new operation is tried as soon as it is in the document.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::door::{Call, Door, Doors};
use e2e::operator::Operator;
use e2e::order::{Order, OrderOptions, text};
use e2e::test::{Test, test};
use e2e::until::until;
use serde_json::json;

/// An id that no job, no order and no region has.
const NOBODYS: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

/// What a credential opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opens {
    Nothing,
    Order,
    OperatorsSide,
}

impl Opens {
    /// The name of the document's security scheme.
    fn scheme(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Order => Some("OrderSecret"),
            Self::OperatorsSide => Some("OperatorToken"),
        }
    }
}

/// What is tried: in words, the headers or their like, and what it opens.
type Credential = (&'static str, Vec<(&'static str, String)>, Opens);

#[test]
fn every_call_is_open_to_whom_the_document_says_and_to_nobody_else() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let doors = Doors::of(system).await?;
        let credentials = credentials(t).await?;
        let (mut tried, mut failures) = (0, Vec::new());
        for (operation, described) in &doors.operations {
            for ((words, headers, opens), door) in credentials.iter().flat_map(|one| Door::ALL.map(|door| (one, door)))
            {
                let mut call = Call::of(operation).with("id", NOBODYS).with("code", NOBODYS);
                for (name, value) in headers {
                    call = call.with(name, value);
                }
                // Whoever is let in asks for nothing that can be done.
                let call = if described.has_body { call.body("[]") } else { call };
                let answer = doors.ask(door, &call).await?;
                let is_open = described.security.is_none() || described.security.as_deref() == opens.scheme();
                if (answer.status == 401) == is_open || (!is_open && answer.body.to_string().contains(NOBODYS)) {
                    failures.push(format!("{operation} by {door:?} with {words}: {} {}", answer.status, answer.body));
                }
                tried += 1;
            }
        }
        ensure!(failures.is_empty(), "{} of {tried} fail:\n{}", failures.len(), failures.join("\n"));
        assert_eq!(tried, doors.operations.len() * credentials.len() * 2);
        assert!(tried > 800, "{tried} are tried");
        Ok(())
    })
}

async fn credentials(t: &Test) -> Result<Vec<Credential>> {
    let system = t.shared().await?;
    let order = t.order(&OrderOptions::units(1)).await?;
    let (rotated, expired) = (replaced(t, 0).await?, replaced(t, 1).await?);
    let (secret, token) = (order.secret.clone(), system.operator_token.clone());
    let bearer = |token: &str| format!("Bearer {token}");
    let wrong = "A".repeat(secret.len());
    Ok(vec![
        ("nothing", vec![], Opens::Nothing),
        ("an empty secret", vec![("secret", String::new())], Opens::Nothing),
        ("a wrong secret", vec![("secret", wrong.clone())], Opens::Nothing),
        ("a replaced secret", vec![("secret", rotated)], Opens::Nothing),
        ("a secret whose overlap is over", vec![("secret", expired)], Opens::Nothing),
        ("the order's id", vec![("secret", order.id.clone())], Opens::Nothing),
        ("a token where a secret belongs", vec![("secret", token.clone())], Opens::Nothing),
        ("a token with its scheme there", vec![("secret", bearer(&token))], Opens::Nothing),
        ("a wrong token", vec![("Authorization", bearer(&wrong))], Opens::Nothing),
        ("a token cut short", vec![("Authorization", bearer(&token[..token.len() - 1]))], Opens::Nothing),
        ("a token of another scheme", vec![("Authorization", format!("Basic {token}"))], Opens::Nothing),
        ("a secret where a token belongs", vec![("Authorization", bearer(&secret))], Opens::Nothing),
        ("an operator's name", vec![("Authorization", bearer("e2e"))], Opens::Nothing),
        ("a secret", vec![("secret", secret)], Opens::Order),
        ("a token", vec![("Authorization", bearer(&token))], Opens::OperatorsSide),
    ])
}

/// A secret that opened an order until it was replaced, and until so many seconds after.
async fn replaced(t: &Test, overlap: u32) -> Result<String> {
    let order: Order = t.order(&OrderOptions::units(1)).await?;
    let operator = Operator::of(t.shared().await?)?;
    let replace = operator.change(&order, "secret", &json!({ "overlapSeconds": overlap }));
    let newer = order.with_secret(&text(&replace.send().await?.ok()?, "/secret")?);
    until("the secret's overlap is over", Duration::from_secs(10), async || {
        Ok((order.request(reqwest::Method::GET, "/k8s/order").send().await?.status == 401).then_some(()))
    })
    .await?;
    newer.request(reqwest::Method::GET, "/k8s/order").send().await?.ok()?;
    Ok(order.secret)
}
