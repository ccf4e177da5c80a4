//! The durable record: every circuit that may exist, in one file that is replaced whole and synced.
//!
//! One JSON document per line, so that an operator can read it and, with the daemon stopped, remove the line
//! of a circuit whose fate he has found out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use vreserve_sdk::Failure;
use vreserve_sdk::model::RequestKey;

use crate::circuit::{Circuit, Stage};

/// The record's name in the instance's state directory.
const FILE: &str = "circuits.jsonl";
/// What is being written; worth nothing until it has been renamed.
const NEW_FILE: &str = "circuits.jsonl.new";

/// All circuits, in memory and on disk.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    circuits: BTreeMap<RequestKey, Circuit>,
}

impl Journal {
    /// Reads what an earlier run left. A request whose client was running then has an unknown outcome.
    ///
    /// # Errors
    /// `Unavailable` if the record cannot be read: without it, lightpaths would be forgotten.
    pub(crate) fn open(dir: PathBuf) -> Result<Journal, Failure> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Failure::unavailable(format!("cannot read {}: {error}", path.display())));
            }
        };
        let circuits = parse(&text)
            .map_err(|reason| Failure::unavailable(format!("cannot read {}: {reason}", path.display())))?;
        Ok(Journal { dir, circuits })
    }

    pub(crate) fn circuit(&self, key: &RequestKey) -> Option<&Circuit> {
        self.circuits.get(key)
    }

    pub(crate) fn circuits(&self) -> impl Iterator<Item = &Circuit> {
        self.circuits.values()
    }

    /// Records what is about to be asked. On an error nothing is recorded and nothing may be asked.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be made durable.
    pub(crate) fn begin(&mut self, circuit: Circuit) -> Result<(), Failure> {
        let key = circuit.key.clone();
        let before = self.circuits.insert(key.clone(), circuit);
        self.save().map_err(|error| {
            match before {
                Some(before) => self.circuits.insert(key.clone(), before),
                None => self.circuits.remove(&key),
            };
            Failure::unavailable(format!("cannot record the request in {}: {error}", self.dir.display()))
        })
    }

    /// Records what has happened. It stays known to this process even if it cannot be made durable.
    pub(crate) fn update(&mut self, circuit: Circuit) {
        let key = circuit.key.clone();
        self.circuits.insert(key.clone(), circuit);
        self.save_what_has_happened(&key);
    }

    /// Forgets a circuit that is gone.
    pub(crate) fn forget(&mut self, key: &RequestKey) {
        if self.circuits.remove(key).is_some() {
            self.save_what_has_happened(key);
        }
    }

    fn save_what_has_happened(&self, key: &RequestKey) {
        if let Err(error) = self.save() {
            tracing::error!(%key, dir = %self.dir.display(), %error, "the record on disk is out of date");
        }
    }

    fn save(&self) -> io::Result<()> {
        let (new, path) = (self.dir.join(NEW_FILE), self.dir.join(FILE));
        let mut file = File::create(&new)?;
        for circuit in self.circuits.values() {
            serde_json::to_writer(&mut file, circuit)?;
            file.write_all(b"\n")?;
        }
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// An unreadable last line without its end was torn by a crash; any other unreadable line is an error.
fn parse(text: &str) -> Result<BTreeMap<RequestKey, Circuit>, String> {
    let mut circuits = BTreeMap::new();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let mut circuit: Circuit = match serde_json::from_str(line) {
            Ok(circuit) => circuit,
            Err(error) if line.ends_with('\n') => return Err(format!("line {number}: {error}")),
            Err(_) => {
                tracing::warn!(line, "the last line of the record was torn by a crash");
                break;
            }
        };
        if circuit.stage == Stage::Asking {
            circuit.stage = Stage::Unknown;
            "the daemon ended while the client ran".clone_into(&mut circuit.words);
        }
        circuits.insert(circuit.key.clone(), circuit);
    }
    Ok(circuits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(key: &str, stage: Stage) -> Circuit {
        Circuit {
            key: RequestKey(key.into()),
            owner: "lab/1".into(),
            a: [10, 10, 0, 1].into(),
            z: [10, 10, 0, 2].into(),
            lambda: 1,
            stage,
            switches: None,
            words: String::new(),
            asked_ms: 0,
            start_ms: None,
            end_ms: None,
        }
    }

    fn up(path: &str) -> Stage {
        Stage::Up { path: path.into() }
    }

    #[test]
    fn a_restart_finds_what_was_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path().into()).unwrap();
        journal.begin(circuit("asked", Stage::Asking)).unwrap();
        journal.begin(circuit("gone", Stage::Asking)).unwrap();
        journal.begin(circuit("up", Stage::Asking)).unwrap();
        journal.update(circuit("up", up("17")));
        journal.forget(&RequestKey("gone".into()));

        let again = Journal::open(dir.path().into()).unwrap();
        let stages: Vec<_> = again.circuits().map(|c| (c.key.0.as_str(), c.stage.clone())).collect();
        assert_eq!(stages, [("asked", Stage::Unknown), ("up", up("17"))]);
    }

    #[test]
    fn a_write_that_was_cut_off_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path().into()).unwrap();
        journal.begin(circuit("up", up("17"))).unwrap();
        fs::write(dir.path().join(NEW_FILE), b"{\"key\":\"ot").unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"key\":\"torn")).unwrap();
        let again = Journal::open(dir.path().into()).unwrap();
        assert_eq!(again.circuits().count(), 1);
    }

    #[test]
    fn an_unreadable_record_stops_the_instance_instead_of_being_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"key\":\n").unwrap();
        let failure = Journal::open(dir.path().into()).unwrap_err();
        assert!(failure.reason.contains("line 1"), "{failure}");
    }

    #[test]
    fn what_cannot_be_made_durable_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path().join("missing")).unwrap();
        journal.begin(circuit("k", Stage::Asking)).unwrap_err();
        assert_eq!(journal.circuits().count(), 0);
    }
}
