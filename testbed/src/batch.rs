//! Batches of `ip` and `tc` commands: one process for many changes, so that a lab comes up in a fraction of
//! a second.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::error::{Error, Result, io_error};

/// The program that runs a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// iproute2's `ip`.
    Ip,
    /// iproute2's `tc`.
    Tc,
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Tc => "tc",
        }
    }
}

/// Commands for one program in one namespace, run in order up to the first that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Who runs them.
    pub(crate) tool: Tool,
    /// Where; `None` is the namespace of the caller.
    pub(crate) namespace: Option<String>,
    /// The commands, without the program's name.
    pub(crate) lines: Vec<String>,
}

impl Batch {
    /// `ip` commands inside a namespace.
    pub(crate) fn ip(namespace: &str, lines: Vec<String>) -> Self {
        Self { tool: Tool::Ip, namespace: Some(namespace.to_owned()), lines }
    }

    /// `tc` commands inside a namespace.
    pub(crate) fn tc(namespace: &str, lines: Vec<String>) -> Self {
        Self { tool: Tool::Tc, namespace: Some(namespace.to_owned()), lines }
    }

    /// `ip` commands where the caller is.
    pub(crate) fn ip_here(lines: Vec<String>) -> Self {
        Self { tool: Tool::Ip, namespace: None, lines }
    }

    /// `tc` commands where the caller is.
    pub(crate) fn tc_here(lines: Vec<String>) -> Self {
        Self { tool: Tool::Tc, namespace: None, lines }
    }

    /// Runs the batch.
    ///
    /// `held` is a locked file: the program inherits it, so that the lock outlives a caller that is killed
    /// while the program still works.
    pub(crate) fn run(&self, held: Option<&File>) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let program = self.tool.program();
        let output = self.start(held).map_err(io_error("run", program))?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        let place = self.namespace.clone().unwrap_or_else(|| "this namespace".to_owned());
        Err(Error::Tool { tool: program, place, message: self.with_command(message) })
    }

    fn start(&self, held: Option<&File>) -> std::io::Result<std::process::Output> {
        let mut command = Command::new(self.tool.program());
        if let Some(namespace) = &self.namespace {
            command.args(["-n", namespace]);
        }
        let stdout = held.map(File::try_clone).transpose()?.map_or_else(Stdio::null, Stdio::from);
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().expect("stdin was piped above");
        // A program that fails early closes its end; its own message says more than our broken pipe.
        let _ = stdin.write_all((self.lines.join("\n") + "\n").as_bytes());
        drop(stdin);
        child.wait_with_output()
    }

    /// Adds the command that failed: iproute2 gives only its number, as "Command failed -:3".
    fn with_command(&self, message: String) -> String {
        let number = message.rsplit("-:").next().and_then(|tail| tail.trim().parse::<usize>().ok());
        match number.and_then(|number| self.lines.get(number.wrapping_sub(1))) {
            Some(line) => format!("`{line}`: {message}"),
            None => message,
        }
    }
}
