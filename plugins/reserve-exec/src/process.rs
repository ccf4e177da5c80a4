//! Running the program: one process in a group of its own, with bounded time and bounded output, and none left
//! over. When the future of a run is dropped, the group is killed, and a thread waits until the process is reaped.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use vreserve_sdk::Counter;

use crate::diagnostics::Diagnostics;
use crate::protocol::Verb;
use crate::turns::Turn;

/// Bytes of an answer; a program that prints more is killed.
pub(crate) const LONGEST_ANSWER: usize = 4 << 20;
/// A process that has ended may leave children that hold its output open. So long the rest is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Run {
    /// It could not be started, so nothing was asked of anybody.
    NotStarted(String),
    /// It ended by itself.
    Exited {
        /// The exit code.
        code: i32,
        /// The answer.
        answer: Vec<u8>,
        /// The last line of its complaints.
        complaint: String,
    },
    /// It was killed, hung, or printed without end.
    Lost(String),
}

/// What is run.
pub(crate) struct Job<'a> {
    pub(crate) verb: Verb,
    pub(crate) program: &'a Path,
    pub(crate) args: &'a [String],
    /// All of its environment.
    pub(crate) env: Vec<(&'a str, String)>,
    pub(crate) directory: &'a Path,
    pub(crate) question: Vec<u8>,
    pub(crate) timeout: Duration,
    /// Counts processes that were killed because nobody waited any more.
    pub(crate) cancelled: Counter,
}

impl Job<'_> {
    /// Runs it to its end. It gives up `turn` when it has been reaped.
    pub(crate) async fn run(self, turn: Turn) -> Run {
        let mut command = Command::new(self.program);
        command.args(self.args).env_clear().envs(self.env).current_dir(self.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Run::NotStarted(format!("cannot run {}: {error}", self.program.display())),
        };
        // The leader's number is the group's; it is known until the child has been reaped.
        let group = child.id();
        let mut running = Running { child: Some(child), group, turn: Some(turn), cancelled: self.cancelled };
        let finished = tokio::time::timeout(self.timeout, running.finish(self.verb, &self.question)).await;
        let lost = match finished {
            Ok(Ok(run)) => return run,
            Ok(Err(Broken::TooMuch)) => format!("the program printed more than {LONGEST_ANSWER} bytes"),
            Ok(Err(Broken::Io(error))) => format!("cannot read the program: {error}"),
            Err(_) => {
                format!("the program did not end within {} s and was killed", self.timeout.as_secs_f64())
            }
        };
        running.end().await;
        Run::Lost(lost)
    }
}

/// Why a process is not listened to any longer.
enum Broken {
    TooMuch,
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Io(error)
    }
}

/// A process that has been started. Dropping it ends it.
struct Running {
    /// Until it has been reaped.
    child: Option<Child>,
    group: Option<u32>,
    turn: Option<Turn>,
    cancelled: Counter,
}

impl Running {
    /// Waits for the end of the process and what it printed. What it has left behind in its group is ended too.
    async fn finish(&mut self, verb: Verb, question: &[u8]) -> Result<Run, Broken> {
        let Some(child) = self.child.as_mut() else {
            return Ok(Run::Lost("the process is gone".to_owned()));
        };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut answer, mut diagnostics) = (Vec::new(), Diagnostics::default());
        let status = {
            let talking = async {
                tokio::try_join!(
                    ask(stdin, question),
                    read_answer(stdout, &mut answer),
                    read_diagnostics(stderr, &mut diagnostics, verb),
                )
            };
            tokio::pin!(talking);
            let mut is_read = false;
            let status = loop {
                tokio::select! {
                    read = &mut talking, if !is_read => {
                        read?;
                        is_read = true;
                    }
                    status = child.wait() => break status?,
                }
            };
            if !is_read && let Ok(read) = tokio::time::timeout(LAST_WORDS, &mut talking).await {
                read?;
                is_read = true;
            }
            if !is_read {
                tracing::warn!(%verb, "the program has left processes behind; they are killed");
                kill(self.group);
            }
            status
        };
        self.child = None;
        if status.signal().is_some() {
            // It had no chance to end what it had started.
            kill(self.group);
        }
        diagnostics.finish(|line| show(verb, line));
        Ok(ended(status, answer, diagnostics.last().to_owned()))
    }

    /// Kills the group and waits until the process is gone.
    async fn end(&mut self) {
        kill(self.group);
        if let Some(child) = self.child.as_mut() {
            match child.wait().await {
                Ok(_) => self.child = None,
                Err(error) => tracing::warn!(%error, "cannot reap the program"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        self.cancelled.add(1);
        kill(self.group);
        let turn = self.turn.take();
        // A thread, since the runtime may be about to end. Without one the runtime reaps it, some time.
        let thread = std::thread::Builder::new().name("reserve-exec-reaper".to_owned());
        if let Err(error) = thread.spawn(move || reap(child, turn)) {
            tracing::warn!(%error, "a killed program is reaped later");
        }
    }
}

fn reap(mut child: Child, turn: Option<Turn>) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It stays a zombie, so that its number is nobody else's when the child's owner collects it.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(Pid::from_raw(pid)), flags) == Err(Errno::EINTR) {}
    }
    if let Err(error) = child.try_wait() {
        tracing::warn!(%error, "cannot reap the program");
    }
    drop(turn);
}

/// Ends everything in the group. A group keeps its number while anybody is in it.
fn kill(group: Option<u32>) {
    if let Some(group) = group.and_then(|group| i32::try_from(group).ok()) {
        // ESRCH: the whole group has just ended by itself.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Writes the question. A program that does not care for it, and closes its input, is none the worse.
async fn ask(stdin: Option<ChildStdin>, question: &[u8]) -> Result<(), Broken> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(question).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn read_answer(stdout: Option<ChildStdout>, answer: &mut Vec<u8>) -> Result<(), Broken> {
    let Some(stdout) = stdout else { return Ok(()) };
    stdout.take(LONGEST_ANSWER as u64 + 1).read_to_end(answer).await?;
    if answer.len() > LONGEST_ANSWER { Err(Broken::TooMuch) } else { Ok(()) }
}

async fn read_diagnostics(
    stderr: Option<ChildStderr>,
    diagnostics: &mut Diagnostics,
    verb: Verb,
) -> Result<(), Broken> {
    let Some(mut stderr) = stderr else { return Ok(()) };
    let mut buffer = [0; 4096];
    loop {
        match stderr.read(&mut buffer).await? {
            0 => return Ok(()),
            n => diagnostics.feed(&buffer[..n], |line| show(verb, line)),
        }
    }
}

fn show(verb: Verb, line: &str) {
    tracing::info!(%verb, "{line}");
}

fn ended(status: ExitStatus, answer: Vec<u8>, complaint: String) -> Run {
    match (status.code(), status.signal()) {
        (Some(code), _) => Run::Exited { code, answer, complaint },
        (None, Some(signal)) => Run::Lost(format!("the program was killed by signal {signal}")),
        (None, None) => Run::Lost("the program ended in no known way".to_owned()),
    }
}
