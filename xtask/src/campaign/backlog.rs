//! How many received frames a processor keeps that it has not looked at yet (`net.core.netdev_max_backlog`).
//!
//! It is one setting for the whole machine. The default is for cards that hold frames back themselves; between
//! namespaces that share two processors it is full within a millisecond (measured: 10 000 frames thrown away in a
//! minute). It is put back when the campaign ends.

use std::fs;

use anyhow::Context;

const SETTING: &str = "/proc/sys/net/core/netdev_max_backlog";
const ENOUGH: u64 = 20_000;

/// The setting is raised while this lives.
pub(super) struct Backlog {
    before: u64,
}

impl Backlog {
    /// Raises it; one that is larger already stays.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn raise() -> anyhow::Result<Self> {
        let text = fs::read_to_string(SETTING).context("read the backlog's size")?;
        let before = text.trim().parse().context("read the backlog's size")?;
        fs::write(SETTING, ENOUGH.max(before).to_string()).context("raise the backlog's size")?;
        Ok(Self { before })
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        // Nothing is wrong with a larger one.
        let _ = fs::write(SETTING, self.before.to_string());
    }
}
