//! Why a plugin cannot be loaded, in one line each.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vreserve_abi::{ABI_VERSION, LayoutMismatch};

use crate::plugin::PluginKind;

/// Why a plugin cannot be loaded.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No directory has a file by one of its names.
    #[error("plugin {plugin} is in none of the plugin directories ({})", directories(searched))]
    NotFound {
        /// The plugin's name.
        plugin: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// The file cannot be opened or read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is a directory, a pipe or a device.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Somebody other than root and the daemon's user owns the file.
    #[error("{}: owned by user {owner}, not by root or the daemon's user", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// Others than its owner may write to the file or replace it.
    #[error("{}: others may write to it (mode {mode:04o})", path.display())]
    Writable {
        /// The file, or the directory it is in.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not an ELF shared object, or not a whole one.
    #[error("{}: not a shared object: {reason}", path.display())]
    NotShared {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The shared object is for another machine.
    #[error("{}: built for {found}, this host is {expected}", path.display())]
    WrongMachine {
        /// The file.
        path: PathBuf,
        /// What it is for.
        found: String,
        /// What this host is.
        expected: &'static str,
    },
    /// The shared object has no metadata of a plugin.
    #[error("{}: not a vreserve plugin (no readable .vreserve.plugin section)", path.display())]
    NotAPlugin {
        /// The file.
        path: PathBuf,
    },
    /// The plugin calls itself something else.
    #[error("{}: is plugin {found}, not {expected}", path.display())]
    WrongName {
        /// The file.
        path: PathBuf,
        /// What it calls itself.
        found: String,
        /// What the configuration calls it.
        expected: String,
    },
    /// The plugin does not serve this kind.
    #[error("plugin {plugin} serves {serves}, not {wanted}")]
    WrongKind {
        /// The plugin.
        plugin: String,
        /// The kinds it serves.
        serves: String,
        /// The kind that is wanted.
        wanted: PluginKind,
    },
    /// The plugin was built for an older, incompatible ABI.
    #[error(
        "plugin {plugin} is too old: built for ABI {found}, this host has {ABI_VERSION}; rebuild it with a newer vreserve-sdk"
    )]
    TooOld {
        /// The plugin.
        plugin: String,
        /// Its ABI version.
        found: String,
    },
    /// The plugin was built for a newer, incompatible ABI.
    #[error(
        "plugin {plugin} is too new: built for ABI {found}, this host has {ABI_VERSION}; update vreserve"
    )]
    TooNew {
        /// The plugin.
        plugin: String,
        /// Its ABI version.
        found: String,
    },
    /// The plugin was built with `panic = "abort"`: its first panic would end the daemon.
    #[error("plugin {plugin} is built with panic = {found:?}; build it with panic = \"unwind\"")]
    PanicStrategy {
        /// The plugin.
        plugin: String,
        /// Its panic strategy.
        found: String,
    },
    /// The file is not the one that the configuration pins.
    #[error("{}: its sha256 is {found}, the configuration pins another", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest in hexadecimal.
        found: String,
    },
    /// The dynamic linker refused it.
    #[error("{}: {reason}", path.display())]
    Linker {
        /// The file.
        path: PathBuf,
        /// What the linker says.
        reason: String,
    },
    /// Its tables are not laid out as the host's, or its root function failed.
    #[error("plugin {plugin}: {mismatch}")]
    Layout {
        /// The plugin.
        plugin: String,
        /// The difference; `mismatch.report` has the checker's whole text.
        mismatch: LayoutMismatch,
    },
}

impl LoadError {
    pub(super) fn unreadable(path: &std::path::Path, error: &io::Error) -> Self {
        LoadError::Unreadable { path: path.to_owned(), reason: error.to_string() }
    }
}

fn directories(searched: &[PathBuf]) -> String {
    let shown: Vec<_> = searched.iter().map(|dir| dir.display().to_string()).collect();
    if shown.is_empty() { "none are configured".to_owned() } else { shown.join(", ") }
}
