//! The VXLAN format of RFC 7348, in clear text.
//!
//! Out: a frame gets its header in the slot's headroom; the segments of a super-frame get headers in the arena,
//! and their payload leaves from where it lies. In: `admission` says whose datagrams give frames (`fars`), and
//! `vreserve_offload::partial` mends what a kernel VXLAN device on the same machine leaves to hardware that is not there.

mod admission;
mod fars;
mod header;

use std::net::SocketAddr;
use std::time::Instant;

use vreserve_offload::partial::{self, finish_checksum};
use vreserve_offload::{Offload, Segment};
use vreserve_sdk::{Batch, Failure, FarId, FarNode, FrameSlot, Host, Refusal};

use crate::drops::Drops;
use crate::frames;
use crate::incoming::{Incoming, Placed};
use crate::mmsg::{Arrival, Name};
use crate::outgoing::{Outgoing, Part};
use crate::wire::{Refused, Wire};
use admission::{Admission, Admitted};
use fars::Fars;

pub use admission::DatagramDrop;
pub(crate) use header::HEADER;

/// VXLAN on one endpoint.
pub(crate) struct Vxlan {
    fars: Fars,
    admission: Admission,
    header: [u8; HEADER],
    drops: Drops<{ DatagramDrop::ALL.len() }>,
}

impl Vxlan {
    /// Network `vni` on an endpoint of one IP version.
    pub(crate) fn new(vni: u32, largest_frame: usize, is_ipv4: bool, host: &Host) -> Self {
        Vxlan {
            fars: Fars::new(is_ipv4),
            admission: Admission { vni, largest_frame },
            header: header::encode(vni),
            drops: Drops::new(host, DatagramDrop::ALL.map(|(_, name, help)| (name, help))),
        }
    }

    fn collect_frame(
        &self,
        mut slot: FrameSlot<'_>,
        index: usize,
        to: Name,
        outgoing: &mut Outgoing,
    ) -> Result<(), Refused> {
        if !slot.grow_front(HEADER) {
            return Err(Refusal::Malformed.into());
        }
        slot.frame()[..HEADER].copy_from_slice(&self.header);
        let whole = Part::Slot { slot: index, start: 0, len: slot.len() };
        outgoing.push(index, slot.far(), to, [whole, Part::NONE]);
        Ok(())
    }

    /// Collects one segment, of which `payload_start` says where its payload begins in its frame; false if there
    /// is no room.
    fn collect_segment(
        &self,
        segment: &Segment<'_>,
        (index, payload_start): (usize, usize),
        (far, to): (u32, Name),
        outgoing: &mut Outgoing,
    ) -> bool {
        let headers_len = HEADER + segment.header_len();
        let Some((start, headers)) = outgoing.take_arena(headers_len) else { return false };
        let (own, inner) = headers.split_at_mut(HEADER);
        own.copy_from_slice(&self.header);
        segment.write_header(inner).expect("the arena gave room for it");
        let payload = Part::Slot { slot: index, start: payload_start, len: segment.payload().len() };
        outgoing.push(index, far, to, [Part::Arena { start, len: headers_len }, payload]);
        true
    }

    fn place_one(
        &mut self,
        far: Option<u32>,
        datagram: &mut [u8],
        segment: Option<usize>,
        batch: &mut Batch<'_>,
        incoming: &mut Incoming,
    ) -> Placed {
        match self.admission.admit(far, datagram, segment) {
            Ok((far, Admitted::Frame(frame))) => {
                // What continues a super-frame has had its checksum verified, so it is complete.
                if incoming.join(batch, far, frame) {
                    return Placed::InSlot;
                }
                finish_checksum(frame);
                incoming.begin(batch, far, frame)
            }
            Ok((far, Admitted::SuperFrame(frame, offload))) => {
                incoming.place_alone(batch, far, frame, offload.into())
            }
            Err(reason) => {
                self.drops.note(reason as usize);
                Placed::InSlot
            }
        }
    }
}

impl Wire for Vxlan {
    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        self.fars.add(far, node.address)
    }

    fn remove_far(&mut self, far: FarId) {
        self.fars.remove(far);
    }

    fn largest_frame(&self) -> usize {
        self.admission.largest_frame
    }

    fn begin(&mut self, _: Instant) {}

    fn collect(
        &mut self,
        mut slot: FrameSlot<'_>,
        index: usize,
        first: usize,
        outgoing: &mut Outgoing,
    ) -> Result<Option<usize>, Refused> {
        if !outgoing.has_room() {
            return Ok(Some(first));
        }
        let far = slot.far();
        let to = self.fars.name(far).ok_or(Refusal::Down)?;
        let offload: Offload = frames::prepare(&mut slot, self.admission.largest_frame)?;
        if !offload.is_super_frame() {
            return self.collect_frame(slot, index, to, outgoing).map(|()| None);
        }
        let segments = frames::segments(slot.frame(), &offload, self.admission.largest_frame)?;
        for (number, segment) in segments.enumerate().skip(first) {
            let payload_start = segment.header_len() + number * usize::from(offload.segment_size);
            let is_collected = outgoing.has_room()
                && self.collect_segment(&segment, (index, payload_start), (far, to), outgoing);
            if !is_collected {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    fn place(
        &mut self,
        arrival: &mut Arrival<'_>,
        offset: &mut usize,
        batch: &mut Batch<'_>,
        incoming: &mut Incoming,
    ) -> bool {
        let far = arrival.from.and_then(|from| self.fars.number(from.ip()));
        let is_super_frame = arrival.segment < arrival.bytes.len()
            && arrival.bytes.get(HEADER..).is_some_and(partial::is_one_frame);
        let (datagram_len, segment) = if is_super_frame {
            (arrival.bytes.len(), Some(arrival.segment))
        } else {
            (arrival.segment, None)
        };
        loop {
            let left = &mut arrival.bytes[*offset..];
            let len = left.len().min(datagram_len);
            match self.place_one(far, &mut left[..len], segment, batch, incoming) {
                Placed::NoSlot => return false,
                Placed::TooLarge => self.drops.note(DatagramDrop::Oversized as usize),
                Placed::InSlot => {}
            }
            *offset += len;
            if *offset >= arrival.bytes.len() {
                return true;
            }
        }
    }

    fn handle_too_large(&mut self, _: u32, _: usize) -> usize {
        self.admission.largest_frame
    }

    fn poll(&mut self, _: &mut [u8]) -> Option<(usize, SocketAddr, Option<u32>)> {
        None
    }

    fn settle(&mut self) {
        self.drops.settle();
    }
}
