//! A process of the world with its log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vreserve_testbed::Lab;

use crate::wait;

/// Lines of a log that are shown when a test fails.
const SHOWN: usize = 60;

/// A daemon or an ODIN server.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program in a member's namespace; what it prints is appended to its log.
    pub(crate) fn start(lab: &Lab, member: &str, command: &mut Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).expect("a log can be written");
        let second = file.try_clone().expect("a descriptor can be duplicated");
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let child = lab.spawn(member, command).expect("the program starts");
        Self { child, log }
    }

    /// The exit status, once it has ended.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }

    /// Asks it to end, and waits until it has.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGTERM).expect("a child that was not waited for has its pid");
        wait::until("a daemon ends when asked to", Duration::from_secs(40), || self.status())
    }

    /// Ends it on the spot.
    pub(crate) fn kill(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Everything it has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Prints the end of a log.
pub(crate) fn print_log(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    eprintln!("---- {} ({} lines)", path.display(), lines.len());
    lines.iter().skip(lines.len().saturating_sub(SHOWN)).for_each(|line| eprintln!("{line}"));
}
