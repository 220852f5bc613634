//! Breaks a running system on purpose, at random and on schedule, and finds out from journals whether what must always hold
//! (`design.md` §8) has held. Modules are listed in the order in which a run meets them.

pub mod proxy;
