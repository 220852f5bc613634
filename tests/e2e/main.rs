//! The end-to-end tests: one module a topic, on real servers.

#![cfg(test)]

mod guide;

mod deploy;
mod image;
mod job;
mod limits;
mod log;
mod log_stream;
mod objects;
mod order;
mod ports;
mod refusals;
mod secrets;
mod status;

mod lifecycle;
mod outage;

mod cost;
mod layout;
mod openapi;
