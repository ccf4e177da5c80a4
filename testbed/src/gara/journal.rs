//! The book on disk: one record per line, each forced to the disk before anybody is told of it.
//!
//! A line that was being written when the machine stopped is the last one and not whole: it is dropped, since
//! nobody was told. Any other line that cannot be read means a damaged disk, and the server does not start. At
//! each start the file is written anew with what still counts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::book::Record;
use crate::error::{Error, Result, io_error};

const FILE: &str = "journal";

/// First line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    prefix: String,
    /// Numbers up to these were given, also to reservations no longer in the file.
    last_number: u64,
    last_seq: u64,
}

const VERSION: u32 = 1;

/// What an earlier server left.
#[derive(Debug, Default, PartialEq)]
pub struct Left {
    /// First part of its handles; `None` if there was none.
    pub prefix: Option<String>,
    /// Highest number given.
    pub last_number: u64,
    /// Highest number of a change given.
    pub last_seq: u64,
    /// The last state of each reservation, by number.
    pub records: BTreeMap<u64, Record>,
}

/// The open file.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Bytes that hold whole lines.
    length: u64,
    /// A failed write could not be undone: nothing can be added after it.
    is_broken: bool,
    _sole: Flock<File>,
}

impl Journal {
    /// Reads what an earlier server left in the directory, which is made if it is not there. One server at a
    /// time has it.
    pub fn open(directory: &Path) -> Result<(Self, Left)> {
        std::fs::create_dir_all(directory).map_err(io_error("create", directory.display()))?;
        let lock = directory.join("lock");
        let file = File::create(&lock).map_err(io_error("create", lock.display()))?;
        let sole = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Error::Gara {
            reason: format!("another server keeps its state in {}", directory.display()),
        })?;
        let path = directory.join(FILE);
        let left = read(&path)?;
        let options = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = options.map_err(io_error("open", path.display()))?;
        Ok((Self { file, path, length: 0, is_broken: false, _sole: sole }, left))
    }

    /// Replaces the file by one that holds these records, whole or not at all.
    pub fn rewrite<'a>(
        &mut self,
        prefix: &str,
        (last_number, last_seq): (u64, u64),
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<()> {
        let header = Header { version: VERSION, prefix: prefix.to_owned(), last_number, last_seq };
        let mut text = line(&header);
        records.for_each(|record| text.extend(line(record)));
        let draft = self.path.with_extension("draft");
        let written = || -> std::io::Result<File> {
            let mut file = File::create(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&draft, &self.path)?;
            // The name, too, must be on the disk.
            self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
            Ok(file)
        };
        self.file = written().map_err(io_error("write", self.path.display()))?;
        self.length = text.len() as u64;
        self.is_broken = false;
        Ok(())
    }

    /// Adds a record and returns when the disk has it.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        if self.is_broken {
            return Err(Error::Gara { reason: format!("{} has a broken end", self.path.display()) });
        }
        let text = line(record);
        let added = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        if let Err(error) = added {
            let undone =
                self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            self.is_broken = undone.is_err();
            return Err(io_error("write", self.path.display())(error));
        }
        self.length += text.len() as u64;
        Ok(())
    }
}

fn line(document: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(document).expect("records have only string keys");
    text.push(b'\n');
    text
}

fn read(path: &Path) -> Result<Left> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Left::default()),
        Err(error) => return Err(io_error("read", path.display())(error)),
    };
    let damaged = |nth: usize| Error::Gara { reason: format!("{}:{}: damaged", path.display(), nth + 1) };
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut left = Left::default();
    for (nth, text) in lines.iter().enumerate() {
        let is_understood =
            text.ends_with(b"\n") && if nth == 0 { left.take_header(text) } else { left.take_record(text) };
        if is_understood {
            continue;
        }
        if nth + 1 < lines.len() {
            return Err(damaged(nth));
        }
        tracing::warn!(file = %path.display(), line = nth + 1, "torn last record dropped");
    }
    Ok(left)
}

impl Left {
    fn take_header(&mut self, text: &[u8]) -> bool {
        let header = serde_json::from_slice::<Header>(text).ok().filter(|header| header.version == VERSION);
        let Some(Header { prefix, last_number, last_seq, .. }) = header else { return false };
        *self = Self { prefix: Some(prefix), last_number, last_seq, records: BTreeMap::new() };
        true
    }

    fn take_record(&mut self, text: &[u8]) -> bool {
        let Ok(record) = serde_json::from_slice::<Record>(text) else { return false };
        self.last_number = self.last_number.max(record.number);
        self.last_seq = self.last_seq.max(record.seq);
        self.records.insert(record.number, record);
        true
    }
}

#[cfg(test)]
mod tests;
