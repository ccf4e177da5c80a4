//! Records that have come on a connection, as frames in the host's slots.

use std::time::Instant;

use vreserve_offload::Offload;
use vreserve_packet::check;
use vreserve_sdk::{Batch, FrameSlot};

use crate::connection::Connection;
use crate::counters::{Ended, FrameDrop};
use crate::record::{self, HEADER, Head, LARGEST_FRAME};

/// With so many bytes of frames in a batch it ends, while they are still in the core's own cache.
const HOT_BYTES: usize = 512 << 10;

/// What a batch has been filled with so far.
#[derive(Default)]
pub(crate) struct Delivered {
    /// Slots.
    pub(crate) slots: usize,
    /// Bytes in them.
    pub(crate) bytes: usize,
    /// Frames in them; a super-frame counts its segments.
    pub(crate) frames: u64,
    /// Frames that went no further, by reason.
    pub(crate) malformed: u64,
    pub(crate) oversized: u64,
}

impl Delivered {
    /// Whether a batch that may have so many frames ends here.
    pub(crate) fn is_full(&self, slots: usize) -> bool {
        self.slots >= slots || self.bytes >= HOT_BYTES
    }
}

impl Connection {
    /// Takes frames of the far node out, until `until` slots of the batch are filled or all has been read; returns whether
    /// there may be more.
    ///
    /// # Errors
    /// Why the connection is over. Frames that came before are in their slots.
    pub(crate) fn deliver(
        &mut self,
        far: u32,
        batch: &mut Batch<'_>,
        until: usize,
        delivered: &mut Delivered,
        now: Instant,
    ) -> Result<bool, Ended> {
        loop {
            while let Some(head) = record::decode(self.inbox.filled()).map_err(|_| Ended::Malformed)? {
                let Head::Frame(length, offload) = head else {
                    self.inbox.consume(HEADER);
                    continue;
                };
                let Some(frame) = self.inbox.filled().get(HEADER..HEADER + length) else { break };
                if delivered.is_full(until) {
                    return Ok(true);
                }
                let mut slot = batch.slot(delivered.slots);
                match place(&mut slot, frame, offload) {
                    Ok(frames) => {
                        slot.set_far(far);
                        delivered.slots += 1;
                        delivered.bytes += length;
                        delivered.frames += frames;
                    }
                    Err(FrameDrop::Oversized) => delivered.oversized += 1,
                    Err(_) => delivered.malformed += 1,
                }
                self.inbox.consume(HEADER + length);
            }
            if delivered.is_full(until) {
                return Ok(!self.is_drained);
            }
            if self.fill(now)? == 0 && self.is_drained {
                return Ok(false);
            }
        }
    }
}

/// Puts a frame into a slot; returns how many wire frames it stands for. Metadata of the far node are believed only as
/// far as they fit the frame.
fn place(slot: &mut FrameSlot<'_>, frame: &[u8], offload: vreserve_sdk::Offload) -> Result<u64, FrameDrop> {
    let typed = Offload::try_from(offload).map_err(|_| FrameDrop::Malformed)?;
    let checked = check(frame, &typed, LARGEST_FRAME).map_err(|_| FrameDrop::Malformed)?;
    let space = slot.space();
    if space.len() < frame.len() {
        return Err(FrameDrop::Oversized);
    }
    space[..frame.len()].copy_from_slice(frame);
    slot.set_len(frame.len());
    slot.set_offload(checked.offload.into());
    Ok(checked.frames as u64)
}
