//! PostgreSQL lets nobody in.

use futures::FutureExt as _;
use rand::rngs::StdRng;

use super::{Fault, Step};
use crate::chaos::world::World;

/// All connections end, and there are no new ones.
#[derive(Debug)]
struct Closed;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Closed)]
}

impl Fault for Closed {
    fn name(&self) -> &'static str {
        "postgres-closed"
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, _: &'a mut StdRng) -> Step<'a, String> {
        async move {
            world.system.database.allow_connections(false).await?;
            Ok("the whole database".to_owned())
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        world.system.database.allow_connections(true).boxed_local()
    }
}
