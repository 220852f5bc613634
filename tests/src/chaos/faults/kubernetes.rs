//! An API server that answers with errors or half answers, and servers of the cluster that stand still or are gone.

use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};

use super::{Fault, Step};
use crate::chaos::scripted::{Answer, Script};
use crate::chaos::world::World;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let answers = [
        ("kubernetes-429", Answer::Refusal(429)),
        ("kubernetes-500", Answer::Refusal(500)),
        ("kubernetes-503", Answer::Refusal(503)),
        ("kubernetes-409", Answer::Refusal(409)),
        ("kubernetes-500-done", Answer::LostAnswer(500)),
        ("kubernetes-504-done", Answer::LostAnswer(504)),
        ("kubernetes-half-answers", Answer::Half),
    ];
    let servers = [
        ("etcd-pause", "etcd", Deed::Pause),
        ("kubernetes-kill", "apiserver", Deed::Kill),
        ("kubelet-stop", "kubelet", Deed::Stop),
        ("registry-stop", "registry", Deed::Stop),
    ];
    let answers = answers.into_iter().map(|(name, answer)| -> Box<dyn Fault> { Box::new(Answers { name, answer }) });
    let servers = servers
        .into_iter()
        .map(|(name, server, deed)| -> Box<dyn Fault> { Box::new(ServerFault { name, server, deed, paused: None }) });
    answers.chain(servers).collect()
}

/// Answers of the API server to the workers.
#[derive(Debug)]
struct Answers {
    name: &'static str,
    answer: Answer,
}

impl Fault for Answers {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(1000..15_000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, random: &'a mut StdRng) -> Step<'a, String> {
        let script = Script { answer: self.answer, percent: random.random_range(20..=100) };
        world.scripted.set(script);
        async move { Ok(format!("{} of 100", script.percent)) }.boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        world.scripted.heal();
        async { Ok(()) }.boxed_local()
    }
}

/// What is done to a server.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Pause,
    Kill,
    Stop,
}

/// A server of the cluster.
#[derive(Debug)]
struct ServerFault {
    name: &'static str,
    server: &'static str,
    deed: Deed,
    paused: Option<Pid>,
}

impl Drop for ServerFault {
    fn drop(&mut self) {
        // The stack outlives a run that fails.
        if let Some(pid) = self.paused.take() {
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

impl Fault for ServerFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lasts(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(1000..12_000))
    }

    fn inject<'a>(&'a mut self, world: &'a mut World, _: &'a mut StdRng) -> Step<'a, String> {
        async move {
            let stack = world.system.stack();
            match self.deed {
                Deed::Pause => {
                    let pid: i32 = stack.control(&["pid", self.server]).await?.parse()?;
                    let pid = Pid::from_raw(pid).context("a process id")?;
                    kill_process(pid, Signal::STOP)?;
                    self.paused = Some(pid);
                }
                Deed::Kill => drop(stack.control(&["kill", self.server]).await?),
                Deed::Stop => drop(stack.control(&["stop", self.server]).await?),
            }
            Ok(self.server.to_owned())
        }
        .boxed_local()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World) -> Step<'a, ()> {
        async move {
            match self.paused.take() {
                Some(pid) => kill_process(pid, Signal::CONT)?,
                None => drop(world.system.stack().control(&["start", self.server]).await?),
            }
            Ok::<(), anyhow::Error>(())
        }
        .boxed_local()
    }
}
