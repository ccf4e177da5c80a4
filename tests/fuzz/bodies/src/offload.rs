//! Single frames: checksums, cutting, the virtio-net header.

use vreserve_offload::{
    Integrity, Layout, Offload, OffloadError, Segment, Segments, Transport, VnetHeader, checksum,
};

use crate::input::Input;

/// How many wire frames of one super-frame are looked at: a hostile segment size of 1 makes tens of thousands.
const SEGMENTS: usize = 128;

/// A virtio-net header, then the frame behind it, if the header can be read.
pub(crate) fn read_frame<'a>(input: &mut Input<'a>) -> Option<(Offload, &'a [u8])> {
    let header = VnetHeader(input.bytes(VnetHeader::LEN).try_into().ok()?);
    let frame = input.bytes(70_000);
    header.decode().ok().map(|offload| (offload, frame))
}

/// The wire frame of a segment.
pub(crate) fn wire(segment: &Segment) -> Vec<u8> {
    let mut wire = vec![0; segment.wire_len()];
    let len = segment.write(&mut wire).expect("there is room for all of it");
    assert_eq!(len, wire.len());
    wire
}

/// A virtio-net header and a frame: cut frames have right checksums and carry the payload on without a gap.
pub fn offload_segments(data: &[u8]) {
    let Some((offload, frame)) = read_frame(&mut Input(data)) else { return };
    let Ok(segments) = Segments::plan(frame, &offload) else { return };
    let count = segments.len();
    assert!(count >= 1);
    let mut at = None;
    for (index, segment) in segments.enumerate().take(SEGMENTS) {
        let at = at.get_or_insert(segment.header_len());
        let wire = wire(&segment);
        assert!(wire.len() <= frame.len());
        let integrity = checksum::verify(&wire).expect("the headers were read before");
        assert!(matches!(integrity, Integrity::Valid | Integrity::Unchecked), "{integrity:?}");
        let payload = segment.payload();
        assert_eq!(&wire[segment.header_len()..], payload);
        assert!(frame[*at..].starts_with(payload), "the payload goes on where it ended");
        assert!(payload.len() == usize::from(offload.segment_size) || index + 1 == count);
        *at += payload.len();
    }
    assert!(count > SEGMENTS || at == Some(frame.len()), "no payload is left over");
}

/// Start and offset, then a frame: a completed checksum verifies; one beyond the frame is refused and nothing is
/// written.
pub fn offload_checksum(data: &[u8]) {
    let mut input = Input(data);
    let (start, offset) = (usize::from(input.word()), usize::from(input.word()));
    let mut frame = input.bytes(70_000).to_vec();
    let before = frame.clone();
    let _ = checksum::verify(&frame);
    match checksum::complete(&mut frame, start, offset) {
        Ok(()) => assert_eq!(frame.len(), before.len()),
        Err(error) => {
            assert!(matches!(error, OffloadError::ChecksumBeyondFrame { .. }), "{error}");
            assert_eq!(frame, before, "a refused frame is left alone");
        }
    }
    complete_in_its_place(before);
}

/// Completes what the frame's own headers call for, with the pseudo-header where it belongs.
fn complete_in_its_place(mut frame: Vec<u8>) {
    let Ok(Layout { ip: Some(ip), .. }) = Layout::parse(&frame) else { return };
    let (end, offset) = match ip.transport {
        Transport::Tcp { .. } => (ip.end, 16),
        Transport::Udp { length } => (ip.transport_start + length, 6),
        Transport::Sctp => (ip.end, 8),
        Transport::Opaque => return,
    };
    // Behind the datagram a sum would take in what does not belong to it.
    frame.truncate(end.max(ip.end));
    if end != frame.len() {
        return;
    }
    let field = ip.transport_start + offset;
    let length = (end - ip.transport_start) as u32;
    let pseudo = match ip.version {
        vreserve_offload::IpVersion::V4 { .. } => checksum::pseudo_ipv4(
            address(&frame, ip.start + 12),
            address(&frame, ip.start + 16),
            ip.protocol,
            length as u16,
        ),
        vreserve_offload::IpVersion::V6 => checksum::pseudo_ipv6(
            address(&frame, ip.start + 8),
            address(&frame, ip.start + 24),
            ip.protocol,
            length,
        ),
    };
    frame[field..field + 2].copy_from_slice(&pseudo.partial().to_be_bytes());
    checksum::complete(&mut frame, ip.transport_start, offset).expect("the header has been seen");
    let integrity = checksum::verify(&frame);
    assert!(matches!(integrity, Ok(Integrity::Valid | Integrity::WrongIpv4Header)), "{integrity:?}");
}

fn address<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    *frame[at..].first_chunk().expect("the IP header has been seen")
}

/// Ten bytes: a virtio-net header that can be read is written again as it was, but for flags of hypervisors.
pub fn offload_vnet(data: &[u8]) {
    let Some(bytes) = data.first_chunk::<{ VnetHeader::LEN }>() else { return };
    let Ok(offload) = VnetHeader(*bytes).decode() else { return };
    let again = VnetHeader::encode(&offload);
    assert_eq!(again.decode(), Ok(offload));
    assert_eq!(again.0[1..], bytes[1..]);
    assert_eq!(again.0[0], bytes[0] & 3);
}
