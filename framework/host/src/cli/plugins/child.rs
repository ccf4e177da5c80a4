//! The child process that loads a plugin in this one's place.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::message::Message;

/// The child itself ends a case that takes too long; one that is silent for longer than that is stuck.
const LONGEST_SILENCE: Duration = Duration::from_secs(660);

/// A running probe. It is ended when this is dropped.
pub(super) struct Probing {
    child: Child,
    lines: Receiver<String>,
}

/// What the child says next.
pub(super) enum Next {
    Said(Message),
    /// It has ended without having finished.
    Ended(String),
}

impl Probing {
    /// Starts `vreserve plugins probe` with these arguments.
    pub(super) fn start(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find out where this program lies")?;
        let mut child = Command::new(&program)
            .args(["plugins", "probe"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let output = child.stdout.take().context("the child has no output")?;
        let (lines_in, lines) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // Nobody listens any more once the child is given up.
            lines.take_while(|line| lines_in.send(line.clone()).is_ok()).for_each(drop);
        });
        Ok(Probing { child, lines })
    }

    /// Waits for the next line.
    pub(super) fn next(&mut self) -> anyhow::Result<Next> {
        let line = match self.lines.recv_timeout(LONGEST_SILENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().context("waiting for the child")?;
                return Ok(Next::Ended(words_of(status)));
            }
            Err(RecvTimeoutError::Timeout) => {
                return Ok(Next::Ended(format!("the process said nothing for {LONGEST_SILENCE:?}")));
            }
        };
        serde_json::from_str(&line).map(Next::Said).with_context(|| format!("the child says {line:?}"))
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn words_of(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => {
            let name = nix::sys::signal::Signal::try_from(signal)
                .map_or("unknown", nix::sys::signal::Signal::as_str);
            format!("the process was ended by signal {signal} ({name})")
        }
        None => format!("the process ended with code {}", status.code().unwrap_or(-1)),
    }
}
