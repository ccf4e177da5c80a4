//! Whether a file may be run: as the loader looks at a plugin's shared object.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;

/// Why a file is not run.
#[derive(Debug)]
pub(crate) enum NotRun {
    /// It cannot be looked at; it may come.
    Unreadable(PathBuf, io::Error),
    /// An operator has to change it.
    Untrusted(PathBuf, String),
}

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotRun::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            NotRun::Untrusted(path, reason) => write!(f, "{}: {reason}", path.display()),
        }
    }
}

/// Checks that nobody but root and the daemon's user can have written the program, following symbolic links.
pub(crate) fn check(path: &Path) -> Result<(), NotRun> {
    let unreadable = |error| NotRun::Unreadable(path.to_owned(), error);
    let metadata = path.metadata().map_err(unreadable)?;
    check_file(&metadata).map_err(|reason| NotRun::Untrusted(path.to_owned(), reason))?;
    let real = path.canonicalize().map_err(unreadable)?;
    for directory in [path.parent(), real.parent()].into_iter().flatten() {
        let metadata =
            directory.metadata().map_err(|error| NotRun::Unreadable(directory.to_owned(), error))?;
        let mode = metadata.mode() & 0o7777;
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            return Err(NotRun::Untrusted(
                directory.to_owned(),
                format!("others may write to it (mode {mode:o})"),
            ));
        }
    }
    Ok(())
}

fn check_file(metadata: &Metadata) -> Result<(), String> {
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        Err("not a regular file".to_owned())
    } else if ![0, geteuid().as_raw()].contains(&metadata.uid()) {
        Err(format!("owned by user {}, not by root or the daemon's user", metadata.uid()))
    } else if mode & GROUP_OR_OTHERS_WRITE != 0 {
        Err(format!("others may write to it (mode {mode:o})"))
    } else if mode & EXECUTE == 0 {
        Err(format!("not executable (mode {mode:o})"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn refusal(path: &Path) -> String {
        check(path).map_err(|error| error.to_string()).unwrap_err()
    }

    #[test]
    fn what_others_may_write_or_nobody_may_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        assert!(matches!(check(&file), Err(NotRun::Unreadable(..))));
        fs::write(&file, "#!/bin/sh\n").unwrap();
        let set = |mode| fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        for (mode, words) in [(0o644, "not executable"), (0o775, "mode 775"), (0o757, "mode 757")] {
            set(mode);
            assert!(refusal(&file).contains(words), "{mode:o}: {}", refusal(&file));
        }
        set(0o755);
        check(&file).unwrap();
        assert!(refusal(dir.path()).contains("not a regular file"));

        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        let link = open.join("link");
        symlink(&file, &link).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&link).contains("others may write to it (mode 777)"));
        fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        check(&link).unwrap();
    }
}
