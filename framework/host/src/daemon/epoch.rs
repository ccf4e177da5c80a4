//! The lead's epoch: a number in the state directory that grows each time a lead takes office.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Ids of an epoch pass through JSON readers that know only doubles as long as it is below this.
const MAX_EPOCH: u32 = 1 << 21;

/// The next epoch, on disk before it is used.
///
/// # Errors
/// If it cannot be read or written, or is not a number: an epoch used twice would let two generations of
/// circuits share their ids.
pub(super) fn next(state_dir: &Path) -> io::Result<u32> {
    fs::create_dir_all(state_dir)?;
    let path = state_dir.join("epoch");
    let wrong =
        |reason: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()));
    let last = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u32>().map_err(|_| wrong("not a number"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let next = last.checked_add(1).filter(|epoch| *epoch <= MAX_EPOCH).ok_or_else(|| wrong("used up"))?;
    let fresh = state_dir.join("epoch.new");
    let mut file = File::create(&fresh)?;
    writeln!(file, "{next}")?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    File::open(state_dir)?.sync_all()?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_grows_and_a_damaged_one_is_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(next(dir.path()).unwrap(), 1);
        assert_eq!(next(dir.path()).unwrap(), 2);
        fs::write(dir.path().join("epoch"), "two").unwrap();
        assert!(next(dir.path()).is_err());
    }
}
