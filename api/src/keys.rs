//! `vkube-api secret-keys` and `vkube-api region-keys`: which keys are in use, so that an operator can tell when one is no
//! longer needed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::app::secret::{SecretKeys, Secrets};
use crate::store::keys::KeyUsed;
use crate::store::{Store, StoreError};

/// The keys that order secrets are kept under, a line each: its id, its place among the settings' files, and the orders.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn of_secrets(store: &Store, keys: &SecretKeys) -> Result<String, StoreError> {
    let ids = Secrets::new(keys, &BTreeMap::new()).key_ids();
    let mut used = store.secret_keys().await?;
    let mut table = String::new();
    for (index, id) in ids.iter().map(ToString::to_string).enumerate() {
        let place = format!("file {} of VKUBE_SECRET_KEY_FILES", index + 1);
        let found = used.iter().position(|used| used.key.as_ref() == Some(&id));
        let _ = writeln!(table, "{id}  {place}  {}", orders(found.map(|index| used.swap_remove(index)).as_ref()));
    }
    for rest in used {
        let _ = writeln!(table, "{}  in no file  {}", rest.key.as_deref().unwrap_or("-"), orders(Some(&rest)));
    }
    Ok(table)
}

/// The keys of regions that values of orders are sealed to, a line each: its region, its id, and the orders.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn of_regions(store: &Store) -> Result<String, StoreError> {
    let mut table = String::new();
    for used in store.region_keys().await? {
        let (region, key) = (used.region.as_deref().unwrap_or("-"), used.key.as_deref().unwrap_or("-"));
        let _ = writeln!(table, "{region}  {key}  {}", orders(Some(&used)));
    }
    Ok(table)
}

/// How many, and some of them by name.
fn orders(used: Option<&KeyUsed>) -> String {
    let Some(used) = used.filter(|used| used.orders > 0) else { return "0 orders".to_owned() };
    let rest = usize::try_from(used.orders).is_ok_and(|orders| orders > used.some.len());
    let noun = if used.orders == 1 { "order" } else { "orders" };
    format!("{} {noun}: {}{}", used.orders, used.some.join(", "), if rest { ", ..." } else { "" })
}
