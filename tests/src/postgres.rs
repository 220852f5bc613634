//! A PostgreSQL server of a system's own, on a small disk of its own: it may be broken without disturbing any other.

use std::fs::File;
use std::io::{Read as _, copy, repeat};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::clock::Clock;
use crate::database::connect;
use crate::process::{Process, free_port};
use crate::stack::Stack;
use crate::system::IN_MEMORY;
use crate::until::until;

/// How long the server may take to be ready, the recovery after a crash included.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to end.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How long a connection to a server that may be away is waited for.
const CONNECTS_WITHIN: Duration = Duration::from_secs(2);
/// The size of its disk.
const DISK: &std::ffi::CStr = c"size=320m,mode=755";
/// The most connections at once: what the pools of two api instances may hold, and some more.
const CONNECTIONS: &str = "max_connections=60";
/// Who runs it: it refuses to run as root.
const USER: [&str; 4] = ["--reuid=postgres", "--regid=postgres", "--init-groups", "--"];

/// A server, which keeps its address and its data when it is stopped and started.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    disk: PathBuf,
    log: PathBuf,
    port: u16,
    clock: Clock,
    process: Option<Process>,
}

impl Postgres {
    /// Unmounts what a run left that was killed.
    pub fn remove_old() {
        while unmount(disk(), UnmountFlags::DETACH).is_ok() {}
    }

