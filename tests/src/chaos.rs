//! Breaks a running system on purpose, at random and on schedule, and finds out from journals whether what must always hold
//! (`design.md` §8) has held. Modules are listed in the order in which a run meets them.

pub mod world;

pub mod faults;
pub mod links;
pub mod proxy;

pub mod asking;
pub mod customers;
pub mod journal;
pub mod observe;
pub mod probe;

pub mod evidence;
