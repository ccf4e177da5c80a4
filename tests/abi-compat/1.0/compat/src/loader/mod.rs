//! What a host of 1.0 did before it used a plugin: file, metadata, kind, ABI version, panic strategy, and the layout of its
//! tables. `error`, `file`, `library` and `metadata` are that host's own.

#[allow(dead_code, reason = "no directories are searched and no pins are set here")]
mod error;
#[allow(dead_code, reason = "no pins are set here")]
mod file;
mod library;
#[allow(dead_code, reason = "nothing is listed here")]
mod metadata;

use std::path::Path;

use vreserve_abi::PluginRef;

use crate::plugin::PluginKind;
pub use error::LoadError;
use file::CheckedFile;

/// Loads the plugin `name` of the file at `path`, for `kind`.
pub fn load(path: &Path, name: &str, kind: PluginKind) -> Result<PluginRef, LoadError> {
    let file = CheckedFile::open(path)?;
    let found = metadata::read(path, &file.bytes()?)?;
    let Some(metadata) = found.iter().find(|metadata| metadata.name == name) else {
        let names = found.iter().map(|metadata| metadata.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(LoadError::WrongName { path: path.to_owned(), found: names, expected: name.to_owned() });
    };
    metadata.check(kind)?;
    library::load(file, name)
}
