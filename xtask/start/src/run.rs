//! Running programs where everybody can see it: the command first, then all that it prints.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};

/// How a line says that something was left out; the rest of the line is what and why.
const SKIPPED: &str = "SKIPPED:";

/// What a run of tests reported of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Tests that passed, as the runner counts them.
    pub passed: u64,
    /// What was left out, and why.
    pub skipped: Vec<String>,
}

impl Reported {
    /// Adds another run's.
    pub fn add(&mut self, other: Reported) {
        self.passed += other.passed;
        self.skipped.extend(other.skipped);
    }

    fn read(&mut self, line: &str) {
        if let Some((_, what)) = line.split_once(SKIPPED) {
            self.skipped.push(what.trim().to_owned());
        }
        let passed = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(" passed;"));
        let count = passed.and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok());
        self.passed += count.unwrap_or(0);
    }
}

/// The workspace, wherever the command was called from.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("xtask/start is a folder of the workspace")
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The cargo that runs us, in the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(arguments);
    command
}

/// Whether a program is there and runs; what it prints is not shown.
pub fn works(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// Runs a command to its end in the open.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = announce(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs a command in the open and returns what its lines reported.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run_tests(command: &mut Command) -> anyhow::Result<Reported> {
    let line = announce(command);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start `{line}`"))?;
    let out = child.stdout.take().expect("standard output is piped");
    let err = child.stderr.take().expect("standard error is piped");
    let reported = std::thread::scope(|scope| {
        let out = scope.spawn(move || pass_on(out, std::io::stdout()));
        let mut reported = pass_on(err, std::io::stderr());
        reported.add(out.join().expect("passing lines on does not panic"));
        reported
    });
    let status = child.wait().with_context(|| format!("wait for `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(reported)
}

/// As [`run_tests`], beside others: what it prints is shown at its end, all at once.
///
/// # Errors
/// As [`run_tests`].
pub fn run_tests_aside(command: &mut Command) -> anyhow::Result<Reported> {
    // In one piece: others print as well.
    run_aside(command, || std::io::stdout().lock())
}

fn run_aside<W: Write>(command: &mut Command, to: impl FnOnce() -> W) -> anyhow::Result<Reported> {
    let line = announce(command);
    let (mut output, input) = std::io::pipe().context("make a pipe")?;
    let also = input.try_clone().context("share a pipe")?;
    let mut child = command.stdin(Stdio::null()).stdout(also).stderr(input).spawn();
    // Ours of the pipe's ends are closed, or it would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = child.as_mut().map_err(|error| anyhow!("start `{line}`: {error}"))?;
    let mut text = Vec::new();
    output.read_to_end(&mut text).with_context(|| format!("read what `{line}` prints"))?;
    let status = child.wait().with_context(|| format!("wait for `{line}`"))?;
    let mut to = to();
    // Nobody may be reading any more, here as in what follows.
    let _ = writeln!(to, "of {line}");
    let reported = pass_on(&text[..], to);
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(reported)
}

/// Runs a command that writes a file, whose name `command` is given, in the open; how it went, and what it wrote.
pub fn run_and_read(
    name: &str,
    command: impl FnOnce(&Path) -> Command,
) -> (anyhow::Result<()>, std::io::Result<String>) {
    let file = std::env::temp_dir().join(format!("vreserve-{name}-{}.json", std::process::id()));
    let ran = run(&mut command(&file));
    let text = std::fs::read_to_string(&file);
    // The file is ours; that it was never written is said by `ran`.
    let _ = std::fs::remove_file(&file);
    (ran, text)
}

fn announce(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    println!("$ {line}");
    line
}

/// Copies line by line, and keeps what the lines report.
fn pass_on(from: impl Read, mut to: impl Write) -> Reported {
    let mut reported = Reported::default();
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        // Nobody may be reading any more; the tests go on all the same.
        let _ = writeln!(to, "{line}");
        reported.read(&line);
    }
    reported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_passes_through_and_what_it_reports_is_kept() {
        let text = "test result: ok. 3 passed; 0 failed; 0 ignored\nSKIPPED: lab: not root\ntwo\n";
        let mut seen = Vec::new();
        let reported = pass_on(text.as_bytes(), &mut seen);
        assert_eq!(reported, Reported { passed: 3, skipped: vec!["lab: not root".to_owned()] });
        assert_eq!(String::from_utf8(seen).unwrap(), text);
    }

    #[test]
    fn a_failing_command_is_named_with_its_status() {
        let fails = || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "exit 3"]);
            command
        };
        for error in [run_tests(&mut fails()), run_tests_aside(&mut fails())] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("sh -c exit 3") && error.contains('3'), "{error}");
        }
    }

    #[test]
    fn what_runs_aside_is_shown_whole_and_read() {
        let report = "echo SKIPPED: lab >&2; echo 'test result: ok. 4 passed; 0 failed'";
        let mut seen = Vec::new();
        let reported = run_aside(Command::new("/bin/sh").args(["-c", report]), || &mut seen).unwrap();
        assert_eq!(reported, Reported { passed: 4, skipped: vec!["lab".to_owned()] });
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.ends_with("SKIPPED: lab\ntest result: ok. 4 passed; 0 failed\n"), "{seen}");
    }
}
