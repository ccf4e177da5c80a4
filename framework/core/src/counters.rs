//! What was counted per pair of guests: the unit of a worker's traffic report, and the bounded place for
//! counts whose cache entry had to go before they were reported.
//!
//! Bytes are never lost: what finds no room under its own pair ends in the anonymous rest.

use std::iter::Sum;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use vreserve_model::MacAddr;

/// What one captured buffer stands for: a super-frame is one look-up but many frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Octets of Ethernet frames, headers included, frame check sequence not.
    pub bytes: u64,
    /// Ethernet frames as they will be on the wire.
    pub frames: u64,
}

impl Weight {
    /// Nothing counted.
    pub const ZERO: Weight = Weight { bytes: 0, frames: 0 };

    /// One frame of `bytes` octets.
    pub const fn frame(bytes: u64) -> Self {
        Weight { bytes, frames: 1 }
    }
}

impl Sum for Weight {
    fn sum<I: Iterator<Item = Weight>>(weights: I) -> Weight {
        let mut total = Weight::ZERO;
        weights.for_each(|weight| total += weight);
        total
    }
}

impl AddAssign for Weight {
    #[inline]
    fn add_assign(&mut self, other: Weight) {
        self.bytes += other.bytes;
        self.frames += other.frames;
    }
}

/// Traffic of one ordered pair of guests on one VLAN. Only frames that entered the overlay at the node
/// that counts them are in it, so that adding up all nodes' cells counts no frame twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest, or a group.
    pub destination: MacAddr,
    /// The VLAN id, 1 to 4095, or [`NO_VLAN`](crate::frame::NO_VLAN).
    pub vlan: u16,
    /// Octets, as in [`Weight::bytes`].
    pub bytes: u64,
    /// Frames, as in [`Weight::frames`].
    pub frames: u64,
}

impl Cell {
    /// The counts alone.
    pub const fn weight(&self) -> Weight {
        Weight { bytes: self.bytes, frames: self.frames }
    }
}

/// Counts without a cache entry, until the next report.
#[derive(Debug)]
pub(crate) struct Spill {
    /// Never grows past the capacity it was made with.
    cells: Vec<Cell>,
    other: Weight,
    capacity: usize,
}

impl Spill {
    pub(crate) fn new(capacity: usize) -> Self {
        Spill { cells: Vec::with_capacity(capacity), other: Weight::ZERO, capacity }
    }

    /// Keeps the cell, or at least its counts once the spill is full. The same pair may come again.
    pub(crate) fn push(&mut self, cell: Cell) {
        if self.cells.len() < self.capacity {
            self.cells.push(cell);
        } else {
            self.other += cell.weight();
        }
    }

    /// Moves all cells to `cells` and returns the anonymous rest.
    pub(crate) fn drain(&mut self, cells: &mut Vec<Cell>) -> Weight {
        cells.append(&mut self.cells);
        std::mem::take(&mut self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::NO_VLAN;

    #[test]
    fn a_full_spill_still_counts_every_byte() {
        let cell = Cell {
            source: MacAddr([2; 6]),
            destination: MacAddr([4; 6]),
            vlan: NO_VLAN,
            bytes: 100,
            frames: 2,
        };
        let mut spill = Spill::new(2);
        (0..5).for_each(|_| spill.push(cell));
        let mut cells = Vec::new();
        assert_eq!(spill.drain(&mut cells), Weight { bytes: 300, frames: 6 });
        assert_eq!(cells, [cell, cell]);
        cells.clear();
        assert_eq!(spill.drain(&mut cells), Weight::ZERO);
        assert!(cells.is_empty());
    }
}
