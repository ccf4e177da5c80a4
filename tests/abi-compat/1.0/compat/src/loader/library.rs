//! Loads a checked file into the process and gets its root table.
#![allow(unsafe_code, reason = "dlopen runs the library's constructors; its symbol is taken at its word")]

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use vreserve_abi::{PluginRef, SYMBOL_PREFIX, root_from_symbol};

use super::LoadError;
use super::file::CheckedFile;

/// Loads the file, never to be unloaded again, and checks the tables of plugin `name` in it.
///
/// Loading goes through the descriptor that was checked, so that a file put in its place meanwhile is not
/// what gets loaded. Backtraces therefore show `/proc/self/fd/N`; the log says which file that is.
pub(super) fn load(file: CheckedFile, name: &str) -> Result<PluginRef, LoadError> {
    let path = file.path.clone();
    let pinned = file.pinned_path();
    let linker =
        |error: libloading::Error| LoadError::Linker { path: path.clone(), reason: one_line(&error) };
    // SAFETY: the operator named this file, it belongs to root or the daemon's user and nobody else can
    // write to it, and it carries a plugin's metadata: running its constructors is what was asked for.
    let library = unsafe { Library::open(Some(&pinned), RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE) };
    let library = library.map_err(linker)?;
    tracing::debug!(plugin = name, file = %path.display(), loaded_as = %pinned.display(), "plugin loaded");
    file.keep_open();
    // SAFETY: the symbol's value is only taken as an address.
    let symbol = unsafe { library.get::<*const ()>(format!("{SYMBOL_PREFIX}{name}").as_bytes()) };
    let symbol = symbol.map(|symbol| *symbol).map_err(linker)?;
    std::mem::forget(library);
    // SAFETY: RTLD_NODELETE keeps the library; the metadata, which only `export_plugin!` writes, names a
    // plugin by that name in it.
    unsafe { root_from_symbol(symbol) }
        .map_err(|mismatch| LoadError::Layout { plugin: name.to_owned(), mismatch })
}

fn one_line(error: &libloading::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    cause.unwrap_or_else(|| error.to_string()).replace('\n', " ")
}
