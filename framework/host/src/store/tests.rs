//! Every store keeps what it acknowledged; the file does so wherever power is lost.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use redb::{DatabaseError, StorageBackend};

use super::file::{builder, prepare};
use super::*;

fn put(key: &str, value: &str) -> Change {
    Change::Put { key: key.into(), value: value.into() }
}

fn remove(key: &str) -> Change {
    Change::Remove { key: key.into() }
}

fn texts(records: BTreeMap<String, Vec<u8>>) -> Vec<(String, String)> {
    records.into_iter().map(|(key, value)| (key, String::from_utf8(value).unwrap())).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What any store does; `again` opens the same one as a restart would.
fn keeps_what_it_acknowledges<S: Store>(again: impl Fn() -> S) {
    let mut store = again();
    assert!(store.load().unwrap().is_empty());
    store.commit(&[put("a", "1"), put("b", "1"), put("a", "2")]).unwrap();
    store.commit(&[remove("b"), remove("never"), put("c", "")]).unwrap();
    drop(store);
    let mut store = again();
    assert_eq!(texts(store.load().unwrap()), pairs(&[("a", "2"), ("c", "")]));
}

#[test]
fn a_store_keeps_what_it_acknowledges() {
    let memory = MemoryStore::default();
    keeps_what_it_acknowledges(|| memory.clone());
    let memory = MemoryStore::default();
    keeps_what_it_acknowledges(|| FailingStore::new(memory.clone(), Faults::default()));
    let dir = tempfile::tempdir().unwrap();
    keeps_what_it_acknowledges(|| RedbStore::at(dir.path().join("state/journal.redb")));
}

#[test]
fn the_file_is_its_owners_alone_and_only_one_daemon_has_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let mut store = RedbStore::at(&path);
    store.load().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = RedbStore::at(&path).load().unwrap_err().to_string();
    assert!(error.contains("journal.redb cannot be opened"), "{error}");
}

