//! Which of the lead's actions wait for which records.
//!
//! Actions go through in the order in which the lead gave them. Records that follow one another are one
//! write; a call that changes something at a backend is made when every record given before it is on disk.
//! What tells nodes, looks up or publishes waits for nothing: a slow disk delays reservations, not frames.
//!
//! No I/O and no clock here: the shell writes what [`Ledger::poll`] gives, and hands in how it went.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vreserve_model::{RequestKey, Timestamp};

use crate::lead::{Action, Event, Record};

/// How long after a failure the journal is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// One change of what is on disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Keep this, in place of what was kept under its key.
    Put(Box<Record>),
    /// Keep nothing under this key any more.
    Remove(RequestKey),
}

/// What was on disk.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The records that can be read.
    pub records: Vec<Record>,
    /// Keys of the others, with the reason.
    pub unreadable: BTreeMap<String, String>,
}

/// What the shell is to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Carry this out.
    Carry(Action),
    /// Answer this as one that was never asked, for this reason.
    Deny(Action, String),
    /// Read the journal.
    Load,
    /// Write this.
    Write(Vec<Change>),
}

/// How the journal does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalState {
    /// Not read: nothing is reserved, and nothing given back.
    #[default]
    Closed,
    /// Read and written.
    Ready,
    /// It cannot be written: nothing new is asked for.
    Failing,
    /// It has records that this version cannot read: nothing new is asked for.
    Unreadable,
}

/// The journal as operators see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// How it does.
    pub state: JournalState,
    /// Why nothing new is asked for.
    pub reason: Option<String>,
    /// Records that are kept and read.
    pub records: usize,
    /// Keys of records that are kept and cannot be read, with the reason.
    pub unreadable: BTreeMap<String, String>,
    /// Writes since the start.
    pub writes: u64,
    /// How long the last write took, in microseconds.
    pub last_write_us: u64,
}

/// A place in the order of records: on disk once [`Ledger::is_durable`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Change {
    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Change::Put(record) => &record.key.0,
            Change::Remove(key) => &key.0,
        }
    }
}

/// What the outcome of a write means for the lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing that it did not know.
    None,
    /// Nothing new may be asked for.
    Failed(String),
    /// It may again.
    Recovered,
}

/// The order of what is on its way to the journal and to backends.
#[derive(Debug, Default)]
pub struct Ledger {
    waiting: VecDeque<Waiting>,
    /// Handed out to be written.
    writing: Option<Vec<Change>>,
    /// What could not be written, the last word for each key.
    backlog: BTreeMap<String, Change>,
    retry_at: Option<Timestamp>,
    is_loading: bool,
    /// Keys on disk that can be read.
    kept: BTreeSet<String>,
    status: JournalStatus,
    /// How many changes were ever given, handed out, and written.
    given: u64,
    handed: u64,
    durable: u64,
}

#[derive(Debug)]
enum Waiting {
    Change(Change),
    /// Boxed: an action is several times as large as a change.
    Call(Box<Action>),
}

impl Ledger {
    /// Takes one action; gives back one that waits for nothing.
    pub fn handle_action(&mut self, action: Action) -> Option<Action> {
        match action {
            Action::Record(record) => self.push(Change::Put(Box::new(record))),
            Action::Forget(key) => self.push(Change::Remove(key)),
            Action::Rewrite(records) => {
                let given = records.iter().map(|record| record.key.0.as_str());
                let given: BTreeSet<_> = given.collect();
                let waiting = self.waiting.iter().filter_map(|waiting| match waiting {
                    Waiting::Change(change) => Some(change),
                    Waiting::Call(_) => None,
                });
                let known = waiting.chain(self.writing.iter().flatten()).chain(self.backlog.values());
                let known = known.map(Change::key).chain(self.kept.iter().map(String::as_str));
                let stale: Vec<String> =
                    known.filter(|key| !given.contains(key)).map(str::to_owned).collect();
                stale.into_iter().for_each(|key| self.push(Change::Remove(RequestKey(key))));
                records.into_iter().for_each(|record| self.push(Change::Put(Box::new(record))));
            }
            // Whoever reads that something is asked for may count on its record.
            Action::Publish { event: Event::ReservationSubmitted { .. }, .. }
            | Action::Submit { .. }
            | Action::Commit(_)
            | Action::Abort(_)
            | Action::Activate { .. }
            | Action::Deactivate(_)
            | Action::Modify { .. }
            | Action::Cancel(_)
            | Action::CancelOrphan { .. }
            | Action::Gc { .. } => self.waiting.push_back(Waiting::Call(Box::new(action))),
            Action::Find(_)
            | Action::ListOwned { .. }
            | Action::Configure { .. }
            | Action::Probe { .. }
            | Action::Publish { .. } => return Some(action),
        }
        None
    }

    fn push(&mut self, change: Change) {
        self.given += 1;
        self.waiting.push_back(Waiting::Change(change));
    }

