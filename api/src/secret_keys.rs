//! `vkube-api secret-keys`: under which keys the secrets of orders are kept, so that an operator can tell when a key is no
//! longer needed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::app::secret::{SecretKeys, Secrets};
use crate::store::orders::KeyUsed;
use crate::store::{Store, StoreError};

/// A line a key: its id, its place among the settings' files, and the orders.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn table(store: &Store, keys: &SecretKeys) -> Result<String, StoreError> {
    let ids = Secrets::new(keys, &BTreeMap::new()).key_ids();
    let mut used = store.secret_keys().await?;
    let mut table = String::new();
    for (index, id) in ids.iter().map(ToString::to_string).enumerate() {
        let place = format!("file {} of VKUBE_SECRET_KEY_FILES", index + 1);
        let found = used.iter().position(|used| used.key.as_ref() == Some(&id)).map(|index| used.swap_remove(index));
        line(&mut table, &id, &place, found);
    }
    for rest in used {
        let id = rest.key.clone().unwrap_or_else(|| "-".to_owned());
        line(&mut table, &id, "in no file", Some(rest));
    }
    Ok(table)
}

fn line(table: &mut String, id: &str, place: &str, used: Option<KeyUsed>) {
    let KeyUsed { orders, some, .. } = used.unwrap_or(KeyUsed { key: None, orders: 0, some: Vec::new() });
    let mut some = some.join(", ");
    if orders > 0 {
        some.insert_str(0, ": ");
    }
    let more =
        if i64::try_from(some.matches(", ").count()).is_ok_and(|commas| commas + 1 < orders) { ", ..." } else { "" };
    let _ = writeln!(table, "{id}  {place}  {orders} orders{some}{more}");
}
