//! What this process has: descriptors, threads, memory. Linux says so under `/proc/self`.

use std::fs;

/// What a process holds that a closed instance must have given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holdings {
    pub(super) descriptors: usize,
    pub(super) threads: usize,
    /// Kilobytes of resident anonymous memory.
    pub(super) memory: u64,
}

impl Holdings {
    /// As they are now.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub(super) fn now() -> Result<Self, String> {
        let entries = |path: &str| match fs::read_dir(path) {
            Ok(entries) => Ok(entries.count()),
            Err(error) => Err(format!("{path}: {error}")),
        };
        let path = "/proc/self/status";
        let status = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let memory = memory.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Ok(Holdings {
            descriptors: entries("/proc/self/fd")?,
            threads: entries("/proc/self/task")?,
            memory: memory.ok_or_else(|| format!("{path} has no RssAnon"))?,
        })
    }
}
