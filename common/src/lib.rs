//! The contract of vkube's api and workers: what they tell each other and in which words. It parses and prints;
//! it never connects. Modules are listed in the order in which a reader needs them.

pub mod name;
pub mod port;
pub mod quantity;

pub mod image;
pub mod sealed;

pub mod ingress;
pub mod pod;

pub mod failure;
pub mod job;
pub mod log;
pub mod read;
pub mod usage;

pub mod access;
pub mod ledger;
pub mod login;
pub mod presence;
pub mod stream;
pub mod subject;

pub mod fail_point;
pub mod memory;
pub mod settings;
pub mod telemetry;
