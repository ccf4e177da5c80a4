//! Running the client: one process in a group of its own, with bounded time and bounded output.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// A client that has ended may leave children that hold its output open. So long the rest is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes of each output that are read; a client that prints more is cut off.
const LONGEST_OUTPUT: u64 = 64 << 10;

/// How a run of the client ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// It could not be started, so nothing was asked of anybody.
    NotStarted(String),
    /// It ended by itself.
    Exited {
        /// The exit code.
        code: i32,
        /// What it printed.
        stdout: Vec<u8>,
        /// What it complained about.
        stderr: Vec<u8>,
    },
    /// It was killed, hung, or printed without end.
    Lost(String),
}

/// The client program.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) program: PathBuf,
    pub(crate) server: Option<PathBuf>,
}

impl Client {
    /// Runs the client to its end. After `timeout` it is killed with everything in its process group.
    ///
    /// If the future is dropped, the client runs on: killing it would leave the switches half configured for
    /// nobody's benefit.
    pub(crate) async fn run<S: AsRef<OsStr>>(&self, arguments: &[S], timeout: Duration) -> Run {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(false);
        if let Some(server) = &self.server {
            command.env("ODIN_SERVER", server);
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                return Run::NotStarted(format!("cannot run {}: {error}", self.program.display()));
            }
        };
        // The leader's number is the group's; it is known until the child has been reaped.
        let group = child.id();
        match tokio::time::timeout(timeout, finish(&mut child, group)).await {
            Ok(Ok(run)) => run,
            Ok(Err(error)) => {
                end(&mut child, group).await;
                Run::Lost(format!("cannot read the client: {error}"))
            }
            Err(_) => {
                end(&mut child, group).await;
                Run::Lost(format!("the client did not end within {} s and was killed", timeout.as_secs_f64()))
            }
        }
    }
}

/// Waits for the client's end and what it printed. What it has left behind in its group is ended too.
async fn finish(child: &mut Child, group: Option<u32>) -> io::Result<Run> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let reading = async { tokio::try_join!(read(stdout, &mut out), read(stderr, &mut err)) };
        tokio::pin!(reading);
        let mut is_read = false;
        let status = loop {
            tokio::select! {
                read = &mut reading, if !is_read => {
                    read?;
                    is_read = true;
                }
                status = child.wait() => break status?,
            }
        };
        if !is_read && let Ok(read) = tokio::time::timeout(LAST_WORDS, &mut reading).await {
            read?;
            is_read = true;
        }
        if !is_read {
            tracing::debug!("the client has left children behind");
            kill(group);
        }
        status
    };
    let (stdout, stderr) = (out, err);
    let is_cut = |output: &[u8]| output.len() as u64 > LONGEST_OUTPUT;
    Ok(if is_cut(&stdout) || is_cut(&stderr) {
        Run::Lost(format!("the client printed more than {LONGEST_OUTPUT} bytes"))
    } else {
        ended(status, stdout, stderr)
    })
}

fn ended(status: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8>) -> Run {
    match (status.code(), status.signal()) {
        (Some(code), _) => Run::Exited { code, stdout, stderr },
        (None, Some(signal)) => Run::Lost(format!("the client was killed by signal {signal}")),
        (None, None) => Run::Lost("the client ended in no known way".to_owned()),
    }
}

/// Reads to the end, or one byte too much; then the pipe closes and the writer gets SIGPIPE.
async fn read(output: Option<impl AsyncRead + Unpin>, bytes: &mut Vec<u8>) -> io::Result<()> {
    if let Some(output) = output {
        output.take(LONGEST_OUTPUT + 1).read_to_end(bytes).await?;
    }
    Ok(())
}

/// Ends everything in the group. A group keeps its number while anybody is in it.
fn kill(group: Option<u32>) {
    if let Some(group) = group.and_then(|group| i32::try_from(group).ok()) {
        // ESRCH: the whole group has just ended by itself.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

async fn end(child: &mut Child, group: Option<u32>) {
    kill(group);
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "cannot reap the client");
    }
}