    /// Starts a server that keeps its log in `folder` and its data on a disk in memory.
    pub async fn start(stack: &Stack, folder: &Path) -> Result<Self> {
        let disk = disk();
        let program = stack.program("postgres").await?;
        let programs = program.parent().context("a program has a folder")?.to_owned();
        std::fs::create_dir_all(&disk)?;
        mount("vkube-postgres", &disk, "tmpfs", MountFlags::empty(), DISK).context("cannot mount a disk")?;
        let log = folder.join("postgres.log");
        let clock = Clock::new(&disk.join("clock"))?;
        let mut postgres = Self { programs, disk, log, port: free_port()?, clock, process: None };
        postgres.make_data().await?;
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// Where clients connect, as the superuser: its URL, of the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> PathBuf {
        self.disk.join("data")
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    async fn make_data(&self) -> Result<()> {
        let data = self.data();
        std::fs::create_dir(&data)?;
        let owner = Command::new("chown").arg("postgres:postgres").args([&self.disk, &data]).output().await?;
        ensure!(owner.status.success(), "chown: {}", String::from_utf8_lossy(&owner.stderr));
        let mut command = Command::new("setpriv");
        command.args(USER).arg(self.programs.join("initdb")).arg("-D").arg(&data);
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--wal-segsize=1"]);
        let made = command.output().await?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }

    /// Starts a stopped server, at the same address and with the same data.
    pub async fn start_again(&mut self) -> Result<()> {
        let program = self.programs.join("postgres").display().to_string();
        let (data, disk, port) =
            (self.data().display().to_string(), self.disk.display().to_string(), self.port.to_string());
        let sockets = format!("unix_socket_directories={disk}");
        // Killing it loses nothing all the same, only a power cut would.
        let settings = ["fsync=off", "max_wal_size=64MB", "min_wal_size=32MB", "listen_addresses=127.0.0.1"];
        let settings = settings.into_iter().chain([CONNECTIONS, "log_min_messages=warning", &sockets]);
        // The kernel forgets what is tied to the end of this process when the user changes.
        let mut arguments: Vec<&str> = vec!["--pdeathsig", "KILL"];
        arguments.extend(USER);
        // Not before: the library shares memory with whoever loaded it under the same process id, as another user.
        let clock = self.clock.environment().map(|(name, value)| format!("{name}={value}"));
        arguments.push("env");
        arguments.extend(clock.iter().map(String::as_str));
        arguments.extend([program.as_str(), "-D", &data, "-p", &port]);
        arguments.extend(settings.flat_map(|setting| ["-c", setting]));
        let process = Process::start("postgres", Path::new("setpriv"), &arguments, &[], &self.log)?;
        self.process = Some(process);
        self.ready().await
    }

    /// Waits until it serves.
    pub async fn ready(&mut self) -> Result<()> {
        let url = self.url();
        let process = self.process.as_mut().context("PostgreSQL does not run")?;
        until("PostgreSQL is ready", READY_WITHIN, async || {
            process.must_run()?;
            Ok(serves(&url).await.then_some(()))
        })
        .await
    }

    fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("PostgreSQL does not run")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.as_mut().context("PostgreSQL does not run")?.ended()?.is_some())
    }

    /// The processes of its sessions and of its own work.
    fn children(&self) -> Result<Vec<u32>> {
        let id = self.process()?.id();
        let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        list.split_whitespace().map(|id| Ok(id.parse()?)).collect()
    }

    fn signal_children(&self, signal: Signal) -> Result<()> {
        self.children()?.into_iter().try_for_each(|id| send(id, signal))
    }

    /// Stops it in one of its own ways and waits for its end: `INT` disconnects clients, `QUIT` cleans nothing up.
    pub async fn stop(&mut self, signal: Signal) -> Result<()> {
        let mut process = self.process.take().context("PostgreSQL does not run")?;
        send(process.id(), signal)?;
        process.wait(END_WITHIN).await.map(drop)
    }

    /// Ends all its processes as a power cut would.
    pub async fn kill(&mut self) -> Result<()> {
        // None is made once the first does not go on.
        self.process()?.pause().await?;
        let children = self.children()?;
        children.iter().try_for_each(|id| send(*id, Signal::KILL))?;
        self.process.take().context("PostgreSQL does not run")?.kill().await?;
        until("all of PostgreSQL has ended", END_WITHIN, async || {
            let left = children.iter().any(|id| Path::new(&format!("/proc/{id}/exe")).read_link().is_ok());
            Ok((!left).then_some(()))
        })
        .await
    }

    /// Kills the process of one session, after which the server starts all others anew.
    pub fn kill_session(&self, id: u32) -> Result<()> {
        ensure!(self.children()?.contains(&id), "{id} is no process of PostgreSQL");
        send(id, Signal::KILL)
    }

    /// Stops its clock: its clients stay connected and hear nothing.
    pub async fn pause(&self) -> Result<()> {
        self.process()?.pause().await?;
        self.signal_children(Signal::STOP)
    }

    /// Lets a paused server go on.
    pub fn resume(&self) -> Result<()> {
        self.signal_children(Signal::CONT)?;
        self.process()?.resume()
    }

    fn ballast(&self) -> PathBuf {
        self.disk.join("ballast")
    }

    /// Fills its disk to the last byte.
    pub fn fill_disk(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let filled = copy(&mut repeat(1).take(u64::MAX), &mut ballast);
        let is_full = filled.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull);
        ensure!(is_full, "the disk is not full: {filled:?}");
        Ok(())
    }

    /// Gives that room back.
    pub fn free_disk(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("cannot make room")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // In this order: a disk that is in use goes when it is not.
        self.process = None;
        let _ = unmount(&self.disk, UnmountFlags::DETACH);
    }
}

/// Where its disk is.
fn disk() -> PathBuf {
    Path::new(IN_MEMORY).join("postgres")
}

/// Whether a server can be asked for something.
async fn serves(url: &str) -> bool {
    let asked = async { connect(url, "postgres").await?.simple_query("select 1").await.map_err(anyhow::Error::from) };
    matches!(tokio::time::timeout(CONNECTS_WITHIN, asked).await, Ok(Ok(_)))
}

/// Signals a process; one that has ended needs none.
fn send(id: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(id)?).context("no process id")?;
    match kill_process(pid, signal) {
        Err(Errno::SRCH) => Ok(()),
        sent => sent.with_context(|| format!("cannot signal {id}")),
    }
}
