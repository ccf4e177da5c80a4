//! `cargo xtask instructions`: how many instructions the hot functions take, counted by callgrind and held against
//! the committed file. Times vary with the machine and its load; these numbers do not, so that a regression of a
//! few per cent is seen at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::run;

/// What is counted: built for release, run once per case.
const PACKAGE: &str = "vreserve-instructions";

/// By how much a count may differ from the recorded one before it is an error, upwards, or worth recording anew,
/// downwards.
const MARGIN: f64 = 0.03;

/// The committed file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Counts {
    /// Another compiler makes other code: its counts say nothing about ours.
    compiler: String,
    /// Instructions each time, by case.
    instructions: BTreeMap<String, f64>,
}

/// Counts, and compares with the committed file or, with `record`, writes it.
///
/// Without valgrind, or with another compiler than the recorded, nothing is compared and the reason is returned.
///
/// # Errors
/// A build or a run that fails; a count that grew past the margin.
pub(crate) fn instructions(record: bool) -> anyhow::Result<Option<String>> {
    if !run::works(Command::new("valgrind").arg("--version")) {
        return Ok(skip("valgrind is not installed"));
    }
    let compiler = compiler()?;
    let recorded = if record { None } else { Some(read()?) };
    if let Some(recorded) = &recorded
        && recorded.compiler != compiler
    {
        return Ok(skip(&format!("recorded with {}, this is {compiler}", recorded.compiler)));
    }
    let counts = Counts { compiler, instructions: count()? };
    match recorded {
        None => write(&counts)?,
        Some(recorded) => judge(&recorded.instructions, &counts.instructions)?,
    }
    Ok(None)
}

fn skip(reason: &str) -> Option<String> {
    let what = format!("instruction counts: {reason}");
    println!("SKIPPED: {what}");
    Some(what)
}

fn file() -> PathBuf {
    run::root().join("tests/instructions/counts.json")
}

fn read() -> anyhow::Result<Counts> {
    let text = std::fs::read(file()).with_context(|| format!("read {}", file().display()))?;
    serde_json::from_slice(&text).with_context(|| format!("understand {}", file().display()))
}

fn write(counts: &Counts) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(counts).context("write the counts down")?;
    std::fs::write(file(), text + "\n").with_context(|| format!("write {}", file().display()))
}

fn compiler() -> anyhow::Result<String> {
    let mut rustc = Command::new("rustc");
    let output = rustc.current_dir(run::root()).arg("--version").output().context("ask rustc its version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn count() -> anyhow::Result<BTreeMap<String, f64>> {
    run::run(&mut run::cargo(&["build", "--release", "--package", PACKAGE]))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| run::root().join("target"), PathBuf::from);
    let program = target.join("release").join(PACKAGE);
    let listed = Command::new(&program).output().with_context(|| format!("start {}", program.display()))?;
    let listed = String::from_utf8(listed.stdout).context("the names of the cases")?;
    let (times, cases) = listed.split_once('\n').context("the names of the cases")?;
    let times: f64 = times.trim_start_matches("times ").parse().context("how often each case is run")?;
    cases.lines().map(|case| Ok((case.to_owned(), collected(&program, case)? / times))).collect()
}

/// Instructions of one case between entering and leaving `measured`.
fn collected(program: &PathBuf, case: &str) -> anyhow::Result<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured*"]);
    let output = valgrind.arg(program).arg(case).output().context("start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed at `{case}`: {said}");
    parse(&said).with_context(|| format!("valgrind counted nothing at `{case}`: {said}"))
}

/// The number behind `Collected :`, if it is not zero.
fn parse(said: &str) -> Option<f64> {
    let (_, number) = said.lines().find_map(|line| line.split_once("Collected : "))?;
    number.trim().parse().ok().filter(|count| *count > 0.0)
}

/// Prints every count beside the recorded one.
///
/// # Errors
/// If one grew past the margin or was never recorded.
fn judge(recorded: &BTreeMap<String, f64>, counted: &BTreeMap<String, f64>) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (case, now) in counted {
        let Some(before) = recorded.get(case) else {
            wrong.push(format!("{case}: {now:.1}, never recorded"));
            continue;
        };
        let change = now / before - 1.0;
        println!("{case:<40} {now:>9.1} {:>+7.1} %", change * 100.0);
        if change > MARGIN {
            wrong.push(format!("{case}: {now:.1} instead of {before:.1}"));
        } else if change < -MARGIN {
            println!("  fewer than recorded: keep it with `cargo xtask instructions --record`");
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("more instructions: {}; if that is meant, `cargo xtask instructions --record`", wrong.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([("sum".to_owned(), count)])
    }

    #[test]
    fn growth_past_the_margin_and_unknown_cases_are_errors() {
        judge(&of(100.0), &of(102.9)).unwrap();
        judge(&of(100.0), &of(50.0)).unwrap();
        let error = judge(&of(100.0), &of(103.1)).unwrap_err().to_string();
        assert!(error.contains("sum: 103.1 instead of 100.0"), "{error}");
        assert!(judge(&BTreeMap::new(), &of(1.0)).is_err());
    }

    #[test]
    fn valgrinds_words_are_read() {
        assert_eq!(parse("==1== Events    : Ir\n==1== Collected : 548016\n"), Some(548_016.0));
        assert_eq!(parse("==1== Collected : 0\n"), None);
        assert_eq!(parse("==1== bad option\n"), None);
    }
}
