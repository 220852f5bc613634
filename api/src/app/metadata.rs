//! What a customer says of an order: its description and label (`wire.md` §5). They are on record only, as the order's history
//! shows; no job is made.

use common::failure::Reason;
use serde_json::Value;

use super::App;
use super::change::{key_reused, takes_no_changes};
use super::error::AppError;
use super::json::{Field, Problems};
use crate::store::digest::Digest;
use crate::store::history::{CUSTOMER, Changed, Detail, Word};
use crate::store::orders::Order;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// `description`, 3 to 253 characters.
    Description,
    /// `customizedLabel`, a Kubernetes label value.
    Label,
}

impl Metadata {
    fn field(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Label => "customizedLabel",
        }
    }

    fn check(self, text: &str) -> Result<String, &'static str> {
        match self {
            Self::Description => description(text),
            Self::Label => label(text),
        }
    }
}

impl App {
    /// Sets one of the order's texts. A repeated key changes nothing more. One statement, and one for a key.
    ///
    /// # Errors
    /// Every problem of the body; [`Reason::OrderEnded`]; [`Reason::IdempotencyKeyReused`].
    pub async fn set_metadata(
        &self,
        order: &Order,
        which: Metadata,
        body: &Value,
        key: Option<&str>,
    ) -> Result<(), AppError> {
        let digest = self.request_digest(&format!("set {which:?}"), body);
        if self.was_set_before(order, key, &digest).await? {
            return Ok(());
        }
        if let Some(refusal) = takes_no_changes(order) {
            return Err(refusal);
        }
        let text = read(which, body)?;
        let idempotency = key.map(|key| (key, &digest.current));
        let word = Word { actor: CUSTOMER, detail: Detail::default(), idempotency };
        let set = match which {
            Metadata::Description => self.store.set_description(&order.id, &text, &word).await?,
            Metadata::Label => self.store.set_label(&order.id, &text, &word).await?,
        };
        match set {
            Changed::Yes(_) => Ok(()),
            Changed::KeyTaken => self.was_set_before(order, key, &digest).await.map(drop),
            Changed::No => Err(AppError::new(Reason::OrderEnded, "the order has ended and takes no more changes")),
        }
    }

    /// Whether the key stands for this very change.
    async fn was_set_before(&self, order: &Order, key: Option<&str>, digest: &Digest) -> Result<bool, AppError> {
        let Some(key) = key else { return Ok(false) };
        match self.store.done_by_key(&order.id, CUSTOMER, key).await? {
            Some(earlier) if !digest.is(&earlier.request_digest) => Err(key_reused()),
            earlier => Ok(earlier.is_some()),
        }
    }
}

fn read(which: Metadata, body: &Value) -> Result<String, AppError> {
    let mut problems = Problems::default();
    let read = Field::root(body).object(&mut problems).and_then(|mut body| {
        let field = body.required(which.field(), &mut problems);
        let text = field.and_then(|field| field.converted(|text| which.check(text), &mut problems));
        body.finish(&mut problems);
        text
    });
    read.filter(|_| problems.is_empty()).ok_or_else(|| AppError::invalid(problems))
}

fn description(text: &str) -> Result<String, &'static str> {
    if (3..=253).contains(&text.chars().count()) { Ok(text.to_owned()) } else { Err("must have 3 to 253 characters") }
}

/// A Kubernetes label value ("Labels and Selectors", syntax).
fn label(text: &str) -> Result<String, &'static str> {
    let ends = |c: Option<u8>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inside = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let valid = text.len() <= 63 && text.bytes().all(inside) && ends(text.bytes().next()) && ends(text.bytes().last());
    let wrong = "must have at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit";
    if valid { Ok(text.to_owned()) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_have_their_forms() {
        let (long, longer, name) = ("ž".repeat(253), "ž".repeat(254), "a".repeat(64));
        for (which, field, text, valid) in [
            (Metadata::Description, "description", "my shop", true),
            (Metadata::Description, "description", "ab", false),
            (Metadata::Description, "description", long.as_str(), true),
            (Metadata::Description, "description", longer.as_str(), false),
            (Metadata::Label, "customizedLabel", "a.b-c_D9", true),
            (Metadata::Label, "customizedLabel", "", true),
            (Metadata::Label, "customizedLabel", "-a", false),
            (Metadata::Label, "customizedLabel", "a b", false),
            (Metadata::Label, "customizedLabel", name.as_str(), false),
        ] {
            assert_eq!(read(which, &json!({ field: text })).is_ok(), valid, "{text:?}");
        }
        assert!(read(Metadata::Label, &json!({})).is_err());
        assert!(read(Metadata::Label, &json!({ "customizedLabel": "a", "more": 1 })).is_err());
    }
}
