//! Traffic over time in a bounded number of slices: they grow wider as time goes on.

use std::time::Duration;

use serde::Serialize;

use super::seconds;

/// Most slices kept; enough for a point on every other pixel of a screen.
const MAX_SLICES: usize = 720;
/// How wide slices are at first.
const FIRST_WIDTH: Duration = Duration::from_millis(100);

/// Traffic between nodes over time.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// The width of a slice, in seconds.
    #[serde(serialize_with = "seconds")]
    pub width: Duration,
    /// The slices from the beginning of the capture on.
    pub slices: Vec<Slice>,
}

/// What was sent in one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Slice {
    /// Bytes between guests of different nodes.
    pub bytes: u64,
    /// Those of them that would have gone over circuits.
    pub on_circuits: u64,
}

impl Default for Series {
    fn default() -> Self {
        Series { width: FIRST_WIDTH, slices: Vec::new() }
    }
}

impl Series {
    /// Adds one frame.
    pub(super) fn add(&mut self, at: Duration, bytes: u64, is_on_circuit: bool) {
        while self.index(at) >= MAX_SLICES {
            self.widen();
        }
        let index = self.index(at);
        if self.slices.len() <= index {
            self.slices.resize(index + 1, Slice::default());
        }
        let slice = &mut self.slices[index];
        slice.bytes += bytes;
        slice.on_circuits += if is_on_circuit { bytes } else { 0 };
    }

    /// The largest rate of all traffic, and of what is left to the star, in bits per second.
    pub(super) fn peaks(&self) -> (f64, f64) {
        let peak = |of: fn(&Slice) -> u64| self.slices.iter().map(of).max().unwrap_or_default();
        let rate = |bytes: u64| bytes as f64 * 8.0 / self.width.as_secs_f64();
        (rate(peak(|slice| slice.bytes)), rate(peak(|slice| slice.bytes - slice.on_circuits)))
    }

    fn index(&self, at: Duration) -> usize {
        usize::try_from(at.as_nanos() / self.width.as_nanos()).unwrap_or(usize::MAX)
    }

    fn widen(&mut self) {
        self.width *= 2;
        let pairs = self.slices.chunks(2).map(|pair| {
            let sum = |of: fn(&Slice) -> u64| pair.iter().map(of).sum();
            Slice { bytes: sum(|slice| slice.bytes), on_circuits: sum(|slice| slice.on_circuits) }
        });
        self.slices = pairs.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_capture_keeps_its_bytes_in_few_slices() {
        let mut series = Series::default();
        for second in 0..100_000_u64 {
            series.add(Duration::from_secs(second), 10, second % 2 == 0);
        }
        assert!(series.slices.len() <= MAX_SLICES);
        assert_eq!(series.slices.iter().map(|slice| slice.bytes).sum::<u64>(), 1_000_000);
        assert_eq!(series.slices.iter().map(|slice| slice.on_circuits).sum::<u64>(), 500_000);
        let (all, star) = series.peaks();
        assert!((79.0..82.0).contains(&all) && (39.0..42.0).contains(&star), "{all} {star}");
    }
}
