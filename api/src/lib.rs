//! vkube's front end: REST over an application core that owns PostgreSQL and the port ledger. Modules are listed in the
//! order in which a request meets them.

pub mod rest;
pub mod service;

pub mod app;

pub mod bus;
pub mod registry;
pub mod store;

pub mod keys;
pub mod nats_users;
pub mod probe;
pub mod settings;
