//! Why a frame from the underlay does not enter the node, and how often.

use vreserve_packet::Unusable;
use vreserve_sdk::{Counter, Host};

macro_rules! frame_drops {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame was dropped. Nothing is ever sent back.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FrameDrop { $($(#[doc = $help])+ $variant,)+ }

        impl FrameDrop {
            /// Every reason, with its counter's name and help.
            pub const ALL: [(FrameDrop, &'static str, &'static str); [$($name),+].len()] =
                [$((FrameDrop::$variant, $name, concat!($($help),+)),)+];
        }
    };
}

frame_drops! {
    /// The frame came from an address that is not a far node's.
    Stranger = "drop_stranger",
    /// The frame belongs to another VXLAN network.
    WrongVni = "drop_wrong_vni",
    /// The frame came to another address of this machine, or over IPv6.
    Elsewhere = "drop_elsewhere",
    /// The frame, or a segment of it, is larger than the underlay's MTU allows, or than a slot.
    Oversized = "drop_oversized",
    /// It is no Ethernet frame, or contradicts its offload metadata.
    Malformed = "drop_malformed",
    /// The kernel dropped it, the socket's queue being full.
    Busy = "drop_busy",
}

impl From<Unusable> for FrameDrop {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Oversized => FrameDrop::Oversized,
            Unusable::Malformed => FrameDrop::Malformed,
        }
    }
}

/// Counts of dropped frames: summed up in a call, added to the host's counters once.
pub(crate) struct Drops {
    counters: [Counter; FrameDrop::ALL.len()],
    counts: [u64; FrameDrop::ALL.len()],
}

impl Drops {
    pub(crate) fn new(host: &Host) -> Self {
        let counters = FrameDrop::ALL.map(|(_, name, help)| host.counter(name, help.trim()));
        Drops { counters, counts: [0; FrameDrop::ALL.len()] }
    }

    pub(crate) fn note(&mut self, reason: FrameDrop, frames: u64) {
        self.counts[reason as usize] += frames;
    }

    /// Adds what was noted to the host's counters.
    pub(crate) fn settle(&mut self) {
        for (counter, count) in self.counters.iter().zip(&mut self.counts) {
            counter.add(std::mem::take(count));
        }
    }
}
