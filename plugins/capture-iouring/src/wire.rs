//! What an AF_PACKET socket captures, made plain: the VLAN tag put back, partial checksums completed,
//! super-frames ready to be segmented. Pure; the bytes come from a buffer that recvmsg filled.

use vreserve_offload::{Offload, OffloadError, Segments, VnetHeader, checksum};

/// `struct io_uring_recvmsg_out`: lengths of name, control data and payload, and flags, four bytes each.
const RESULT_LEN: usize = 16;
/// `struct cmsghdr` on 64-bit machines: length, level, type.
const CONTROL_HEADER_LEN: usize = size_of::<usize>() + 8;
/// `struct tpacket_auxdata`.
const AUXILIARY_LEN: usize = 20;
/// Room for one control message with a `tpacket_auxdata`, aligned as `CMSG_SPACE` does.
pub(crate) const CONTROL_LEN: usize = CONTROL_HEADER_LEN + AUXILIARY_LEN.next_multiple_of(size_of::<usize>());
/// Where the virtio-net header begins in a filled buffer.
const PAYLOAD_AT: usize = RESULT_LEN + CONTROL_LEN;
/// Where the frame begins in a filled buffer.
const FRAME_AT: usize = PAYLOAD_AT + VnetHeader::LEN;
/// The largest super-frame, with its tag, and one byte by which a larger one is told.
pub(crate) const BUFFER_LEN: usize = (FRAME_AT + 14 + 4 + 65_535 + 1).next_multiple_of(64);

const MACS_LEN: usize = 12;
const TAG_LEN: usize = 4;
/// More segments than this have fewer than 48 bytes each, the least that TCP of Linux ever sends.
const MAX_SEGMENTS: usize = 65_535 / 48;

/// A captured frame: where it lies in its buffer, and what is left to do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    start: usize,
    end: usize,
    offload: Offload,
}

/// Why a captured frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It was cut off, as it is larger than any buffer.
    Oversized,
    /// It is no Ethernet frame, or its offload metadata contradict it.
    Malformed,
}

impl From<OffloadError> for Unusable {
    fn from(_: OffloadError) -> Self {
        Unusable::Malformed
    }
}

impl Captured {
    /// Reads a buffer that a multishot recvmsg filled, putting the tag and a partial checksum right in place. To
    /// be done once per buffer.
    pub(crate) fn read(filled: &mut [u8]) -> Result<Self, Unusable> {
        if number(filled, 12)? & libc::MSG_TRUNC.cast_unsigned() != 0 {
            return Err(Unusable::Oversized);
        }
        let tag = tag(filled.get(RESULT_LEN..PAYLOAD_AT).ok_or(Unusable::Malformed)?);
        let header = filled.get(PAYLOAD_AT..).and_then(<[u8]>::first_chunk).ok_or(Unusable::Malformed)?;
        let offload = VnetHeader(*header).decode()?;
        let mut captured = Captured { start: FRAME_AT, end: filled.len(), offload };
        if captured.end < FRAME_AT + vreserve_offload::parse::ETHERNET_HEADER {
            return Err(Unusable::Malformed);
        }
        if let Some(tag) = tag {
            captured.put_back(tag, filled);
        }
        if !captured.is_super_frame() {
            captured.complete(filled)?;
        }
        Ok(captured)
    }

    /// Whether it stands for several frames.
    pub(crate) fn is_super_frame(&self) -> bool {
        self.offload.is_super_frame()
    }

    /// The frame in its buffer.
    pub(crate) fn frame<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.start..self.end]
    }

    /// The wire frames of a super-frame.
    pub(crate) fn segments<'a>(&self, buffer: &'a [u8]) -> Result<Segments<'a>, Unusable> {
        let segments = Segments::plan(self.frame(buffer), &self.offload)?;
        if segments.len() > MAX_SEGMENTS { Err(Unusable::Malformed) } else { Ok(segments) }
    }

    /// The kernel takes the tag out of every frame before it shows it to anybody. The virtio-net header gives way
    /// to it, so this can be done once.
    fn put_back(&mut self, tag: [u8; TAG_LEN], buffer: &mut [u8]) {
        buffer.copy_within(self.start..self.start + MACS_LEN, self.start - TAG_LEN);
        self.start -= TAG_LEN;
        buffer[self.start + MACS_LEN..][..TAG_LEN].copy_from_slice(&tag);
        if self.offload.needs_checksum {
            self.offload.checksum_start = self.offload.checksum_start.saturating_add(TAG_LEN as u16);
        }
        if self.is_super_frame() {
            self.offload.header_len = self.offload.header_len.saturating_add(TAG_LEN as u16);
        }
    }

    fn complete(&self, buffer: &mut [u8]) -> Result<(), Unusable> {
        if self.offload.needs_checksum {
            let (start, offset) = (self.offload.checksum_start, self.offload.checksum_offset);
            checksum::complete(&mut buffer[self.start..self.end], usize::from(start), usize::from(offset))?;
        }
        Ok(())
    }
}

