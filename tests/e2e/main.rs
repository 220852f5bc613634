//! The end-to-end tests: one module a topic, on real servers.

#![cfg(test)]

mod guide;

mod access;
mod authorisation;
mod cli;
mod clients;
mod deploy;
mod doors;
mod drift;
mod edge;
mod edit;
mod image;
mod ingress;
mod job;
mod limits;
mod log;
mod log_stream;
mod matrix;
mod monitor;
mod objects;
mod operator;
mod order;
mod ports;
mod queue;
mod refusals;
mod region;
mod secrets;
mod startup;
mod status;
mod steps;
mod untrusted;
mod user_service;

mod life;
mod lifecycle;
mod outage;
mod property;
mod repair;

mod cost;
mod layout;
mod openapi;
