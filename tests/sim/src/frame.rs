//! Frames as the simulation carries them: a header that the core reads, and how much each stands for.

use vreserve_core::counters::Weight;
use vreserve_core::frame::HEADER_LEN;
use vreserve_core::signal::{SIGNAL_LENGTH, Signal};
use vreserve_model::MacAddr;

/// IPv4, as far as anybody looks.
const ETHERTYPE: u16 = 0x0800;

/// One frame. What follows its first octets is not carried, only counted.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) octets: [u8; SIGNAL_LENGTH],
    /// Octets that it has on the wire.
    pub(crate) length: usize,
    /// What it stands for: a guest's burst is one super-frame.
    pub(crate) weight: Weight,
}

/// Which frame of which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) stream: u32,
    pub(crate) number: u64,
}

impl Frame {
    /// What a guest sends: frame `mark.number` of a stream.
    pub(crate) fn of_guest(source: MacAddr, destination: MacAddr, mark: Mark, octets: usize) -> Frame {
        let mut frame = [0; SIGNAL_LENGTH];
        frame[..6].copy_from_slice(&destination.0);
        frame[6..12].copy_from_slice(&source.0);
        frame[12..HEADER_LEN].copy_from_slice(&ETHERTYPE.to_be_bytes());
        frame[14..18].copy_from_slice(&mark.stream.to_be_bytes());
        frame[18..26].copy_from_slice(&mark.number.to_be_bytes());
        let length = octets.max(SIGNAL_LENGTH);
        let weight = Weight { bytes: length as u64, frames: length.div_ceil(1414) as u64 };
        Frame { octets: frame, length, weight }
    }

    /// A signal between nodes, padded to `length`.
    pub(crate) fn of_signal(signal: &Signal, length: usize) -> Frame {
        let mut octets = [0; SIGNAL_LENGTH];
        signal.encode(SIGNAL_LENGTH, &mut octets).expect("the buffer is as long as the shortest signal");
        let length = length.max(SIGNAL_LENGTH);
        Frame { octets, length, weight: Weight::frame(length as u64) }
    }

    /// Of a guest's frame.
    pub(crate) fn mark(&self) -> Mark {
        let stream = u32::from_be_bytes(std::array::from_fn(|at| self.octets[14 + at]));
        let number = u64::from_be_bytes(std::array::from_fn(|at| self.octets[18 + at]));
        Mark { stream, number }
    }
}