/// The VLAN tag in control data, as it stands in a frame.
fn tag(control: &[u8]) -> Option<[u8; TAG_LEN]> {
    let word = size_of::<usize>();
    let level = number(control, word).ok()?.cast_signed();
    let kind = number(control, word + 4).ok()?.cast_signed();
    if (level, kind) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    let auxiliary = control.get(CONTROL_HEADER_LEN..)?;
    let half = |at: usize| Some(u16::from_ne_bytes(*auxiliary.get(at..)?.first_chunk()?));
    let status = number(auxiliary, 0).ok()?;
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    // Kernels that do not say which protocol the tag has mean 802.1Q.
    let has_protocol = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if has_protocol { half(18)? } else { libc::ETH_P_8021Q as u16 };
    let [p0, p1] = protocol.to_be_bytes();
    let [t0, t1] = half(16)?.to_be_bytes();
    Some([p0, p1, t0, t1])
}

fn number(bytes: &[u8], at: usize) -> Result<u32, Unusable> {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Unusable::Malformed)?;
    Ok(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_offload::{Integrity, OffloadKind, Sum};

    const PAYLOAD_LEN: usize = 2000;

    /// A TCP super-frame of IPv4 with a partial checksum, as the kernel shows it: without its tag.
    fn super_frame() -> (Vec<u8>, Offload) {
        let total = (40 + PAYLOAD_LEN) as u16;
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        frame.extend([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame.extend([0x1b, 0x58, 0x1b, 0x59, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        frame.extend((0..PAYLOAD_LEN).map(|index| index as u8));
        let pseudo = Sum::of(&frame[26..34]) + Sum::from(6) + Sum::from(total - 20);
        frame[50..52].copy_from_slice(&pseudo.partial().to_be_bytes());
        let offload = Offload {
            kind: OffloadKind::Tcp4,
            needs_checksum: true,
            header_len: 54,
            segment_size: 1000,
            checksum_start: 34,
            checksum_offset: 16,
            ..Offload::default()
        };
        (frame, offload)
    }

    fn filled(frame: &[u8], offload: &Offload, tag: Option<u16>) -> Vec<u8> {
        let mut buffer = vec![0; RESULT_LEN];
        buffer.extend((CONTROL_HEADER_LEN + AUXILIARY_LEN).to_ne_bytes());
        buffer.extend(libc::SOL_PACKET.to_ne_bytes());
        buffer.extend(libc::PACKET_AUXDATA.to_ne_bytes());
        let status = if tag.is_some() { libc::TP_STATUS_VLAN_VALID } else { 0 };
        buffer.extend(status.to_ne_bytes());
        buffer.extend([0; 12]);
        buffer.extend(tag.unwrap_or(0).to_ne_bytes());
        buffer.resize(PAYLOAD_AT, 0);
        buffer.extend(VnetHeader::encode(offload).0);
        buffer.extend(frame);
        buffer
    }

    #[test]
    fn a_tagged_super_frame_becomes_tagged_wire_frames_with_right_checksums() {
        let (frame, offload) = super_frame();
        let mut buffer = filled(&frame, &offload, Some(0x602a));
        let captured = Captured::read(&mut buffer).unwrap();
        let segments = captured.segments(&buffer).unwrap();
        assert_eq!(segments.len(), 2);
        for segment in segments {
            let mut wire = [0; 1514];
            let len = segment.write(&mut wire).unwrap();
            assert_eq!(len, 14 + 4 + 40 + 1000);
            assert_eq!(wire[..12], frame[..12]);
            assert_eq!(wire[12..16], [0x81, 0x00, 0x60, 0x2a]);
            assert_eq!(vreserve_offload::checksum::verify(&wire[..len]), Ok(Integrity::Valid));
        }
    }

    #[test]
    fn a_partial_checksum_is_completed_with_and_without_a_tag() {
        let (mut frame, offload) = super_frame();
        let offload = Offload { kind: OffloadKind::None, segment_size: 0, ..offload };
        let header_sum = Sum::of(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&header_sum.to_be_bytes());
        for tag in [None, Some(5)] {
            let mut buffer = filled(&frame, &offload, tag);
            let captured = Captured::read(&mut buffer).unwrap();
            let wire = captured.frame(&buffer);
            assert_eq!(wire.len(), frame.len() + if tag.is_some() { 4 } else { 0 });
            assert_eq!(vreserve_offload::checksum::verify(wire), Ok(Integrity::Valid));
        }
    }

    #[test]
    fn a_segment_size_that_would_flood_the_overlay_is_malformed() {
        let (frame, offload) = super_frame();
        let mut buffer = filled(&frame, &Offload { segment_size: 1, ..offload }, None);
        let captured = Captured::read(&mut buffer).unwrap();
        assert_eq!(captured.segments(&buffer).err(), Some(Unusable::Malformed));
    }

    #[test]
    fn what_was_cut_off_or_cannot_be_a_frame_is_told() {
        let (frame, offload) = super_frame();
        let whole = filled(&frame, &offload, Some(1));
        let mut cut_off = whole.clone();
        cut_off[12..16].copy_from_slice(&libc::MSG_TRUNC.to_ne_bytes());
        assert_eq!(Captured::read(&mut cut_off), Err(Unusable::Oversized));
        // However short, whatever its bytes: a verdict, never a panic.
        for len in 0..whole.len().min(200) {
            let mut short = whole[..len].to_vec();
            let verdict = Captured::read(&mut short);
            assert!(len >= FRAME_AT + 14 || verdict == Err(Unusable::Malformed));
            if let Ok(captured) = verdict {
                drop(captured.segments(&short));
            }
        }
        for at in 0..200 {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bent = whole.clone();
                bent[at] = byte;
                if let Ok(captured) = Captured::read(&mut bent)
                    && captured.is_super_frame()
                {
                    drop(captured.segments(&bent));
                }
            }
        }
    }
}
