//! The lead's records on their way to a [`Store`] and back, on a thread of their own: a write takes as long
//! as the disk takes.
//!
//! A record that cannot be read, or that a newer version wrote, is kept and left alone; see
//! docs/decisions/010-journal.md.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::mpsc;
use vreserve_core::lead::Record;
use vreserve_core::ledger::{self, Loaded};

use super::Input;
use crate::store::{Change, Store, StoreError};

/// What the journal is asked.
enum Job {
    Load,
    Write(Vec<ledger::Change>),
}

/// What it answers.
#[derive(Debug)]
pub enum JournalAnswer {
    /// What is kept, or why it cannot be read.
    Loaded(Result<Loaded, String>),
    /// Whether changes are on disk, and how long that took.
    Written(Result<(), String>, Duration),
}

/// The way to the journal's thread, which ends when this is dropped.
pub(super) struct Journal {
    jobs: std_mpsc::Sender<Job>,
}

impl Journal {
    /// Starts the thread; its answers come as inputs of the lead.
    pub(super) fn start(mut store: Box<dyn Store>, inputs: mpsc::Sender<Input>) -> io::Result<Self> {
        let (jobs, queue) = std_mpsc::channel::<Job>();
        let work = move || {
            for job in queue {
                let answer = match job {
                    Job::Load => {
                        let loaded = contained(|| store.load());
                        JournalAnswer::Loaded(loaded.map(|records| read(&records)))
                    }
                    Job::Write(changes) => {
                        let begun = Instant::now();
                        let outcome =
                            contained(|| store.commit(&changes.iter().map(change).collect::<Vec<_>>()));
                        JournalAnswer::Written(outcome, begun.elapsed())
                    }
                };
                if inputs.blocking_send(Input::Journal(answer)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("journal".to_owned()).spawn(work)?;
        Ok(Journal { jobs })
    }

    /// Asks for everything that is kept.
    pub(super) fn load(&self) {
        self.ask(Job::Load);
    }

    /// Has changes written; one call at a time.
    pub(super) fn write(&self, changes: Vec<ledger::Change>) {
        self.ask(Job::Write(changes));
    }

    fn ask(&self, job: Job) {
        // The thread outlives this end of the channel.
        drop(self.jobs.send(job));
    }
}

/// A defect of a store is a failure like any other: the lead goes on without new intents.
fn contained<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("the store panicked".to_owned()),
    }
}

/// A change as a store takes it.
fn change(change: &ledger::Change) -> Change {
    match change {
        ledger::Change::Put(record) => put(record),
        ledger::Change::Remove(key) => Change::Remove { key: key.0.clone() },
    }
}

/// The change that keeps a record.
fn put(record: &Record) -> Change {
    let value = serde_json::to_vec(record).expect("records are plain JSON");
    Change::Put { key: record.key.0.clone(), value }
}

/// Records from what a store has kept.
fn read(kept: &BTreeMap<String, Vec<u8>>) -> Loaded {
    let mut loaded = Loaded::default();
    for (key, value) in kept {
        match read_one(key, value) {
            Ok(record) => loaded.records.push(record),
            Err(reason) => {
                loaded.unreadable.insert(key.clone(), reason);
            }
        }
    }
    loaded
}

fn read_one(key: &str, value: &[u8]) -> Result<Record, String> {
    /// What every version of a record says of itself.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if version > Record::VERSION {
        return Err(format!("it is of version {version}, and this lead knows {}", Record::VERSION));
    }
    let record: Record = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if record.key.0 != key {
        return Err(format!("it says that its key is {}", record.key));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_core::lead::{Booking, BookingId, BookingWish, DemandRecord, Origin, RecordBody};
    use vreserve_core::plan::LinkKey;
    use vreserve_model::{BitsPerSecond, RequestKey};

    fn record(key: &str) -> Record {
        let wish = BookingWish {
            from: "n1".into(),
            to: "n2".into(),
            network: None,
            rate: BitsPerSecond(1_000_000),
            start_ms: None,
            end_ms: 5_000,
        };
        let link = LinkKey::new("n1", "n2", "omninet");
        let (start_ms, end_ms) = (1_000, 5_000);
        let booking = Booking { id: BookingId(1), link, origin: Origin::Planner, wish, start_ms, end_ms };
        recorded(key, RecordBody::Booking(booking))
    }

    fn recorded(key: &str, body: RecordBody) -> Record {
        Record { version: Record::VERSION, key: RequestKey(key.into()), epoch: 1, at_ms: 1, body }
    }

    fn kept(records: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
        records.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect()
    }

    #[test]
    fn a_record_reads_back_and_what_cannot_be_read_is_named_and_not_guessed() {
        let Change::Put { value, .. } = put(&record("a")) else { panic!("a put") };
        let mut newer: serde_json::Value = serde_json::from_slice(&value).unwrap();
        newer["version"] = 2.into();
        newer["key"] = "newer".into();
        newer["of"] = "something_unheard_of".into();
        let newer = serde_json::to_vec(&newer).unwrap();
        let torn = &value[..value.len() / 2];
        let loaded = read(&kept(&[
            ("a", &value),
            ("newer", &newer),
            ("other", &value),
            ("torn", torn),
            ("void", b""),
        ]));
        assert_eq!(loaded.records, [record("a")]);
        let reason = |key: &str| loaded.unreadable[key].as_str();
        assert_eq!(reason("newer"), "it is of version 2, and this lead knows 1");
        assert_eq!(reason("other"), "it says that its key is a");
        assert_eq!(loaded.unreadable.len(), 4, "{:?}", loaded.unreadable);
    }

    #[test]
    fn a_booking_of_before_there_were_others_is_an_operators() {
        let Change::Put { value, .. } = put(&record("a")) else { panic!("a put") };
        let mut older: serde_json::Value = serde_json::from_slice(&value).unwrap();
        assert_eq!(older.as_object_mut().unwrap().remove("origin"), Some("planner".into()));
        let loaded = read(&kept(&[("a", &serde_json::to_vec(&older).unwrap())]));
        let RecordBody::Booking(booking) = &loaded.records[0].body else { panic!("a booking") };
        assert_eq!(booking.origin, Origin::Operator);
    }

    #[test]
    fn demand_survives_that_the_file_is_closed_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.redb");
        let link = LinkKey::new("n1", "n2", "omninet");
        let hours = (0..192).map(|hour| (480_000 + hour, BitsPerSecond(u64::MAX - hour))).collect();
        let demand = DemandRecord { link, hours, declined_ms: Some(1_728_000_000_000) };
        let record = recorded("lab/demand/n1/n2", RecordBody::Demand(demand));
        let mut store = crate::store::RedbStore::at(&path);
        store.load().unwrap();
        store.commit(&[put(&record)]).unwrap();
        drop(store);
        let loaded = read(&crate::store::RedbStore::at(&path).load().unwrap());
        assert_eq!((loaded.records, loaded.unreadable), (vec![record], BTreeMap::new()));
    }
}
