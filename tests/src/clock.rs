//! A clock of a process's own, which can be set while it runs: by the library `libfaketime`. Only times of day are wrong then;
//! what is measured with the monotonic clock goes on as it was.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Where Debian has the library (package `libfaketime`).
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A clock.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Says by how much it is wrong. Read again each second.
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, kept in this file.
    pub fn new(file: &Path) -> Result<Self> {
        ensure!(Path::new(LIBRARY).exists(), "{LIBRARY} is missing: install Debian's package libfaketime");
        let clock = Self { file: file.to_owned() };
        clock.set(0)?;
        Ok(clock)
    }

    /// The variables of a process that goes by it.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// Puts it ahead by so many seconds, or behind. Its process notices within a second.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // Never half written.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}"))?;
        std::fs::rename(&new, &self.file).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::until::until;

    #[tokio::test]
    async fn a_clock_is_set_while_its_process_runs_and_the_monotonic_one_is_not() {
        let file = std::env::temp_dir().join(format!("vkube-clock-{}", std::process::id()));
        let clock = Clock::new(&file).unwrap();
        let look = "import sys, time\nfor _ in sys.stdin: print(int(time.time()), int(time.monotonic()), flush=True)";
        let mut command = Command::new("python3");
        command.args(["-c", look]).envs(clock.environment());
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (mut asked, told) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut told = std::io::BufRead::lines(std::io::BufReader::new(told));
        let mut look = || -> (i64, i64) {
            std::io::Write::write_all(&mut asked, b"\n").unwrap();
            let line = told.next().unwrap().unwrap();
            let (time, monotonic) = line.split_once(' ').unwrap();
            (time.parse().unwrap(), monotonic.parse().unwrap())
        };
        let (_, begun) = look();
        for ahead in [3600, -3600, 0] {
            clock.set(ahead).unwrap();
            until("the clock is set", Duration::from_secs(10), async || {
                let (time, _) = look();
                Ok(((time - ahead - jiff::Timestamp::now().as_second()).abs() < 5).then_some(()))
            })
            .await
            .unwrap();
        }
        let (_, ended) = look();
        assert!(ended - begun < 60, "{begun} {ended}");
        drop(asked);
        process.wait().unwrap();
        std::fs::remove_file(&file).unwrap();
    }
}
