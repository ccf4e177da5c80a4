//! The frozen workspaces in `tests/abi-compat`: an earlier ABI each, with a host and plugins that were built against it.

use std::path::PathBuf;

use anyhow::Context;

use crate::run;

const FOLDER: &str = "tests/abi-compat";

/// Builds them into the folder of today's artifacts, from which they take their dependencies.
///
/// # Errors
/// If one cannot be built.
pub(crate) fn build() -> anyhow::Result<()> {
    for workspace in workspaces()? {
        let mut cargo = run::cargo(&["build", "--locked", "--bins", "--examples", "--target-dir"]);
        run::run(cargo.arg(run::target()).current_dir(workspace))?;
    }
    Ok(())
}

fn workspaces() -> anyhow::Result<Vec<PathBuf>> {
    let folder = run::root().join(FOLDER);
    let entries = folder.read_dir().with_context(|| format!("list {}", folder.display()))?;
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.join("Cargo.toml").is_file());
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_abi_is_among_them() {
        let names: Vec<_> =
            workspaces().unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names.first().unwrap(), "1.0");
    }
}
