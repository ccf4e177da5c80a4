//! Where a demo or a bench keeps its files, and that there is one of each at a time.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::artifacts::Artifacts;

/// The folders of one run.
pub(crate) struct Place {
    folder: PathBuf,
    /// Bound to a name in the kernel that goes with the process that holds it, however that ends.
    _only_one: UnixListener,
}

impl Place {
    /// Takes the place of this name over from whatever an earlier run left there.
    ///
    /// # Errors
    /// If another run of this name is under way, or files cannot be written.
    pub(crate) fn take(name: &str, built: &Artifacts) -> anyhow::Result<Self> {
        let address = SocketAddr::from_abstract_name(format!("vreserve-{name}")).context("name the run")?;
        let Ok(only_one) = UnixListener::bind_addr(&address) else {
            bail!("another {name} is running on this machine")
        };
        let target = built.folder()?.parent().context("a build folder has a parent")?;
        let place = Self { folder: target.join(name), _only_one: only_one };
        place.clear()?;
        for folder in [place.plugins(), place.folder.join("nodes")] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder);
            made.with_context(|| format!("create {}", folder.display()))?;
        }
        place.copy_plugins(built)?;
        Ok(place)
    }

    /// Removes every file of the run.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        remove(&self.folder)
    }

    /// Of configurations, keys, logs and reports.
    pub(crate) fn nodes(&self) -> PathBuf {
        self.folder.join("nodes")
    }

    /// Of the plugins that the daemons load.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.folder.join("plugins")
    }

    /// Copies, because a daemon loads no plugin that others may write, and a build folder may belong to anybody
    /// and be group-writable.
    fn copy_plugins(&self, built: &Artifacts) -> anyhow::Result<()> {
        for plugin in &built.plugins {
            let copy = self.plugins().join(plugin.file_name().context("a plugin has a file name")?);
            fs::copy(plugin, &copy).with_context(|| format!("copy {}", plugin.display()))?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).context("set a plugin's mode")?;
        }
        Ok(())
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
