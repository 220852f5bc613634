//! Every operation's successes, and failures of its own: one file a kind of call. A new operation is a row in the file where
//! it belongs; a new file is a line here.

mod change;
mod edit;
mod ingress;
mod job;
mod open;
mod operator;
mod read;
mod say;
mod step;

pub(super) use self::job::Queued;
use super::scene::{Own, Scene};
use e2e::door::{Call, Door};
use e2e::expected::Expected;

/// What a call is about, what both doors answer it with, and the call.
pub(super) struct Row(pub(super) &'static str, pub(super) Expected, pub(super) Call);

/// All rows for a door, in the order in which they are asked.
pub(super) fn all(scene: &Scene, door: Door) -> Vec<Row> {
    let own: &Own = scene.own(door);
    [
        open::rows(scene),
        say::rows(scene, own),
        read::rows(scene, own),
        job::rows(scene),
        change::rows(scene, own),
        step::rows(scene, own),
        edit::rows(scene, own),
        ingress::rows(scene, own),
        operator::rows(scene, own),
    ]
    .into_iter()
    .flatten()
    .collect()
}
