//! What an instance counts. A call counts in a [`Tally`] on its stack and adds it once at its end.

use vreserve_packet::Unusable;
use vreserve_sdk::{Counter, Host};

/// The host's cells of one instance.
pub(crate) struct Counters {
    frames_in: Counter,
    bytes_in: Counter,
    super_frames_in: Counter,
    frames_out: Counter,
    bytes_out: Counter,
    drop_oversized: Counter,
    drop_malformed: Counter,
    drop_busy: Counter,
    files_ended: Counter,
}

/// The counts of one call.
#[derive(Default)]
pub(crate) struct Tally {
    frames_in: u64,
    bytes_in: u64,
    super_frames_in: u64,
    frames_out: u64,
    bytes_out: u64,
    drop_oversized: u64,
    drop_malformed: u64,
    pub(crate) drop_busy: u64,
    pub(crate) files_ended: u64,
}

impl Tally {
    /// A slot of `len` bytes from a guest that stands for `frames` wire frames.
    pub(crate) fn count_in(&mut self, len: usize, frames: usize) {
        self.frames_in += frames as u64;
        self.bytes_in += len as u64;
        self.super_frames_in += u64::from(frames > 1);
    }

    /// A frame to a guest.
    pub(crate) fn count_out(&mut self, len: usize) {
        self.frames_out += 1;
        self.bytes_out += len as u64;
    }

    /// A captured frame that is dropped.
    pub(crate) fn count_unusable(&mut self, unusable: Unusable) {
        match unusable {
            Unusable::Oversized => self.drop_oversized += 1,
            Unusable::Malformed => self.drop_malformed += 1,
        }
    }
}

impl Counters {
    pub(crate) fn new(host: &Host) -> Self {
        Counters {
            frames_in: host.counter("frames_in", "frames taken from guests, super-frames as their segments"),
            bytes_in: host.counter("bytes_in", "bytes taken from guests, super-frames with one header"),
            super_frames_in: host.counter("super_frames_in", "super-frames taken from guests"),
            frames_out: host.counter("frames_out", "frames given to guests"),
            bytes_out: host.counter("bytes_out", "bytes given to guests"),
            drop_oversized: host
                .counter("drop_oversized", "captured frames over the MTU that are no TCP super-frames"),
            drop_malformed: host.counter("drop_malformed", "captured frames that are no Ethernet frames"),
            drop_busy: host.counter("drop_busy", "frames that the kernel dropped before capture, ring full"),
            files_ended: host.counter("files_ended", "files that have been read to their end"),
        }
    }

    pub(crate) fn add(&self, tally: &Tally) {
        self.frames_in.add(tally.frames_in);
        self.bytes_in.add(tally.bytes_in);
        self.super_frames_in.add(tally.super_frames_in);
        self.frames_out.add(tally.frames_out);
        self.bytes_out.add(tally.bytes_out);
        self.drop_oversized.add(tally.drop_oversized);
        self.drop_malformed.add(tally.drop_malformed);
        self.drop_busy.add(tally.drop_busy);
        self.files_ended.add(tally.files_ended);
    }
}
