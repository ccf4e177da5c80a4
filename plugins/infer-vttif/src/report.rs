//! The report of one node for one interval, and its bytes on the wire.
//!
//! Version 1: one byte of version, then LEB128 integers `boot`, `sequence`, `interval` (nanoseconds), `other
//! bytes`, `other frames`, `number of cells`; then per cell source (6 bytes), destination (6 bytes), bytes and
//! frames (LEB128). About 18 bytes per cell, 16 for an interval without traffic. Each report stands for
//! itself, so any of them may be lost. What lives here: reading and writing. Whether a report is believed is
//! decided in `believe`.

use std::time::Duration;

use vreserve_sdk::Failure;
use vreserve_sdk::model::MacAddr;

const VERSION: u8 = 1;
/// Two addresses and two integers of one byte.
const MIN_CELL_BYTES: usize = 14;

/// An ordered (source, destination) pair of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
}

/// How much was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Bytes of frames.
    pub bytes: u64,
    /// Frames on the wire.
    pub frames: u64,
}

/// What a node's guests sent in one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One run of the node: another number means that it restarted.
    pub boot: u64,
    /// Counts the reports of one run.
    pub sequence: u64,
    /// The length of the interval by the node's own clock; zero for the first report of a run, which has no
    /// cells.
    pub interval: Duration,
    /// Volume per pair.
    pub cells: Vec<(Pair, Volume)>,
    /// Volume that is not attributed to a pair of guests: group destinations, and the least active pairs
    /// past the bound.
    pub other: Volume,
}

impl Pair {
    /// True if both addresses can be guests' own.
    pub fn is_between_stations(self) -> bool {
        self.source.is_station() && self.destination.is_station() && self.source != self.destination
    }
}

impl Volume {
    /// Adds `more`; stops at the largest number instead of wrapping.
    pub fn add(&mut self, more: Volume) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.frames = self.frames.saturating_add(more.frames);
    }

    /// Takes `less` away, which was added before.
    pub fn subtract(&mut self, less: Volume) {
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.frames = self.frames.saturating_sub(less.frames);
    }
}

impl Report {
    /// The report's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.cells.len() * 20);
        out.push(VERSION);
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let (bytes, frames) = (self.other.bytes, self.other.frames);
        for value in [self.boot, self.sequence, interval, bytes, frames, self.cells.len() as u64] {
            put_integer(&mut out, value);
        }
        for (pair, volume) in &self.cells {
            out.extend_from_slice(&pair.source.0);
            out.extend_from_slice(&pair.destination.0);
            put_integer(&mut out, volume.bytes);
            put_integer(&mut out, volume.frames);
        }
        out
    }

    /// Reads a report from bytes that may be anything. Allocates no more than a few times their length.
    ///
    /// # Errors
    /// `Invalid` with the field that cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Report, Failure> {
        let mut rest = bytes;
        let version = *take::<1>(&mut rest, "version")?.first().expect("one byte was taken");
        if version != VERSION {
            return Err(Failure::invalid("version", format!("report version {version} is not {VERSION}")));
        }
        let boot = integer(&mut rest, "boot")?;
        let sequence = integer(&mut rest, "sequence")?;
        let interval = Duration::from_nanos(integer(&mut rest, "interval")?);
        let other = Volume { bytes: integer(&mut rest, "other")?, frames: integer(&mut rest, "other")? };
        let count = integer(&mut rest, "cells")?;
        let count = usize::try_from(count).ok().filter(|count| *count <= rest.len() / MIN_CELL_BYTES);
        let count =
            count.ok_or_else(|| Failure::invalid("cells", "says more cells than it has bytes for"))?;
        let cells = (0..count).map(|_| cell(&mut rest)).collect::<Result<_, _>>()?;
        if !rest.is_empty() {
            return Err(Failure::invalid("cells", format!("{} bytes after the last cell", rest.len())));
        }
        Ok(Report { boot, sequence, interval, cells, other })
    }
}

fn cell(rest: &mut &[u8]) -> Result<(Pair, Volume), Failure> {
    let source = MacAddr(take(rest, "cells")?);
    let destination = MacAddr(take(rest, "cells")?);
    let volume = Volume { bytes: integer(rest, "cells")?, frames: integer(rest, "cells")? };
    Ok((Pair { source, destination }, volume))
}

fn take<const N: usize>(rest: &mut &[u8], field: &str) -> Result<[u8; N], Failure> {
    let (head, tail) = rest.split_first_chunk().ok_or_else(|| Failure::invalid(field, "report ends here"))?;
    *rest = tail;
    Ok(*head)
}

fn put_integer(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn integer(rest: &mut &[u8], field: &str) -> Result<u64, Failure> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest, field)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Failure::invalid(field, "integer of more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_report() -> impl Strategy<Value = Report> {
        let cell =
            (any::<[u8; 6]>(), any::<[u8; 6]>(), any::<u64>(), any::<u64>()).prop_map(|(s, d, b, f)| {
                (Pair { source: MacAddr(s), destination: MacAddr(d) }, Volume { bytes: b, frames: f })
            });
        let header = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
        (header, proptest::collection::vec(cell, 0..20)).prop_map(|((boot, sequence, nanos, b, f), cells)| {
            let other = Volume { bytes: b, frames: f };
            Report { boot, sequence, interval: Duration::from_nanos(nanos), cells, other }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(report in any_report()) {
            prop_assert_eq!(Report::decode(&report.encode()).unwrap(), report);
        }

        #[test]
        fn a_cut_or_extended_report_is_refused(report in any_report(), cut in any::<prop::sample::Index>()) {
            let mut bytes = report.encode();
            prop_assert!(Report::decode(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(Report::decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Report::decode(&bytes);
        }
    }

    #[test]
    fn a_promise_of_a_billion_cells_allocates_nothing() {
        let mut bytes = vec![VERSION, 1, 1, 1, 0, 0];
        put_integer(&mut bytes, 1 << 40);
        assert_eq!(Report::decode(&bytes).unwrap_err().key.as_deref(), Some("cells"));
        assert_eq!(Report::decode(&[9]).unwrap_err().key.as_deref(), Some("version"));
    }

    #[test]
    fn an_interval_without_traffic_costs_a_few_bytes() {
        let report =
            Report { boot: u64::MAX, sequence: 7, interval: Duration::from_millis(500), ..Report::default() };
        assert!(report.encode().len() <= 20, "{}", report.encode().len());
    }
}
