//! The state file of a standing lab, and the lock beside it.
//!
//! The file is written before the first namespace is made, so that `down` finds everything after a kill -9 at
//! any moment. The lock is inherited by the programs that change namespaces: a killed caller's last `ip`
//! finishes before `down` begins.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::process::Process;
use super::spec::LabSpec;
use crate::error::{Error, Result, io_error};

/// Overrides the directory of the state files.
pub const DIRECTORY_VARIABLE: &str = "VRESERVE_LAB_DIR";
const DIRECTORY: &str = "/run/vreserve-lab";

/// What is written down about a standing lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The lab.
    pub lab: LabSpec,
    /// Every namespace it may have made.
    pub namespaces: Vec<String>,
    /// Processes started through it.
    pub processes: Vec<Process>,
}

/// Directory of the state files.
pub fn directory() -> PathBuf {
    std::env::var_os(DIRECTORY_VARIABLE).map_or_else(|| DIRECTORY.into(), PathBuf::from)
}

/// The directory of a lab's sockets and the like: short enough for a unix socket's path, only root's, there
/// while the lab is up.
pub fn runtime_directory(name: &str) -> PathBuf {
    directory().join(format!("{name}.d"))
}

/// Names of the labs that have a state file, sorted.
pub fn recorded() -> Result<Vec<String>> {
    let directory = directory();
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("list", directory.display())(error)),
    };
    let files = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    Ok(names)
}

impl State {
    /// The state of a lab, if it has one.
    pub fn load(name: &str) -> Result<Option<Self>> {
        Self::read(&file_of(name))
    }

    /// A state file by path.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| Error::State { path: path.to_owned(), source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", path.display())(error)),
        }
    }

    /// Writes it whole or not at all. The caller holds the lock.
    pub(super) fn save(&self) -> Result<()> {
        let path = file_of(&self.lab.name);
        let draft = path.with_extension("draft");
        let bytes = serde_json::to_vec_pretty(self).expect("a lab has only string keys");
        let mut file = File::create(&draft).map_err(io_error("create", draft.display()))?;
        file.write_all(&bytes).map_err(io_error("write", draft.display()))?;
        std::fs::rename(&draft, &path).map_err(io_error("write", path.display()))
    }
}

fn file_of(name: &str) -> PathBuf {
    directory().join(format!("{name}.json"))
}

/// Exclusive right to change one lab, held until dropped.
pub(super) struct Lock {
    file: Flock<File>,
    path: PathBuf,
    name: String,
}

impl Lock {
    /// Waits for the lock of a lab.
    pub(super) fn acquire(name: &str) -> Result<Self> {
        let directory = directory();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(io_error("create", directory.display()))?;
        let path = directory.join(format!("{name}.lock"));
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(io_error("open", path.display()))?;
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| io_error("lock", path.display())(errno.into()))?;
            // The holder before us may have taken the lab down, and this file with it.
            if is_still_at(&file, &path) {
                return Ok(Self { file, path, name: name.to_owned() });
            }
        }
    }

    /// The locked file, for programs to inherit.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Makes the lab's runtime directory, empty.
    pub(super) fn make_runtime_directory(&self) -> Result<()> {
        self.remove_runtime_directory()?;
        let path = runtime_directory(&self.name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(io_error("create", path.display()))
    }

    fn remove_runtime_directory(&self) -> Result<()> {
        let path = runtime_directory(&self.name);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("remove", path.display())(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes every trace of the lab's state, the lock last.
    pub(super) fn forget(self) -> Result<()> {
        self.remove_runtime_directory()?;
        for path in [file_of(&self.name).with_extension("draft"), file_of(&self.name), self.path] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io_error("remove", path.display())(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}
