//! What parts tell each other through the broker: jobs, results, questions, presence, and the ledger's values.

use common::job::{Job, JobResult, Progress};
use common::ledger::{Observed, PortState};
use common::log::PageHead;
use common::presence::Presence;
use common::read::Read;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is read at all reads the same when it is printed and read again: the first byte says which kind of message.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 8 {
        0 => same::<Job>(bytes),
        1 => same::<JobResult>(bytes),
        2 => same::<Progress>(bytes),
        3 => same::<Read>(bytes),
        4 => same::<PortState>(bytes),
        5 => same::<Observed>(bytes),
        6 => same::<Presence>(bytes),
        _ => same::<PageHead>(bytes),
    }
}

fn same<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let printed = serde_json::to_vec(&read).expect("what was read can be printed");
    assert_eq!(serde_json::from_slice::<T>(&printed).expect("what was printed can be read"), read);
}