#[test]
fn a_file_that_makes_no_sense_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    for content in [&b""[..], b"short", &[0x5a; 8192]] {
        std::fs::write(&path, content).unwrap();
        let error = RedbStore::at(&path).load().unwrap_err();
        assert!(matches!(error, StoreError::Open { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_file_of_a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    RedbStore::at(&path).load().unwrap();
    {
        let database = builder().open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(meta).unwrap().insert("schema", 2).unwrap();
        transaction.commit().unwrap();
    }
    let error = RedbStore::at(&path).load().unwrap_err();
    assert!(matches!(error, StoreError::Schema { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_store_that_vanished_is_not_made_anew_behind_the_writers_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    RedbStore::at(&path).load().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(RedbStore::at(&path).commit(&[put("a", "1")]).is_err());
    assert!(!path.exists());
}

/// A disk in memory that notes every write and every sync, and fails on demand.
#[derive(Clone, Debug, Default)]
struct Disk {
    inner: Arc<Mutex<Noted>>,
}

#[derive(Debug, Default)]
struct Noted {
    content: Vec<u8>,
    operations: Vec<Operation>,
    is_full: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Length(usize),
    Write(usize, Vec<u8>),
    Sync,
}

impl Operation {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Operation::Length(length) => content.resize(*length, 0),
            Operation::Write(at, data) => {
                if content.len() < at + data.len() {
                    content.resize(at + data.len(), 0);
                }
                content[*at..at + data.len()].copy_from_slice(data);
            }
            Operation::Sync => {}
        }
    }
}

impl Disk {
    fn holding(content: Vec<u8>) -> Self {
        Disk { inner: Arc::new(Mutex::new(Noted { content, ..Noted::default() })) }
    }

    fn note(&self, operation: Operation) -> std::io::Result<()> {
        let mut noted = self.inner.lock().unwrap();
        if noted.is_full {
            return Err(std::io::Error::other("no space left on device"));
        }
        operation.apply(&mut noted.content);
        noted.operations.push(operation);
        Ok(())
    }

    fn store(&self) -> RedbStore {
        let disk = self.clone();
        let open = move |_| {
            let is_new = disk.inner.lock().unwrap().content.is_empty();
            let database: Result<_, DatabaseError> = builder().create_with_backend(disk.clone());
            let database = database?;
            if is_new {
                prepare(&database)?;
            }
            Ok(database)
        };
        RedbStore::with_opener("disk".into(), Box::new(open))
    }
}

type Io<T> = std::result::Result<T, std::io::Error>;

impl StorageBackend for Disk {
    fn len(&self) -> Io<u64> {
        Ok(self.inner.lock().unwrap().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Io<()> {
        let noted = self.inner.lock().unwrap();
        let at = offset as usize;
        let piece = noted.content.get(at..at + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(piece);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Io<()> {
        self.note(Operation::Length(len as usize))
    }

    fn sync_data(&self) -> Io<()> {
        self.note(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Io<()> {
        self.note(Operation::Write(offset as usize, data.to_vec()))
    }
}

/// The disk after power was lost behind `done` operations: all that was synced, and of the rest those that
/// `survives` picks, in any combination.
fn after_power_loss(operations: &[Operation], done: usize, mut survives: impl FnMut() -> bool) -> Vec<u8> {
    let done = &operations[..done];
    let synced = done.iter().rposition(|operation| matches!(operation, Operation::Sync)).unwrap_or(0);
    let mut content = Vec::new();
    for (at, operation) in done.iter().enumerate() {
        let is_length = matches!(operation, Operation::Length(_));
        if at <= synced || is_length || survives() {
            operation.apply(&mut content);
        }
    }
    content
}

#[test]
fn wherever_power_is_lost_every_acknowledged_record_is_there() {
    let disk = Disk::default();
    let mut store = disk.store();
    store.load().unwrap();
    // Behind so many operations, this is what was acknowledged.
    let mut acknowledged = vec![(disk.inner.lock().unwrap().operations.len(), store.load().unwrap())];
    for n in 0..12 {
        let changes =
            [put(&format!("key-{}", n % 5), &format!("value {n}")), remove(&format!("key-{}", (n + 2) % 5))];
        store.commit(&changes).unwrap();
        acknowledged.push((disk.inner.lock().unwrap().operations.len(), store.load().unwrap()));
    }
    let operations = disk.inner.lock().unwrap().operations.clone();
    let first = acknowledged[0].0;
    let mut seed = 1_u64;
    let mut coin = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed >> 63 == 1
    };
    for done in first..=operations.len() {
        let before = acknowledged.iter().rposition(|(at, _)| *at <= done).unwrap();
        let all: &mut dyn FnMut() -> bool = &mut || true;
        for survives in [all, &mut coin] {
            let content = after_power_loss(&operations, done, survives);
            let found =
                Disk::holding(content).store().load().unwrap_or_else(|e| panic!("behind {done}: {e}"));
            // A commit that was not acknowledged may have been made whole, or not at all.
            let possible = acknowledged[before..].iter().take(2).map(|(_, records)| records);
            assert!(possible.clone().any(|records| *records == found), "behind {done}: {found:?}");
        }
    }
}

#[test]
fn a_full_disk_fails_the_commit_and_the_same_store_goes_on_when_there_is_room() {
    let disk = Disk::default();
    let mut store = disk.store();
    store.load().unwrap();
    store.commit(&[put("a", "1")]).unwrap();
    disk.inner.lock().unwrap().is_full = true;
    for _ in 0..3 {
        let error = store.commit(&[put("a", "2")]).unwrap_err().to_string();
        assert!(error.contains("no space left"), "{error}");
    }
    disk.inner.lock().unwrap().is_full = false;
    store.commit(&[put("b", "1")]).unwrap();
    let records = texts(store.load().unwrap());
    assert!(records.contains(&("b".into(), "1".into())), "{records:?}");
    assert!(records.iter().any(|(key, _)| key == "a"), "{records:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A file damaged anywhere is refused or gives records; it never ends the process.
    #[test]
    fn damage_never_ends_the_process(at in 0.0..1.0_f64, octets in proptest::collection::vec(any::<u8>(), 1..200)) {
        let disk = Disk::default();
        let mut store = disk.store();
        store.load().unwrap();
        store.commit(&[put("a", "1"), put("b", &"x".repeat(5000))]).unwrap();
        let mut content = disk.inner.lock().unwrap().content.clone();
        drop(store);
        let at = (content.len() as f64 * at) as usize;
        let end = content.len().min(at + octets.len());
        content[at..end].copy_from_slice(&octets[..end - at]);
        drop(Disk::holding(content).store().load());
    }
}
