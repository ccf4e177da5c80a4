//! Durable records by key: what the lead must still know after the machine has lost power.
//!
//! A [`Store`] knows octets and keys, nothing of what they say: that is the journal's matter
//! (`control/lead/journal.rs`). [`RedbStore`] keeps them in one file, [`MemoryStore`] in memory for tests,
//! and [`FailingStore`] makes any other fail as disks do.

mod failing;
mod file;
mod memory;

use std::collections::BTreeMap;
use std::error::Error;

use thiserror::Error;

pub use self::failing::{FailingStore, Fault, Faults};
pub use self::file::RedbStore;
pub use self::memory::MemoryStore;

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Keep this, in place of what was kept under the key.
    Put {
        /// The key.
        key: String,
        /// What is kept.
        value: Vec<u8>,
    },
    /// Keep nothing under this key any more.
    Remove {
        /// The key.
        key: String,
    },
}

impl Change {
    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Change::Put { key, .. } | Change::Remove { key } => key,
        }
    }
}

/// Records by key, on disk. Calls block for as long as the disk takes.
pub trait Store: Send {
    /// Everything that is kept. Opens the store if it is not open; makes it only if there was none.
    ///
    /// # Errors
    /// If it cannot be opened or read. Nothing is guessed and nothing deleted.
    fn load(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError>;

    /// Makes all `changes` in their order, or none of them; they are on disk when this returns. Opens a store
    /// again that failed before, but never makes one anew.
    ///
    /// # Errors
    /// If it cannot be written. The changes may have been made all the same: repeat them.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;
}

/// Why records could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is not there, not ours, or damaged beyond what it repairs by itself.
    #[error("{place} cannot be opened: {reason}")]
    Open {
        /// Its file.
        place: String,
        /// Why.
        reason: String,
    },
    /// Another version of the software wrote it.
    #[error("{place} has schema {found}, and this version knows {known}")]
    Schema {
        /// Its file.
        place: String,
        /// The schema it says it has.
        found: u64,
        /// The newest one that this version knows.
        known: u64,
    },
    /// Its records cannot be read.
    #[error("{place} cannot be read: {reason}")]
    Read {
        /// Its file.
        place: String,
        /// Why.
        reason: String,
    },
    /// Nothing can be written.
    #[error("{place} cannot be written: {reason}")]
    Write {
        /// Its file.
        place: String,
        /// Why.
        reason: String,
    },
}

/// An error with its causes, in one line.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
