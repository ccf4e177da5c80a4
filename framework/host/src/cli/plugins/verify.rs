//! `vreserve plugins verify`: runs the kits in a child process and prints what they find.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use vreserve_sdk::conformance::{CaseReport, Outcome, Report};

use super::child::{Next, Probing};
use super::message::{KitHead, Message};

/// What to verify, and with what around it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// The shared object
    file: PathBuf,
    #[command(flatten)]
    around: Around,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is around the plugin; handed on to the child.
#[derive(Clone, Debug, Args)]
pub(super) struct Around {
    /// The keys of the plugin's own table in TOML, in whose texts {n} stands for the number of an instance.
    /// Without it: what the examples in the plugin's schema give, in a network namespace of its own
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Run the kit of this kind only
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Run this case only; may be given several times
    #[arg(long = "case", value_name = "NAME")]
    pub(super) cases: Vec<String>,
    /// For reservations: two addresses that the provider can join; {n} stands for a number, from 1
    #[arg(long, num_args = 2, value_names = ["A", "Z"])]
    pub(super) ends: Vec<String>,
}

/// One kit's report.
#[derive(Debug, Serialize)]
struct KitReport {
    plugin: String,
    version: String,
    #[serde(flatten)]
    report: Report,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Findings {
    file: PathBuf,
    ok: bool,
    /// Why nothing was run.
    refused: Option<String>,
    kits: Vec<KitReport>,
}

impl Around {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        if let Some(config) = &self.config {
            arguments.extend(["--config".into(), config.clone().into_os_string()]);
        }
        if let Some(kind) = &self.kind {
            arguments.extend(["--kind".into(), kind.into()]);
        }
        for case in &self.cases {
            arguments.extend(["--case".into(), case.into()]);
        }
        if let [a, z] = self.ends.as_slice() {
            arguments.extend(["--ends".into(), a.into(), z.into()]);
        }
        arguments
    }
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut arguments = vec![self.file.clone().into_os_string()];
        arguments.extend(self.around.arguments());
        let mut probing = Probing::start(arguments)?;
        let mut findings = Findings { file: self.file.clone(), ok: false, refused: None, kits: Vec::new() };
        let mut running = None;
        loop {
            match probing.next()? {
                Next::Said(Message::Kit(head)) => {
                    self.say(&format!(
                        "{}: plugin {} {}, kind {}",
                        self.file.display(),
                        head.plugin,
                        head.version,
                        head.kind
                    ));
                    findings.begin(head);
                }
                Next::Said(Message::Begun(case)) => running = Some(case),
                Next::Said(Message::Ended(case)) => {
                    running = None;
                    self.say(&format!("  {case}"));
                    findings.add(case);
                }
                Next::Said(Message::Finished) => break,
                Next::Said(Message::Refused(reason)) => {
                    findings.refused = Some(reason);
                    break;
                }
                Next::Said(Message::Inspected(_)) => {}
                Next::Ended(how) => {
                    let case = crash(running.take(), how);
                    self.say(&format!("  {case}"));
                    findings.add(case);
                    break;
                }
            }
        }
        let is_empty = findings.kits.iter().all(|kit| kit.report.cases.is_empty());
        if findings.refused.is_none() && is_empty {
            findings.refused = Some("no case was run: it has none of that kind or name".to_owned());
        }
        findings.ok = findings.refused.is_none() && findings.kits.iter().all(|kit| kit.report.is_ok());
        self.print(&findings)?;
        Ok(if findings.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Says how far it has come, unless all is printed at the end.
    fn say(&self, line: &str) {
        if !self.json {
            println!("{line}");
        }
    }

    fn print(&self, findings: &Findings) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(findings)?);
            return Ok(());
        }
        if let Some(reason) = &findings.refused {
            eprintln!("vreserve: {reason}");
        }
        for kit in &findings.kits {
            let (passed, failed, skipped) = kit.report.counts();
            println!("{}: {passed} passed, {failed} failed, {skipped} skipped", kit.report.kind);
        }
        Ok(())
    }
}

impl Findings {
    fn begin(&mut self, head: KitHead) {
        let KitHead { plugin, version, kind } = head;
        self.kits.push(KitReport { plugin, version, report: Report { kind, cases: Vec::new() } });
    }

    fn add(&mut self, case: CaseReport) {
        match self.kits.last_mut() {
            Some(kit) => kit.report.cases.push(case),
            // It died before any kit had begun.
            None => self.refused = Some(case.to_string()),
        }
    }
}

/// The case in which the plugin took its process with it; what comes after it was not run.
fn crash(running: Option<String>, how: String) -> CaseReport {
    CaseReport {
        name: running.unwrap_or_else(|| "loading".to_owned()),
        shows: "the plugin does not end its process".to_owned(),
        outcome: Outcome::Failed(how),
    }
}
