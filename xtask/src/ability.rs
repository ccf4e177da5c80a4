//! What the machine must let us do: make namespaces, and TAP interfaces.

use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use xtask_start::packages;

/// Whether this process may make a lab; a sentence why not.
pub(crate) fn lab_ability() -> Result<(), String> {
    if !packages::is_root() {
        return Err("network namespaces need root".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err(
            "there is no /dev/net/tun: load the kernel module `tun`, or give the container the device"
                .to_owned(),
        );
    }
    // On a thread that ends with it, so that nobody stays in the new namespace.
    let tried = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    match tried.expect("unshare does not panic") {
        Ok(()) => Ok(()),
        Err(errno) => {
            Err(format!("network namespaces cannot be made here ({errno}): CAP_SYS_ADMIN is needed"))
        }
    }
}
