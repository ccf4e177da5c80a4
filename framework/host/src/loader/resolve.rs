//! From a plugin's name to its file.

use std::path::{Path, PathBuf};

use super::LoadError;
use crate::config::Instance;

/// The file of the plugin that `instance` uses: its `path`, or the first in `dirs` by one of its names. A
/// file that exists but turns out wrong later is an error; no other is tried.
pub(super) fn resolve(instance: &Instance, dirs: &[PathBuf]) -> Result<PathBuf, LoadError> {
    if let Some(path) = &instance.path {
        return Ok(path.clone());
    }
    let names = file_names(&instance.plugin);
    let candidates = dirs.iter().flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    // A dangling link is there, and its error says more than silence.
    let found = candidates.into_iter().find(|path| path.symlink_metadata().is_ok());
    found.ok_or_else(|| LoadError::NotFound { plugin: instance.plugin.clone(), searched: dirs.to_vec() })
}

/// The names that a plugin's file may have: those that cargo gives to a crate `vreserve-<name>` or `<name>`,
/// and the plain name.
fn file_names(plugin: &str) -> [String; 3] {
    let symbol = plugin.replace('-', "_");
    [format!("libvreserve_{symbol}.so"), format!("{plugin}.so"), format!("lib{symbol}.so")]
}

/// The names of plugins that the directories seem to hold, for suggestions; no file is opened.
pub(super) fn plausible_names(dirs: &[PathBuf]) -> Vec<String> {
    let entries = dirs.iter().filter_map(|dir| dir.read_dir().ok()).flatten().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| plausible_name(Path::new(&entry.file_name()))).collect();
    names.sort();
    names.dedup();
    names
}

fn plausible_name(file: &Path) -> Option<String> {
    let stem = file.file_name()?.to_str()?.strip_suffix(".so")?;
    let name = stem.strip_prefix("lib").unwrap_or(stem);
    Some(name.strip_prefix("vreserve_").unwrap_or(name).replace('_', "-"))
}
