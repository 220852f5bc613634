//! Breaks a running system on purpose, at random and on schedule, and finds out from journals whether what must always hold
//! (`design.md` §8) has held. Modules are listed in the order in which a run meets them.

pub mod run;

pub mod links;
pub mod proxy;
pub mod scripted;
pub mod world;

pub mod asking;
pub mod customers;
pub mod journal;
pub mod observe;

pub mod faults;
pub mod probe;
pub mod provoke;
pub mod schedule;

pub mod settle;

pub mod checker;
pub mod evidence;
pub mod resources;

pub mod figures;
pub mod report;
