//! What a plugin's file is, for whoever wants to pin it.

use std::path::PathBuf;

use super::LoadError;
use super::file::CheckedFile;
use super::registry::check;
use super::resolve::resolve;
use crate::config::Instance;

/// The file that `instance` would be loaded from, and its SHA-256 digest, after every check that comes before loading
/// but for the pin it may have. Nothing of the file is run.
///
/// # Errors
/// As for [`Registry::load`](super::Registry::load).
pub fn digest_of(instance: &Instance, dirs: &[PathBuf]) -> Result<(PathBuf, [u8; 32]), LoadError> {
    let file = CheckedFile::open(&resolve(instance, dirs)?)?;
    let (_, digest) = check(&file, &Instance { sha256: None, ..instance.clone() })?;
    Ok((file.path, digest))
}
