//! What is in a process's memory is for nobody else: keys, and what customers keep secret.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// From now on no crash of this process leaves its memory in a core file or with whatever collects them, and no other process of
/// its user may read its memory or its environment (prctl(2), `PR_SET_DUMPABLE`).
///
/// # Errors
/// When the kernel refuses.
pub fn keep_private() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
