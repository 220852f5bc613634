//! The harness of the end-to-end tests: it starts the real servers and binaries, speaks to them as a customer does, and
//! looks at them from outside. Modules are listed in the order in which a test meets them.

pub mod test;

pub mod change;
pub mod door;
pub mod expected;
pub mod http;
pub mod log_stream;
pub mod operator;
pub mod order;
pub mod pod;
pub mod until;
pub mod vkube;

pub mod stack;
pub mod system;

pub mod clock;
pub mod postgres;
pub mod process;

pub mod database;
pub mod nats;

pub mod agreement;
pub mod cluster;
pub mod ledger;

pub mod cost;
pub mod percentile;

pub mod chaos;
