//! Processor time and memory, as the kernel counts them in `/proc`.

use std::fs;

use anyhow::Context;

/// Processor time in `/proc/stat` and `/proc/PID/stat` is in hundredths of a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// Fields of the `cpu` line that are no work: `idle` and `iowait`; and `guest` and `guest_nice`, which `user` and
/// `nice` contain already. `steal` is work of others, of which we cannot know.
const WORKING: [usize; 5] = [0, 1, 2, 5, 6];

/// Seconds of work that all processors together have done since boot.
///
/// # Errors
/// If the kernel does not say.
pub(crate) fn machine_seconds() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    working_ticks(&text).map(|ticks| ticks as f64 / TICKS_PER_SECOND).context("/proc/stat has no line `cpu`")
}

/// Seconds of work of one process and its threads since it began.
///
/// # Errors
/// If there is no such process.
pub(crate) fn process_seconds(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("look at {pid}"))?;
    let ticks = process_ticks(&text).with_context(|| format!("read the processor time of {pid}"))?;
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Largest resident set of a process so far, in MiB.
///
/// # Errors
/// If there is no such process.
fn memory_peak_mib(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("look at {pid}"))?;
    peak_kib(&text).map(|kib| kib as f64 / 1024.0).with_context(|| format!("read the memory of {pid}"))
}

/// Largest resident set so far among several processes, in MiB.
///
/// # Errors
/// If one of them is gone.
pub(crate) fn largest_memory_peak_mib(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().try_fold(0.0, |most: f64, &pid| Ok(most.max(memory_peak_mib(pid)?)))
}

fn working_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    WORKING.iter().map(|&field| fields.get(field).copied()).sum()
}

fn process_ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idling_waiting_and_what_is_counted_twice_is_no_work() {
        let stat = "cpu  1 2 4 1000 1000 8 16 1000 1000 1000\ncpu0 9 9 9 9\n";
        assert_eq!(working_ticks(stat), Some(31));
        assert_eq!(working_ticks("intr 5\n"), None);
    }

    #[test]
    fn a_process_with_any_name_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 30 12 5 5 20 0";
        assert_eq!(process_ticks(stat), Some(42));
        assert_eq!(peak_kib("Name:\tx\nVmHWM:\t   2048 kB\n"), Some(2048));
    }

    #[test]
    fn our_own_figures_can_be_read() {
        assert!(machine_seconds().unwrap() > 0.0);
        assert!(memory_peak_mib(std::process::id()).unwrap() > 0.5);
        assert!(process_seconds(std::process::id()).unwrap() >= 0.0);
    }
}
