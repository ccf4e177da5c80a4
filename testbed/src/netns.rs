//! Named network namespaces: where they are, and running something inside one.
//!
//! Entering is a property of a thread, so work inside a namespace runs on a thread of its own that ends
//! there: no other thread can find itself in the wrong network.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns};

use crate::error::{Result, io_error};

/// Where `ip netns` keeps its names.
const DIRECTORY: &str = "/run/netns";

/// Path of the namespace `name`, as capture plugins and `setns` want it.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(name)
}

/// Whether `ip netns` knows the name.
pub fn exists(name: &str) -> bool {
    path(name).exists()
}

/// Device and inode of the namespace: what `/proc/PID/ns/net` is compared with.
pub fn identity(name: &str) -> Option<(u64, u64)> {
    std::fs::metadata(path(name)).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Moves the calling thread, and what it spawns later, into the namespace for good.
pub fn enter(name: &str) -> Result<()> {
    let file = File::open(path(name)).map_err(io_error("open namespace", name))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| io_error("enter namespace", name)(errno.into()))
}

/// Runs `work` inside the namespace on a thread of its own. Sockets and processes made there stay there.
pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let outcome = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                enter(name)?;
                Ok(work())
            })
            .join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
