//! Throughput as the receiver's kernel counts it, not as our daemons do.

use anyhow::Context;
use vreserve_testbed::Lab;

use super::clock::now_us;

/// Readings of one interface, oldest first.
#[derive(Debug)]
pub(crate) struct Meter {
    member: &'static str,
    interface: &'static str,
    readings: Vec<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at_us: u64,
    received: u64,
}

impl Meter {
    /// Of a lab's member.
    pub(crate) fn new(member: &'static str, interface: &'static str) -> Self {
        Self { member, interface, readings: Vec::new() }
    }

    /// One more reading.
    ///
    /// # Errors
    /// If the member or its interface is gone.
    pub(crate) fn read(&mut self, lab: &Lab) -> anyhow::Result<()> {
        // /proc/thread-self, not /proc/self: only the thread is in the guest's namespace.
        let table = lab.inside(self.member, || std::fs::read_to_string("/proc/thread-self/net/dev"))?;
        let table = table.context("read interface counters")?;
        let received = received(&table, self.interface)
            .with_context(|| format!("{} has no {}", self.member, self.interface))?;
        self.readings.push(Reading { at_us: now_us(), received });
        Ok(())
    }

    /// Mbit/s between two times in milliseconds since the Unix epoch, from the readings next to them.
    pub(crate) fn mbps(&self, from_ms: u64, until_ms: u64) -> Option<f64> {
        let from = self.readings.iter().find(|reading| reading.at_us >= from_ms * 1000)?;
        let until = self.readings.iter().rev().find(|reading| reading.at_us <= until_ms * 1000)?;
        let micros = until.at_us.checked_sub(from.at_us).filter(|micros| *micros > 0)?;
        Some(until.received.saturating_sub(from.received) as f64 * 8.0 / micros as f64)
    }
}

/// Bytes received on an interface: the first number of its line.
fn received(table: &str, interface: &str) -> Option<u64> {
    let mut rows = table.lines().filter_map(|line| line.split_once(':'));
    let (_, counters) = rows.find(|(name, _)| name.trim() == interface)?;
    counters.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table =
            "Inter-|   Receive\n face |bytes packets\n    lo: 1 2\n  eth0: 61022 31 0 0 0 0 0 0 7 1 0\n";
        assert_eq!(received(table, "eth0"), Some(61022));
        assert_eq!(received("  eth1: 5 6\n", "eth0"), None);
    }

    #[test]
    fn a_rate_is_bytes_over_the_time_between_readings() {
        let reading = |at_ms: u64, received| Reading { at_us: at_ms * 1000, received };
        let meter = Meter {
            member: "a1",
            interface: "eth0",
            readings: vec![reading(0, 0), reading(1000, 1000), reading(3000, 25_001_000)],
        };
        assert_eq!(meter.mbps(900, 3100), Some(100.0));
        assert_eq!(meter.mbps(1500, 2000), None);
        assert_eq!(meter.mbps(4000, 5000), None);
    }
}
