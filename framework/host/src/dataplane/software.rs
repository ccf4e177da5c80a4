//! The software path: what an interface or endpoint without offload is spared. Partial checksums are
//! completed and super-frames cut into wire frames before `send`, in order, in batches of bounded size.

use vreserve_abi::{Offload, Slot};
use vreserve_core::drops::{DropCounters, DropReason};
use vreserve_offload::{Segments, checksum};

use super::egress::weight_of;
use super::ingress::NEEDS_CHECKSUM;
use super::pool::{CUT, FIRST_CUT, SlotPool, Spaces};

/// More segments than this no honest sender asks for (64 KiB in the least TCP segments that Linux sends are
/// 1,820); a hostile segment size would make one frame a flood.
const MAX_SEGMENTS: usize = 2048;

/// True if an instance without offload cannot take this batch as it is.
pub(super) fn is_needed(slots: &[Slot]) -> bool {
    slots.iter().any(is_work)
}

fn is_work(slot: &Slot) -> bool {
    slot.offload.kind != 0 || slot.offload.flags & NEEDS_CHECKSUM != 0
}

/// Turns queued frames into wire frames, as many at a time as there are slots for them.
pub(super) struct Cutter {
    staged: Vec<Slot>,
    /// Of each staged frame: what it is of, and how many segments there are from it to the last.
    origins: Vec<(Origin, u64)>,
}

/// A place in a queue: which frame, and which of its segments.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    frame: usize,
    segment: usize,
}

/// How far a queue has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    next: Origin,
}

impl Cutter {
    /// Frames per batch.
    const STAGED: usize = 2 * CUT;

    pub(super) fn new() -> Self {
        Cutter { staged: Vec::with_capacity(Self::STAGED), origins: Vec::with_capacity(Self::STAGED) }
    }

    /// The next wire frames of `queued`; none at its end. Frames that cannot be cut are counted as malformed
    /// and left out. What was staged before must have been sent.
    pub(super) fn stage(
        &mut self,
        pool: &mut SlotPool,
        queued: &mut [Slot],
        progress: &mut Progress,
        drops: &mut DropCounters,
    ) -> Option<&mut [Slot]> {
        self.staged.clear();
        self.origins.clear();
        let mut cuts = 0;
        while let Some(slot) = queued.get_mut(progress.next.frame) {
            if self.staged.len() == Self::STAGED || cuts == CUT {
                break;
            }
            let is_done = if slot.offload.kind == 0 {
                self.stage_whole(pool, slot, progress.next)
            } else {
                self.stage_segments(pool, slot, progress, &mut cuts)
            };
            match is_done {
                Some(false) => continue,
                Some(true) => {}
                None => drops.count(DropReason::Malformed, weight_of(slot).frames),
            }
            progress.next = Origin { frame: progress.next.frame + 1, segment: 0 };
        }
        (!self.staged.is_empty()).then_some(&mut self.staged)
    }

    /// A frame that needs no more than its checksum. None if it has no place for one.
    fn stage_whole(&mut self, pool: &mut SlotPool, slot: &mut Slot, origin: Origin) -> Option<bool> {
        if slot.offload.flags & NEEDS_CHECKSUM != 0 {
            let (start, offset) = (slot.offload.checksum_start, slot.offload.checksum_offset);
            checksum::complete(pool.frame_mut(slot), start.into(), offset.into()).ok()?;
            slot.offload = Offload::default();
        }
        self.staged.push(*slot);
        self.origins.push((origin, 1));
        Some(true)
    }

    /// As many segments of a super-frame as there are slots for; true if these were the last. None if the
    /// frame is not what its metadata say.
    fn stage_segments(
        &mut self,
        pool: &mut SlotPool,
        slot: &Slot,
        progress: &mut Progress,
        cuts: &mut usize,
    ) -> Option<bool> {
        let offload = slot.offload.try_into().ok()?;
        let Cutter { staged, origins } = self;
        let room = (CUT - *cuts).min(Self::STAGED - staged.len());
        let write = |frame: &[u8], spaces: &mut Spaces<'_>| {
            let segments = Segments::plan(frame, &offload).ok()?;
            let last = Some(segments.len()).filter(|count| *count <= MAX_SEGMENTS)?;
            for segment in segments.skip(progress.next.segment).take(room) {
                let cut = spaces.fill(|space| segment.write(space).ok())?;
                staged.push(Slot { far: slot.far, ..cut });
                origins.push((progress.next, (last - progress.next.segment) as u64));
                progress.next.segment += 1;
            }
            Some(progress.next.segment == last)
        };
        let (is_done, used) = pool.spread(slot, FIRST_CUT + *cuts..FIRST_CUT + CUT, write);
        *cuts += used;
        is_done
    }

    /// Takes stock of a batch of which only the first `taken` frames left: returns how many queued frames are
    /// done with. The rest of a super-frame that has left in part is lost, as `busy`.
    ///
    /// # Panics
    /// If the whole batch has left.
    pub(super) fn cut_short(&self, taken: usize, busy: DropReason, drops: &mut DropCounters) -> usize {
        let (first, segments) = self.origins[taken];
        if first.segment == 0 {
            return first.frame;
        }
        drops.count(busy, segments);
        first.frame + 1
    }
}
