//! Runs the cases of a kit one after the other, each on a thread of its own, so that a call that never returns ends
//! its case and not the run.

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::case::{Case, Subject, Unmet, Verdict};
use super::report::{CaseReport, Outcome, Report};
use super::watch::Watch;

/// A call that waits for this long is not one that never blocks.
const LONGEST_CALL: Duration = Duration::from_secs(10);
/// One that works for this long, on a machine that may be busy, will not end.
const LONGEST_WORK: Duration = Duration::from_secs(120);
/// So many glances in a row must find an overdue call waiting.
const NAPS: u32 = 5;
const LONGEST_CASE: Duration = Duration::from_secs(600);
/// How often a running case is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// The cases of one kind, ready to run on one plugin.
pub struct Kit {
    subject: Arc<Subject>,
    cases: Vec<Case>,
}

/// A run on its way.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// A case begins: its name, and what it shows.
    Begun(&'static str, &'static str),
    /// A case has ended.
    Ended(&'a CaseReport),
}

/// How the thread of a case ended.
enum Ended {
    By(Verdict),
    /// It has not, and will not: a call does not return.
    Never(String),
}

impl Kit {
    pub(super) fn new(subject: Subject, tables: &[&[Case]], panic: Case) -> Self {
        let mut cases = tables.concat();
        cases.extend(subject.surroundings.panicking().map(|_| panic));
        Kit { subject: Arc::new(subject), cases }
    }

    /// Leaves out the cases of other names.
    #[must_use]
    pub fn only(mut self, names: &[String]) -> Self {
        self.cases.retain(|case| names.iter().any(|name| name == case.name));
        self
    }

    /// Runs all cases.
    pub fn run(self) -> Report {
        self.run_with(|_| ())
    }

    /// Runs all cases, and tells how far it has come.
    pub fn run_with(self, mut observe: impl FnMut(Progress<'_>)) -> Report {
        let mut cases: Vec<CaseReport> = Vec::new();
        let mut stuck: Option<String> = None;
        for case in &self.cases {
            observe(Progress::Begun(case.name, case.shows));
            let outcome = match &stuck {
                Some(call) => Outcome::Skipped(format!("{call} has not returned, and never may")),
                None => match run_case(&self.subject, *case) {
                    Ended::By(verdict) => outcome_of(verdict),
                    Ended::Never(call) => {
                        let reason = format!("{call} has not returned for {LONGEST_CALL:?}");
                        stuck = Some(call);
                        Outcome::Failed(reason)
                    }
                },
            };
            cases.push(CaseReport { name: case.name.into(), shows: case.shows.into(), outcome });
            observe(Progress::Ended(&cases[cases.len() - 1]));
        }
        Report { kind: self.subject.kind.to_owned(), cases }
    }

    /// Runs all cases for a test: what was skipped is said where the test runner does not swallow it.
    ///
    /// # Panics
    /// With the report, if a case failed.
    pub fn assert(self) {
        let kind = self.subject.kind;
        let report = self.run();
        for case in &report.cases {
            if let Outcome::Skipped(reason) = &case.outcome {
                // Not by eprintln, which the test runner captures. If nobody listens, nobody is told.
                let _ = writeln!(std::io::stderr(), "SKIPPED: {kind} kit, {}: {reason}", case.name);
            }
        }
        assert!(report.is_ok(), "\n{report}");
    }
}

fn outcome_of(verdict: Verdict) -> Outcome {
    match verdict {
        Ok(()) => Outcome::Passed,
        Err(Unmet::Failed(reason)) => Outcome::Failed(reason),
        Err(Unmet::Skipped(reason)) => Outcome::Skipped(reason),
    }
}

fn run_case(subject: &Arc<Subject>, case: Case) -> Ended {
    let watch = Watch::default();
    let (verdicts, ended) = channel();
    let (on_it, begun) = (Arc::clone(subject), watch.clone());
    let run = move || {
        begun.begin();
        let verdict = catch_unwind(AssertUnwindSafe(|| (case.run)(&on_it)));
        // The kit's own mistakes, and those of the surroundings, look like this.
        let verdict = verdict.unwrap_or_else(|panic| Err(Unmet::Failed(words_of(&*panic))));
        // Nobody waits any more if the case was given up.
        let _ = verdicts.send(verdict);
    };
    let spawned = thread::Builder::new().name("case".to_owned()).spawn(run);
    let thread = match spawned {
        Ok(thread) => thread,
        Err(error) => return Ended::By(Err(Unmet::Failed(format!("no thread: {error}")))),
    };
    let (since, mut naps) = (Instant::now(), 0);
    loop {
        match ended.recv_timeout(GLANCE) {
            Ok(verdict) => {
                // Its thread-local values go with it, before threads are counted.
                let _ = thread.join();
                return Ended::By(verdict);
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Ended::By(Err(Unmet::Failed("the case's thread is gone".to_owned())));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(call) = watch.overdue(LONGEST_CALL) {
            naps = if watch.is_asleep() { naps + 1 } else { 0 };
            if naps >= NAPS || watch.overdue(LONGEST_WORK).is_some() {
                return Ended::Never(call);
            }
        }
        if since.elapsed() > LONGEST_CASE {
            return Ended::Never(case.name.to_owned());
        }
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
    format!("panicked: {}", words.unwrap_or_else(|| "no message".to_owned()))
}
