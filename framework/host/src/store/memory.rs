//! Records in memory: for tests, and gone with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Change, Store, StoreError};

/// A store in memory. Its clones share what is kept, as two starts of a daemon share a file.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    records: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl MemoryStore {
    /// What is kept now.
    pub fn records(&self) -> BTreeMap<String, Vec<u8>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        Ok(self.records())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                Change::Put { key, value } => records.insert(key.clone(), value.clone()),
                Change::Remove { key } => records.remove(key),
            };
        }
        Ok(())
    }
}
