//! A region's worker: it takes jobs and reads from the broker, turns revisions into Kubernetes objects, and says what
//! it sees. It holds its region's cluster credentials and nothing else.

pub mod cluster;
pub mod consume;
pub mod context;
pub mod drift;
pub mod health;
pub mod host_ports;
pub mod kubernetes;
pub mod manifests;
pub mod observed_ports;
pub mod operations;
pub mod presence;
pub mod run;
pub mod settings;
pub mod slot;

pub use run::run;
