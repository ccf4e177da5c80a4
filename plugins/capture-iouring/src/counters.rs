//! What an instance counts. A call counts in a [`Tally`] on its stack and adds it once at its end.

use vreserve_sdk::{Counter, Host};

/// The host's cells of one instance.
pub(crate) struct Counters {
    frames_in: Counter,
    bytes_in: Counter,
    frames_out: Counter,
    bytes_out: Counter,
    super_frames: Counter,
    drop_oversized: Counter,
    drop_malformed: Counter,
    drop_busy: Counter,
}

/// The counts of one call.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) frames_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) frames_out: u64,
    pub(crate) bytes_out: u64,
    pub(crate) super_frames: u64,
    pub(crate) drop_oversized: u64,
    pub(crate) drop_malformed: u64,
    pub(crate) drop_busy: u64,
}

impl Counters {
    pub(crate) fn new(host: &Host) -> Self {
        Counters {
            frames_in: host.counter("frames_in", "frames taken from guests, super-frames as their segments"),
            bytes_in: host.counter("bytes_in", "bytes of frames taken from guests"),
            frames_out: host.counter("frames_out", "frames given to guests"),
            bytes_out: host.counter("bytes_out", "bytes of frames given to guests"),
            super_frames: host.counter("super_frames", "super-frames of guests that were segmented"),
            drop_oversized: host.counter("drop_oversized", "captured frames over the MTU or the slot's room"),
            drop_malformed: host.counter("drop_malformed", "captured frames that are no Ethernet frames"),
            drop_busy: host.counter("drop_busy", "frames that the kernel dropped before capture, queue full"),
        }
    }

    pub(crate) fn add(&self, tally: &Tally) {
        self.frames_in.add(tally.frames_in);
        self.bytes_in.add(tally.bytes_in);
        self.frames_out.add(tally.frames_out);
        self.bytes_out.add(tally.bytes_out);
        self.super_frames.add(tally.super_frames);
        self.drop_oversized.add(tally.drop_oversized);
        self.drop_malformed.add(tally.drop_malformed);
        self.drop_busy.add(tally.drop_busy);
    }
}