    /// What is to be done next; none while a write or a time must be waited for.
    pub fn poll(&mut self, now: Timestamp) -> Option<Step> {
        loop {
            if self.writing.is_some() || self.is_loading {
                return None;
            }
            match self.waiting.front() {
                Some(Waiting::Call(_)) => {
                    let Some(Waiting::Call(action)) = self.waiting.pop_front() else { return None };
                    let is_new = matches!(*action, Action::Submit { .. });
                    return Some(match self.status.reason.clone().filter(|_| is_new) {
                        Some(reason) => Step::Deny(*action, reason),
                        None => Step::Carry(*action),
                    });
                }
                Some(Waiting::Change(_)) if !self.is_writable() => self.set_aside(),
                Some(Waiting::Change(_)) => return Some(Step::Write(self.next_run())),
                None if self.retry_at.is_none_or(|at| at > now) => return None,
                None => return Some(self.retry()),
            }
        }
    }

    /// When `poll` has something again that no outcome brings.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.retry_at
    }

    fn is_writable(&self) -> bool {
        matches!(self.status.state, JournalState::Ready | JournalState::Unreadable)
    }

    /// The changes up to the next call.
    fn next_run(&mut self) -> Vec<Change> {
        let mut run = Vec::new();
        while let Some(Waiting::Change(_)) = self.waiting.front() {
            let Some(Waiting::Change(change)) = self.waiting.pop_front() else { break };
            run.push(change);
        }
        self.handed += run.len() as u64;
        self.writing = Some(run.clone());
        run
    }

    fn set_aside(&mut self) {
        if let Some(Waiting::Change(change)) = self.waiting.pop_front() {
            self.handed += 1;
            self.backlog.insert(change.key().to_owned(), change);
        }
    }

    fn retry(&mut self) -> Step {
        self.retry_at = None;
        if self.status.state == JournalState::Closed {
            self.is_loading = true;
            return Step::Load;
        }
        let run: Vec<Change> = std::mem::take(&mut self.backlog).into_values().collect();
        self.writing = Some(run.clone());
        Step::Write(run)
    }

    /// The journal is being read for the first time.
    pub fn begin_load(&mut self) {
        self.is_loading = true;
    }

    /// The journal was read, or could not be.
    pub fn handle_loaded(&mut self, now: Timestamp, outcome: Result<&Loaded, &str>) {
        self.is_loading = false;
        match outcome {
            Ok(loaded) => {
                self.kept = loaded.records.iter().map(|record| record.key.0.clone()).collect();
                self.status.unreadable.clone_from(&loaded.unreadable);
                self.settle_state();
                // What was given meanwhile is written at once.
                self.retry_at = (!self.backlog.is_empty()).then_some(now);
            }
            Err(reason) => {
                self.status.reason = Some(reason.to_owned());
                self.retry_at = Some(now + RETRY);
            }
        }
        self.status.records = self.kept.len();
    }

    /// A record that this version cannot make sense of, besides those that the journal could not read.
    pub fn set_unreadable(&mut self, key: String, reason: String) {
        self.kept.remove(&key);
        self.status.unreadable.insert(key, reason);
        self.status.records = self.kept.len();
        self.settle_state();
    }

    /// It can be written; whether anything new may be asked for depends on what could not be read.
    fn settle_state(&mut self) {
        let first = self.status.unreadable.iter().next();
        self.status.reason = first.map(|(key, reason)| format!("the record {key} cannot be read: {reason}"));
        let is_whole = self.status.reason.is_none();
        self.status.state = if is_whole { JournalState::Ready } else { JournalState::Unreadable };
    }

    /// What was handed out last was written, or may not have been.
    pub fn handle_written(&mut self, now: Timestamp, outcome: Result<(), String>, took: Duration) -> Turn {
        let changes = self.writing.take().unwrap_or_default();
        self.status.writes += 1;
        self.status.last_write_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match outcome {
            Ok(()) => {
                for change in changes {
                    match change {
                        Change::Put(record) => self.kept.insert(record.key.0),
                        Change::Remove(key) => self.kept.remove(&key.0),
                    };
                }
                self.status.records = self.kept.len();
                self.durable = self.handed;
                let was_failing = self.status.state == JournalState::Failing;
                self.settle_state();
                match was_failing && self.status.state == JournalState::Ready {
                    true => Turn::Recovered,
                    false => Turn::None,
                }
            }
            Err(reason) => {
                let changes = changes.into_iter().map(|change| (change.key().to_owned(), change));
                self.backlog.extend(changes);
                self.retry_at = Some(now + RETRY);
                let is_news = self.status.state != JournalState::Failing;
                self.status.state = JournalState::Failing;
                self.status.reason = Some(reason.clone());
                if is_news { Turn::Failed(reason) } else { Turn::None }
            }
        }
    }

    /// The place behind everything given so far.
    pub fn mark(&self) -> Mark {
        Mark(self.given)
    }

    /// True once everything up to `mark` is on disk.
    pub fn is_durable(&self, mark: Mark) -> bool {
        self.durable >= mark.0
    }

    /// True if nothing is on its way that can arrive: all is written, or cannot be.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_none()
    }

    /// Why nothing new may be asked for; none if it may.
    pub fn failure(&self) -> Option<&str> {
        self.status.reason.as_deref()
    }

    /// The journal as operators see it.
    pub fn status(&self) -> &JournalStatus {
        &self.status
    }
}

#[cfg(test)]
mod tests;
