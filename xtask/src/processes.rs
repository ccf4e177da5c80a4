//! Programs that run in a lab, each with its output in a file: started, looked after, ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vreserve_testbed::Lab;

use crate::interrupt::wait_for;

/// For a process to end after SIGTERM. The kernel takes some 30 ms to remove each TAP, and there may be hundreds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a log that are shown when its process failed.
const LAST_LINES: usize = 15;

/// The running programs, in the order of their start.
#[derive(Default)]
pub(crate) struct Processes {
    running: Vec<Process>,
}

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Processes {
    /// Starts a program in a member's namespace; its output is appended to `<name>.log` in `logs`. Returns the pid.
    ///
    /// # Errors
    /// If the log cannot be created or the program not started.
    pub(crate) fn start(
        &mut self,
        lab: &Lab,
        logs: &Path,
        name: &str,
        member: &str,
        command: &mut Command,
    ) -> anyhow::Result<u32> {
        let log = logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("create {}", log.display()))?;
        let also = file.try_clone().context("share a log file")?;
        command.stdin(Stdio::null()).stdout(file).stderr(also);
        let child = lab.spawn(member, command)?;
        let pid = child.id();
        self.running.push(Process { name: name.to_owned(), child, log });
        Ok(pid)
    }

    /// Fails if one has ended; shows the end of its log.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for process in &mut self.running {
            if let Some(status) = process.child.try_wait().context("look after a process")? {
                bail!("{} ended: {status}\n{}", process.name, process.last_lines());
            }
        }
        Ok(())
    }

    /// Ends all at once, then waits for one after the other: they end side by side.
    ///
    /// # Errors
    /// If one does not end, or ends badly.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        for process in &self.running {
            // One that has ended already needs no signal.
            let _ = kill(Pid::from_raw(process.child.id().cast_signed()), Signal::SIGTERM);
        }
        for mut process in self.running.drain(..) {
            let what = format!("the end of {}", process.name);
            let status = wait_for(&what, PATIENCE, || Ok(process.child.try_wait()?))?;
            if !status.success() {
                bail!("{} ended badly: {status}\n{}", process.name, process.last_lines());
            }
        }
        Ok(())
    }

    /// Ends one on the spot, as a crash would (SIGKILL), and forgets it. What it has started goes on.
    ///
    /// # Errors
    /// If none has this name.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let nth = self.running.iter().position(|process| process.name == name);
        let mut process = self.running.remove(nth.with_context(|| format!("no process {name} is running"))?);
        // One that has ended by itself cannot be killed.
        let _ = process.child.kill();
        process.child.wait().with_context(|| format!("wait for {name}"))?;
        Ok(())
    }

    /// Forgets them; they go on.
    pub(crate) fn leave_running(&mut self) {
        self.running.clear();
    }
}

impl Process {
    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}
