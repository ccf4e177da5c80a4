//! Doing something inside another network namespace, on a thread of its own: `setns` binds the calling thread,
//! and the host's threads must stay where they are.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};
use vreserve_sdk::Failure;

/// Runs `call` in the namespace called `netns`, or right here if there is none.
///
/// # Errors
/// `Unavailable` if the namespace cannot be opened or entered; what `call` returns otherwise.
pub fn within<T: Send>(
    netns: Option<&str>,
    call: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let Some(netns) = netns else { return call() };
    let path = path_of(netns);
    let file = File::open(&path).map_err(|error| {
        Failure::unavailable(format!("network namespace {} cannot be opened: {error}", path.display()))
    })?;
    within_open(&file, call)
}

/// As `within`, for a namespace that is open already.
pub fn within_open<T: Send>(
    netns: &(impl AsFd + Sync),
    call: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let enter_and_call = || {
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|error| {
            Failure::unavailable(format!("the network namespace cannot be entered: {}", error.desc()))
        })?;
        call()
    };
    thread::scope(|scope| scope.spawn(enter_and_call).join())
        .unwrap_or_else(|_| Err(Failure::internal("the thread in the network namespace panicked")))
}

fn path_of(netns: &str) -> PathBuf {
    let path = Path::new(netns);
    if path.is_absolute() { path.to_owned() } else { Path::new("/run/netns").join(path) }
}
