//! Where each backend keeps its state, and which former backends may still hold circuits: durable, since what a
//! provider holds for us must be found again after a crash in the middle of a replacement.
//!
//! A backend that takes over from another of its name gets a directory of its own; both are open for a while, and
//! neither may touch the other's record. `backends.json` in the state directory says which is whose.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Instance, ReserveConfig};
use crate::plugin::PluginKind;

const FILE: &str = "backends.json";
const NEW_FILE: &str = "backends.json.new";

/// The directories, as they are on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    /// The directory of an instance, where that is not its name.
    current: BTreeMap<String, String>,
    /// Replaced, and perhaps holding circuits.
    former: Vec<Former>,
    #[serde(skip)]
    dir: PathBuf,
}

/// A backend that was replaced: all that is needed to open it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Former {
    /// Its directory: no other backend's.
    pub(super) place: String,
    /// What it reserved on; older records do not say.
    #[serde(default)]
    pub(super) network: String,
    name: String,
    plugin: String,
    path: Option<PathBuf>,
    sha256: Option<[u8; 32]>,
    settings: String,
}

impl Former {
    /// It as an instance; the node runs without it if need be.
    pub(super) fn instance(&self) -> Instance {
        Instance {
            kind: PluginKind::Reserve,
            name: self.name.clone(),
            plugin: self.plugin.clone(),
            path: self.path.clone(),
            required: false,
            sha256: self.sha256,
            settings: self.settings.clone(),
        }
    }
}

impl Places {
    /// Those on record in `state_dir`.
    ///
    /// # Errors
    /// If the record cannot be read: a backend would then open without what it holds.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        let places = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Places::default(),
            Err(error) => return Err(error),
        };
        Ok(Places { dir: state_dir.to_owned(), ..places })
    }

    /// The directory of a configured backend.
    pub(super) fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.current.get(name).map_or(name, String::as_str)
    }

    /// The former backends.
    pub(super) fn former(&self) -> impl Iterator<Item = &Former> {
        self.former.iter()
    }

    /// A directory that no backend has had, for a backend of this name; `running` are those that are open.
    pub(super) fn fresh(&self, name: &str, running: &[ReserveConfig]) -> String {
        let numbered = (2u32..).map(|number| format!("{name}~{number}"));
        let is_used = |place: &String| {
            self.former.iter().any(|former| former.place == *place)
                || running.iter().any(|open| self.of(&open.instance.name) == place)
        };
        let exists = |place: &String| self.dir.join(PluginKind::Reserve.name()).join(place).exists();
        let is_free = |place: &String| !is_used(place) && !exists(place);
        std::iter::once(name.to_owned()).chain(numbered).find(is_free).expect("numbers do not run out")
    }

    /// The backend `old` is a former one.
    pub(super) fn retire(&mut self, old: &ReserveConfig) {
        let instance = &old.instance;
        let place = self.of(&instance.name).to_owned();
        self.current.remove(&instance.name);
        self.former.push(Former {
            place,
            network: old.network.clone(),
            name: instance.name.clone(),
            plugin: instance.plugin.clone(),
            path: instance.path.clone(),
            sha256: instance.sha256,
            settings: instance.settings.clone(),
        });
    }

    /// The backend `name` is in `place`.
    pub(super) fn settle(&mut self, name: &str, place: &str) {
        self.current.remove(name);
        if place != name {
            self.current.insert(name.to_owned(), place.to_owned());
        }
    }

    /// The former backend in `place` holds nothing more.
    pub(super) fn forget(&mut self, place: &str) {
        self.former.retain(|former| former.place != place);
    }

    /// Puts it on disk.
    ///
    /// # Errors
    /// If that is not possible; the record is as it was.
    pub(super) fn save(&self) -> io::Result<()> {
        let new = self.dir.join(NEW_FILE);
        let mut file = File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_core::lead::Budget;

    fn backend(settings: &str) -> ReserveConfig {
        let instance = Instance {
            kind: PluginKind::Reserve,
            name: "omninet".into(),
            plugin: "reserve-odin".into(),
            path: None,
            required: true,
            sha256: Some([7; 32]),
            settings: settings.into(),
        };
        ReserveConfig { instance, network: "omninet".into(), budget: Budget::default(), faults: None }
    }

    #[test]
    fn a_successor_never_gets_its_predecessors_directory_and_both_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut places = Places::open(dir.path()).unwrap();
        let old = backend("{\"a\":1}");
        assert_eq!((places.of("omninet"), places.fresh("omninet", &[])), ("omninet", "omninet".into()));
        let fresh = places.fresh("omninet", std::slice::from_ref(&old));
        assert_ne!(fresh, "omninet");
        places.retire(&old);
        places.settle("omninet", &fresh);
        places.save().unwrap();

        let mut again = Places::open(dir.path()).unwrap();
        assert_eq!(again, places);
        assert_eq!(again.of("omninet"), fresh);
        let former: Vec<_> = again.former().map(|former| (former.place.clone(), former.instance())).collect();
        assert_eq!(former.len(), 1);
        assert_eq!((former[0].0.as_str(), former[0].1.settings.as_str()), ("omninet", "{\"a\":1}"));
        again.forget("omninet");
        assert_eq!(again.former().count(), 0);
    }

    #[test]
    fn a_damaged_record_is_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"current\"").unwrap();
        assert!(Places::open(dir.path()).is_err());
    }
}
