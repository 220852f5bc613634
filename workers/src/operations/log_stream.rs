//! `log-page` and `log-follow`: a container's log by places in it. A place is found by its exact line, whatever came
//! between: a restart of the worker, of the apiserver, or of the container.

mod follow;
mod page;
mod place;
mod seek;

pub use follow::{Listener, follow};

#[cfg(test)]
mod tests;
