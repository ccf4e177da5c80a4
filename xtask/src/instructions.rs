//! `cargo xtask instructions`: how many instructions the hot functions take, counted by callgrind and held against
//! the committed file. Times vary with the machine and its load; these numbers do not, so that a regression of a
//! few per cent is seen at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::run;

/// What is counted, run once per case.
const PACKAGE: &str = "vreserve-instructions";
/// How it is built: the project's own code as for release.
const PROFILE: &str = "instructions";

/// By how much a count may differ from the recorded one before it is an error, upwards, or worth recording anew,
/// downwards.
const MARGIN: f64 = 0.03;

/// The same with another compiler than the recorded one: its code differs by so much where ours does not.
const MARGIN_OF_OTHER_COMPILER: f64 = 0.15;

/// The committed file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Counts {
    /// Another compiler makes other code: its counts are held against these with more margin.
    compiler: String,
    /// Instructions each time, by case.
    instructions: BTreeMap<String, f64>,
}

/// Counts, and compares with the committed file or, with `record`, writes it.
///
/// Without valgrind nothing is counted and the reason is returned.
///
/// # Errors
/// A build or a run that fails; a count that grew past the margin.
pub(crate) fn instructions(record: bool) -> anyhow::Result<Option<String>> {
    if !run::works(Command::new("valgrind").arg("--version")) {
        return Ok(skip("valgrind is not installed"));
    }
    let recorded = if record { None } else { Some(read()?) };
    let counts = Counts { compiler: compiler()?, instructions: count()? };
    match recorded {
        None => write(&counts)?,
        Some(recorded) => {
            let margin = margin(&recorded.compiler, &counts.compiler);
            judge(&recorded.instructions, &counts.instructions, margin)?;
        }
    }
    Ok(None)
}

/// How much growth is no error, said where it is more than usual.
fn margin(recorded: &str, here: &str) -> f64 {
    if recorded == here {
        return MARGIN;
    }
    let percent = MARGIN_OF_OTHER_COMPILER * 100.0;
    println!("recorded with {recorded}, this is {here}: {percent:.0} % more is no error");
    MARGIN_OF_OTHER_COMPILER
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
    run::run(&mut run::cargo(&["build", "--profile", PROFILE, "--package", PACKAGE]))?;
    let program = run::target().join(PROFILE).join(PACKAGE);
    let listed = Command::new(&program).output().with_context(|| format!("start {}", program.display()))?;
    let listed = String::from_utf8(listed.stdout).context("the names of the cases")?;
    listed.lines().map(|line| Case::parse(line)?.count(&program)).collect()
}

/// One piece of work, as the program lists it.
#[derive(Debug, PartialEq)]
struct Case {
    /// What is counted is all that it does, in two runs, or what it has marked.
    is_whole: bool,
    times: u32,
    name: String,
}

impl Case {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().with_context(|| format!("understand the case `{line}`"));
        let is_whole = match next()? {
            "marked" => false,
            "whole" => true,
            other => bail!("`{other}` is no way to count"),
        };
        let times = next()?.parse().with_context(|| format!("how often `{line}` is run"))?;
        Ok(Self { is_whole, times, name: next()?.to_owned() })
    }

    /// Instructions of one time.
    fn count(self, program: &Path) -> anyhow::Result<(String, f64)> {
        let times = f64::from(self.times);
        let count = if self.is_whole {
            let run = |times: u32| collected(program, None, &[&self.name, &times.to_string()]);
            run(2 * self.times)? - run(self.times)?
        } else {
            collected(program, Some("*measured*"), &[&self.name])?
        };
        Ok((self.name, count / times))
    }
}

/// Instructions of one run, all of them or those between entering and leaving the function `marked`.
fn collected(program: &Path, marked: Option<&str>, arguments: &[&str]) -> anyhow::Result<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.args(marked.map(|function| format!("--toggle-collect={function}")));
    let output = valgrind.arg(program).args(arguments).output().context("start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed at {arguments:?}: {said}");
    parse(&said).with_context(|| format!("valgrind counted nothing at {arguments:?}: {said}"))
}

/// The number behind `Collected :`, if it is not zero.
fn parse(said: &str) -> Option<f64> {
    let (_, number) = said.lines().find_map(|line| line.split_once("Collected : "))?;
    number.trim().parse().ok().filter(|count| *count > 0.0)
}

/// Prints a table of the counts beside the recorded ones.
///
/// # Errors
/// If one grew past the margin or was never recorded.
fn judge(
    recorded: &BTreeMap<String, f64>,
    counted: &BTreeMap<String, f64>,
    margin: f64,
) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    println!("{:<42} {:>9} {:>9} {:>9}", "instructions", "recorded", "now", "change");
    for (case, now) in counted {
        let Some(before) = recorded.get(case) else {
            println!("{case:<42} {:>9} {now:>9.1}", "");
            wrong.push(format!("{case}: {now:.1}, never recorded"));
            continue;
        };
        let change = now / before - 1.0;
        let remark = if change < -margin { "  keep it with `--record`" } else { "" };
        println!("{case:<42} {before:>9.1} {now:>9.1} {:>+7.1} %{remark}", change * 100.0);
        if change > margin {
            wrong.push(format!("{case}: {now:.1} instead of {before:.1}"));
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
        judge(&of(100.0), &of(102.9), MARGIN).unwrap();
        judge(&of(100.0), &of(50.0), MARGIN).unwrap();
        let error = judge(&of(100.0), &of(103.1), MARGIN).unwrap_err().to_string();
        assert!(error.contains("sum: 103.1 instead of 100.0"), "{error}");
        assert!(judge(&BTreeMap::new(), &of(1.0), MARGIN).is_err());
    }

    #[test]
    fn another_compiler_has_more_margin_and_not_any() {
        let wide = margin("rustc 1", "rustc 2");
        judge(&of(100.0), &of(114.0), wide).unwrap();
        judge(&of(100.0), &of(116.0), wide).unwrap_err();
        assert_eq!(margin("rustc 1", "rustc 1"), MARGIN);
    }

    #[test]
    fn a_case_says_how_it_is_counted() {
        let case = Case::parse("whole 20 a frame from here to there").unwrap();
        let name = "a frame from here to there".to_owned();
        assert_eq!(case, Case { is_whole: true, times: 20, name });
        for wrong in ["", "whole", "whole 20", "marked x y", "other 1 y"] {
            assert!(Case::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn valgrinds_words_are_read() {
        assert_eq!(parse("==1== Events    : Ir\n==1== Collected : 548016\n"), Some(548_016.0));
        assert_eq!(parse("==1== Collected : 0\n"), None);
        assert_eq!(parse("==1== bad option\n"), None);
    }
}
