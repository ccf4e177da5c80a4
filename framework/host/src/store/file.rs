//! Records in one file, `redb`: a copy-on-write tree whose commits are on disk when they return.
//!
//! A commit that was cut off is undone when the file is opened next: redb finds the last whole one by its
//! checksums. After an error of the disk redb refuses everything until the file is opened again, so that is
//! what happens here with the next call. See docs/decisions/010-journal.md.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, Error, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Change, Store, StoreError, reason};

/// The layout of the tables below; what the records say has versions of its own.
const SCHEMA: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Records are few and small: redb's usual gigabyte would be for nothing.
const CACHE_BYTES: usize = 1 << 20;

/// How the database is opened: each time anew after a failure.
type Opener = Box<dyn FnMut(Mode) -> Result<Database, Error> + Send>;

/// What an opener may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Make the store if there is none.
    Make,
    /// Open one that was there before.
    Again,
}

/// A store in one file that only its owner may read.
pub struct RedbStore {
    place: String,
    open: Opener,
    database: Option<Database>,
}

impl RedbStore {
    /// The store in the file `path`, which is opened when it is loaded.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let place = path.display().to_string();
        Self::with_opener(place, Box::new(move |mode| open(&path, mode)))
    }

    pub(super) fn with_opener(place: String, open: Opener) -> Self {
        RedbStore { place, open, database: None }
    }

    fn database(&mut self, mode: Mode) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            let place = self.place.clone();
            // Damage that a checksum does not show is a panic where redb is built with assertions.
            let opened = catch_unwind(AssertUnwindSafe(|| (self.open)(mode)));
            let opened = opened.unwrap_or_else(|_| Err(Error::Corrupted("its tree makes no sense".into())));
            let database = opened.map_err(|error| StoreError::Open { place, reason: reason(&error) })?;
            self.check_schema(&database)?;
            self.database = Some(database);
        }
        self.database.as_ref().ok_or_else(|| self.read_error("not open"))
    }

    fn check_schema(&self, database: &Database) -> Result<(), StoreError> {
        let found = guarded(|| {
            let tables = database.begin_read()?;
            Ok(tables.open_table(META)?.get("schema")?.map(|found| found.value()))
        });
        match found {
            Ok(Some(SCHEMA)) => Ok(()),
            Ok(found) => {
                let found = found.unwrap_or_default();
                Err(StoreError::Schema { place: self.place.clone(), found, known: SCHEMA })
            }
            Err(error) => Err(self.read_error(&reason(&error))),
        }
    }

    fn read_error(&self, reason: &str) -> StoreError {
        StoreError::Read { place: self.place.clone(), reason: reason.to_owned() }
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let database = self.database(Mode::Make)?;
        let loaded = guarded(|| read_all(database));
        loaded.map_err(|error| {
            self.database = None;
            self.read_error(&reason(&error))
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let database = self.database(Mode::Again)?;
        let written = guarded(|| write(database, changes));
        written.map_err(|error| {
            self.database = None;
            StoreError::Write { place: self.place.clone(), reason: reason(&error) }
        })
    }
}

/// Runs one call into redb; a panic of its assertions is damage like any other.
fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let outcome = catch_unwind(AssertUnwindSafe(call));
    outcome.unwrap_or_else(|_| Err(Error::Corrupted("its tree makes no sense".into())))
}

fn read_all(database: &Database) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let tables = database.begin_read()?;
    let mut records = BTreeMap::new();
    for entry in tables.open_table(RECORDS)?.iter()? {
        let (key, value) = entry?;
        records.insert(key.value().to_owned(), value.value().to_vec());
    }
    Ok(records)
}

fn write(database: &Database, changes: &[Change]) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for change in changes {
            match change {
                Change::Put { key, value } => table.insert(key.as_str(), value.as_slice())?,
                Change::Remove { key } => table.remove(key.as_str())?,
            };
        }
    }
    Ok(transaction.commit()?)
}

/// Gives a new database its tables.
pub(super) fn prepare(database: &Database) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.open_table(META)?.insert("schema", SCHEMA)?;
    transaction.open_table(RECORDS)?;
    Ok(transaction.commit()?)
}

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens the file at `path`. A new one is made under another name first, so that a file of this name has
/// always been a whole store: one that is empty has lost its records.
fn open(path: &Path, mode: Mode) -> Result<Database, Error> {
    match builder().open(path) {
        Ok(database) => Ok(database),
        Err(redb::DatabaseError::Storage(redb::StorageError::Io(error)))
            if error.kind() == io::ErrorKind::NotFound && mode == Mode::Make =>
        {
            make(path)?;
            Ok(builder().open(path)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn make(path: &Path) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let fresh = path.with_extension("new");
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    prepare(&builder().create_with_backend(FileBackend::new(file)?)?)?;
    fs::rename(&fresh, path)?;
    Ok(File::open(dir)?.sync_all()?)
}
