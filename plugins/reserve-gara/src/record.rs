//! What this instance has asked for, in one small file, and when each lease is to be renewed.
//!
//! It is written before the server is asked. `gc` cancels what is on it and nothing else, so that two instances
//! with one certificate leave each other's reservations alone. If it is lost, leases run out by themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use vreserve_sdk::Failure;
use vreserve_sdk::model::RequestKey;

/// The record's name in the instance's state directory.
const FILE: &str = "asked.json";
/// What is being written; worth nothing until it has been renamed.
const NEW_FILE: &str = "asked.json.new";

/// Keys that were asked for.
pub(crate) struct Record {
    dir: PathBuf,
    asked: Mutex<BTreeMap<RequestKey, Asked>>,
    /// Another lease is due first.
    pub(crate) changed: Notify,
}

/// What was asked for under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Capacity until some time.
    Window,
    /// Capacity until cancelled: a lease.
    Lease,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    kind: Kind,
    renewal: Renewal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// Of an earlier run, and the host has not named it yet: perhaps nobody wants it.
    Asleep,
    /// Then.
    Due(Instant),
    /// It is being given back, or gone.
    Over,
}

impl Record {
    /// Reads what an earlier run left.
    pub(crate) fn open(dir: PathBuf) -> Self {
        let read = match fs::read(dir.join(FILE)) {
            Ok(text) => serde_json::from_slice::<BTreeMap<RequestKey, Kind>>(&text).map_err(Into::into),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        let known = read.unwrap_or_else(|error| {
            tracing::warn!(dir = %dir.display(), %error, "the record cannot be read; leases of an earlier run end");
            BTreeMap::new()
        });
        let asleep = |(key, kind)| (key, Asked { kind, renewal: Renewal::Asleep });
        let asked = Mutex::new(known.into_iter().map(asleep).collect());
        Self { dir, asked, changed: Notify::new() }
    }

    /// Records what is about to be asked. A key that is known stays what it is.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be made durable: nothing may be asked.
    pub(crate) fn begin(&self, key: &RequestKey, kind: Kind) -> Result<(), Failure> {
        let mut asked = self.asked();
        if asked.contains_key(key) {
            return Ok(());
        }
        asked.insert(key.clone(), Asked { kind, renewal: Renewal::Asleep });
        self.save(&asked).map_err(|error| {
            asked.remove(key);
            Failure::unavailable(format!("cannot record the request in {}: {error}", self.dir.display()))
        })
    }

    /// Forgets what the server does not hold.
    pub(crate) fn forget(&self, key: &RequestKey) {
        let mut asked = self.asked();
        if asked.remove(key).is_some()
            && let Err(error) = self.save(&asked)
        {
            // It names a key too many, which `gc` will find gone.
            tracing::warn!(%key, dir = %self.dir.display(), %error, "the record on disk is out of date");
        }
    }

    /// Keeps a lease until `at`; then it is to be renewed.
    pub(crate) fn renew_at(&self, key: &RequestKey, at: Instant) {
        self.set(key, |renewal| (renewal != Renewal::Over).then_some(Renewal::Due(at)));
    }

    /// The host has named a key: it wants what is behind it.
    pub(crate) fn named(&self, key: &RequestKey) {
        self.set(key, |renewal| (renewal == Renewal::Asleep).then(|| Renewal::Due(Instant::now())));
    }

    /// The host gives a key up: whatever the server answers, it is not renewed any more.
    pub(crate) fn given_up(&self, key: &RequestKey) {
        self.set(key, |_| Some(Renewal::Over));
    }

    fn set(&self, key: &RequestKey, next: impl FnOnce(Renewal) -> Option<Renewal>) {
        let mut asked = self.asked();
        let lease = asked.get_mut(key).filter(|asked| asked.kind == Kind::Lease);
        if let Some(asked) = lease
            && let Some(renewal) = next(asked.renewal)
        {
            asked.renewal = renewal;
            self.changed.notify_one();
        }
    }

    /// The lease to renew next, and when.
    pub(crate) fn next_renewal(&self) -> Option<(Instant, RequestKey)> {
        let asked = self.asked();
        let due = asked.iter().filter_map(|(key, asked)| match asked.renewal {
            Renewal::Due(at) => Some((at, key)),
            Renewal::Asleep | Renewal::Over => None,
        });
        due.min().map(|(at, key)| (at, key.clone()))
    }

    /// Whether a key is that of a lease.
    pub(crate) fn is_lease(&self, key: &RequestKey) -> bool {
        self.asked().get(key).is_some_and(|asked| asked.kind == Kind::Lease)
    }

    /// Every key.
    pub(crate) fn keys(&self) -> Vec<RequestKey> {
        self.asked().keys().cloned().collect()
    }

    /// A panic elsewhere cannot have left it half changed.
    fn asked(&self) -> MutexGuard<'_, BTreeMap<RequestKey, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, asked: &BTreeMap<RequestKey, Asked>) -> io::Result<()> {
        let kinds: BTreeMap<_, _> = asked.iter().map(|(key, asked)| (key, asked.kind)).collect();
        let new = self.dir.join(NEW_FILE);
        let mut file = File::create(&new)?;
        serde_json::to_writer(&mut file, &kinds)?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> RequestKey {
        RequestKey(text.to_owned())
    }

    #[test]
    fn a_lease_of_an_earlier_run_is_renewed_once_the_host_has_named_it() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(dir.path().to_owned());
        record.begin(&key("lease"), Kind::Lease).unwrap();
        record.begin(&key("window"), Kind::Window).unwrap();
        let record = Record::open(dir.path().to_owned());
        assert_eq!(record.keys(), [key("lease"), key("window")]);
        assert_eq!(record.next_renewal(), None);
        record.named(&key("window"));
        record.named(&key("stranger"));
        assert_eq!(record.next_renewal(), None);
        record.named(&key("lease"));
        assert_eq!(record.next_renewal().unwrap().1, key("lease"));
    }

    #[test]
    fn what_is_given_up_is_never_renewed_again() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(dir.path().to_owned());
        record.begin(&key("k"), Kind::Lease).unwrap();
        record.renew_at(&key("k"), Instant::now());
        record.given_up(&key("k"));
        record.named(&key("k"));
        record.renew_at(&key("k"), Instant::now());
        assert_eq!(record.next_renewal(), None);
        record.forget(&key("k"));
        assert!(Record::open(dir.path().to_owned()).keys().is_empty());
    }

    #[test]
    fn a_torn_record_is_an_empty_one_and_one_that_cannot_be_written_asks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), r#"{"k":"le"#).unwrap();
        assert!(Record::open(dir.path().to_owned()).keys().is_empty());
        let record = Record::open(dir.path().join("gone"));
        assert!(record.begin(&key("k"), Kind::Lease).is_err());
        assert!(record.keys().is_empty());
    }
}
