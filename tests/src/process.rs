//! A server or binary as a child process: its output in a file, its end bounded, nothing left when the tests end.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, prlimit, waitid};

use crate::until::until;

/// How long the kernel may take to end a killed process.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A running process; killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a program with this environment and no other; its output is appended to `log`.
    pub fn start(name: &str, program: &Path, arguments: &[&str], env: &[(&str, String)], log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log).context("cannot write a log")?;
        // Linux shares the processor among sessions: each process has one of its own, as in earnest, so that all of them
        // together do not get the share of one. And the kernel ends it when this process ends in whatever way.
        let mut command = Command::new("setsid");
        command.args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn(command).with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), ended: None })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The memory it holds, in bytes (`VmRSS`).
    pub fn memory_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kibibytes * 1024)
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> Result<u64> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.id()))?.count() as u64)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Fails when it has ended, with the last lines it wrote.
    pub fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}):\n{}", self.name, tail(&self.log, 20)),
        }
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(i32::try_from(self.id())?).context("no process id")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.is_none() {
            kill_process(self.pid()?, signal).with_context(|| format!("cannot signal {}", self.name))?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and does not wait.
    pub fn ask_to_end(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Has it read its configuration again (SIGHUP).
    pub fn reload(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    /// Has a NATS server see its clients off and end (SIGUSR2).
    pub fn make_lame_duck(&self) -> Result<()> {
        self.signal(Signal::USR2)
    }

    /// Stops its clock (SIGSTOP) and waits until all its threads stand: it stays connected and does nothing.
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        until(&format!("{} stands still", self.name), END_WITHIN, async || {
            Ok(waitid(WaitId::Pid(self.pid()?), options)?.map(drop))
        })
        .await
    }

    /// Lets a paused process go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits for its end.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} has ended", self.name);
        until(&what, within, async || self.ended()).await
    }

    /// Asks it to end and waits until it has, of its own will and without an error.
    pub async fn end(&mut self, within: Duration) -> Result<()> {
        self.ask_to_end()?;
        let status = self.wait(within).await?;
        ensure!(status.success(), "{} ended with {status}:\n{}", self.name, tail(&self.log, 20));
        Ok(())
    }

    /// Ends it at once (SIGKILL), as a power cut would.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let status = self.wait(END_WITHIN).await?;
        ensure!(status.signal().is_some(), "{} had ended before it was killed: {status}", self.name);
        Ok(())
    }

    /// Ends it as a fault of its own would (SIGABRT), with leave to write a core file as large as it likes.
    pub async fn crash(&mut self) -> Result<ExitStatus> {
        prlimit(Some(self.pid()?), Resource::Core, Rlimit { current: None, maximum: None })?;
        self.signal(Signal::ABORT)?;
        self.wait(END_WITHIN).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts children from one thread that never ends: `pdeathsig` is about the thread that started the child.
fn spawn(command: Command) -> Result<Child> {
    type Wanted = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: LazyLock<mpsc::Sender<Wanted>> = LazyLock::new(|| {
        let (wanted, requests) = mpsc::channel::<Wanted>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                let _ = answer.send(command.spawn());
            }
        });
        wanted
    });
    let (answer, started) = mpsc::channel();
    STARTER.send((command, answer)).ok().context("the thread that starts processes is gone")?;
    Ok(started.recv().context("the thread that starts processes is gone")??)
}

/// A port of loopback that nobody listens on: below the highest, above those that the kernel gives to connections.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(61_000);
    for _ in 0..4000 {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of 61000-65000 is free")
}

/// What a log says after so many bytes.
pub fn log_from(file: &Path, bytes: usize) -> Result<String> {
    let all = std::fs::read(file)?;
    Ok(String::from_utf8_lossy(all.get(bytes..).unwrap_or_default()).into_owned())
}

/// The last lines of a file.
pub fn tail(file: &Path, lines: usize) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
