//! A plugin's file, opened once and checked: the bytes that were checked are the bytes that are loaded.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::LoadError;

/// Largest plugin in bytes.
const MAX_FILE: u64 = 1 << 30;
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// An open file that nobody but root and the daemon's user can have written.
pub(super) struct CheckedFile {
    pub(super) path: PathBuf,
    /// Device and inode: what makes two paths the same file.
    pub(super) identity: (u64, u64),
    file: File,
    len: u64,
}

impl CheckedFile {
    /// Opens and checks the file at `path`, following symbolic links.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |error| LoadError::unreadable(path, &error);
        // Opening a pipe must not wait for its writer.
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        check(path, &metadata)?;
        let real = path.canonicalize().map_err(unreadable)?;
        for directory in [path.parent(), real.parent()].into_iter().flatten() {
            check_directory(directory)?;
        }
        let identity = (metadata.dev(), metadata.ino());
        Ok(CheckedFile { path: path.to_owned(), identity, file, len: metadata.len() })
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, LoadError> {
        if self.len > MAX_FILE {
            let reason = format!("{} bytes are too many", self.len);
            return Err(LoadError::Unreadable { path: self.path.clone(), reason });
        }
        let mut bytes = Vec::new();
        let read = (&self.file).take(MAX_FILE).read_to_end(&mut bytes);
        read.map_err(|error| LoadError::unreadable(&self.path, &error))?;
        Ok(bytes)
    }

    /// A path that leads to this very file whatever happens to its name.
    pub(super) fn pinned_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Keeps the file open for the rest of the process. The dynamic linker knows libraries by their path: a
    /// number used again for another file would give the old library.
    pub(super) fn keep_open(self) {
        std::mem::forget(self.file);
    }
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), LoadError> {
    if !metadata.is_file() {
        return Err(LoadError::NotAFile { path: path.to_owned() });
    }
    let trusted = [0, nix::unistd::geteuid().as_raw()];
    if !trusted.contains(&metadata.uid()) {
        return Err(LoadError::Owner { path: path.to_owned(), owner: metadata.uid() });
    }
    if metadata.mode() & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(LoadError::Writable { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    Ok(())
}

/// In a directory that anybody may write to, anybody may replace the file; but not in a sticky one.
fn check_directory(directory: &Path) -> Result<(), LoadError> {
    let metadata = directory.metadata().map_err(|error| LoadError::unreadable(directory, &error))?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(LoadError::Writable { path: directory.to_owned(), mode });
    }
    Ok(())
}

/// The SHA-256 digest of the file at `path` in hexadecimal, as a configuration pins it, after the checks of place
/// and owner that loading makes.
///
/// # Errors
/// If the file cannot be trusted or read.
pub fn sha256(path: &Path) -> Result<String, LoadError> {
    Ok(hexadecimal(&digest(&CheckedFile::open(path)?.bytes()?)))
}

/// The SHA-256 digest of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A digest in hexadecimal.
pub fn hexadecimal(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
