//! What a crash leaves of what a process knew.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use e2e::process::Process;
use e2e::test::test;
use e2e::until::until;

#[test]
fn a_process_of_the_product_that_crashes_leaves_no_core_file() -> Result<()> {
    test(async |t| {
        let mut system = t.system("crash", 1, 1).await?;
        // Another process in the same place leaves one.
        let folder = system.folder().display().to_string();
        let arguments = ["-c", r#"cd "$0" && exec sleep 60"#, &folder];
        let mut other =
            Process::start("sleep", Path::new("/bin/sh"), &arguments, &[], &system.folder().join("sleep.log"))?;
        until("it is asleep", Duration::from_secs(5), async || {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", other.id()))?;
            Ok((name == "sleep\n").then_some(()))
        })
        .await?;
        assert!(other.crash().await?.core_dumped(), "this machine keeps no core files at all");

        for process in [&mut system.apis[0].process, &mut system.workers[0].process] {
            let status = process.crash().await?;
            assert!(!status.core_dumped(), "{}: {status}", process.name());
        }
        Ok(())
    })
}
