//! Frames into VXLAN datagrams.

use vreserve_offload::{Segments, checksum};
use vreserve_sdk::{FrameSlot, Refusal};

use crate::admission::{Admission, ETHERNET_HEADER};
use crate::mmsg::Name;
use crate::outgoing::{Outgoing, Part};
use crate::vxlan;

/// More segments than this have fewer than 48 bytes each, the least that TCP of Linux ever sends: nobody's honest
/// super-frame.
const MAX_SEGMENTS: usize = 65_535 / 48;

/// The VXLAN format of one endpoint.
pub(crate) struct Encapsulation {
    header: [u8; vxlan::HEADER],
    largest_frame: usize,
}

impl Encapsulation {
    pub(crate) fn new(admission: Admission) -> Self {
        Encapsulation { header: vxlan::encode(admission.vni), largest_frame: admission.largest_frame }
    }

    /// Collects the datagrams of the frame in slot number `index`, for a super-frame from segment `first` on, or
    /// refuses it. Returns where to go on when what has been collected is sent, if there was no room for all.
    pub(crate) fn collect(
        &self,
        mut slot: FrameSlot<'_>,
        index: usize,
        first: usize,
        to: Name,
        outgoing: &mut Outgoing,
    ) -> Option<usize> {
        let offload = slot.offload();
        let collected = if offload.kind == 0 {
            if !outgoing.has_room(0) {
                return Some(0);
            }
            self.collect_frame(&mut slot, index, to, outgoing).map(|()| None)
        } else {
            self.collect_segments(&mut slot, index, first, to, outgoing)
        };
        collected.unwrap_or_else(|refusal| {
            match refusal {
                Refusal::Oversized => outgoing.refuse_oversized(index, self.largest_frame),
                refusal => outgoing.refuse(index, refusal),
            }
            None
        })
    }

    fn collect_frame(
        &self,
        slot: &mut FrameSlot<'_>,
        index: usize,
        to: Name,
        outgoing: &mut Outgoing,
    ) -> Result<(), Refusal> {
        if slot.len() > self.largest_frame {
            return Err(Refusal::Oversized);
        }
        if slot.len() < ETHERNET_HEADER {
            return Err(Refusal::Malformed);
        }
        let offload = typed(slot)?;
        if offload.needs_checksum {
            let (start, offset) = (offload.checksum_start.into(), offload.checksum_offset.into());
            checksum::complete(slot.frame(), start, offset).map_err(|_| Refusal::Malformed)?;
        }
        if !slot.grow_front(vxlan::HEADER) {
            return Err(Refusal::Malformed);
        }
        slot.frame()[..vxlan::HEADER].copy_from_slice(&self.header);
        outgoing.push(
            index,
            slot.far(),
            to,
            [Part::Slot { slot: index, start: 0, len: slot.len() }, Part::NONE],
        );
        Ok(())
    }

    fn collect_segments(
        &self,
        slot: &mut FrameSlot<'_>,
        index: usize,
        first: usize,
        to: Name,
        outgoing: &mut Outgoing,
    ) -> Result<Option<usize>, Refusal> {
        let (offload, far) = (typed(slot)?, slot.far());
        let segments = Segments::plan(slot.frame(), &offload).map_err(|_| Refusal::Malformed)?;
        if segments.len() > MAX_SEGMENTS {
            return Err(Refusal::Malformed);
        }
        for (number, segment) in segments.enumerate().skip(first) {
            if segment.wire_len() > self.largest_frame {
                return Err(Refusal::Oversized);
            }
            let header_len = segment.header_len();
            if !outgoing.has_room(vxlan::HEADER + header_len) {
                return Ok(Some(number));
            }
            let start = outgoing.arena.len();
            outgoing.arena.extend_from_slice(&self.header);
            outgoing.arena.resize(start + vxlan::HEADER + header_len, 0);
            let headers = &mut outgoing.arena[start + vxlan::HEADER..];
            segment.write_header(headers).expect("the arena has just grown by so much");
            let headers = Part::Arena { start, len: vxlan::HEADER + header_len };
            let payload_start = header_len + number * usize::from(offload.segment_size);
            let payload = Part::Slot { slot: index, start: payload_start, len: segment.payload().len() };
            outgoing.push(index, far, to, [headers, payload]);
        }
        Ok(None)
    }
}

fn typed(slot: &FrameSlot<'_>) -> Result<vreserve_offload::Offload, Refusal> {
    slot.offload().try_into().map_err(|_| Refusal::Malformed)
}
