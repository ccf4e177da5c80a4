//! Checksums and segmentation that a kernel left to hardware which was not there, seen in the frame alone: for
//! whoever gets frames without metadata.
//!
//! A kernel VXLAN device leaves the inner TCP or UDP checksum partial where the underlay promises to finish
//! it. A veth promises and never does, since kernels on both sides carry that knowledge beside the frame; it
//! does not survive into a datagram that a program reads (Linux 6.18: every UDP frame arrives so), nor through
//! libpcap. The guest would drop such frames.

use crate::checksum::{Sum, complete, pseudo_ipv4, pseudo_ipv6};
use crate::parse::ETHERNET_HEADER;
use crate::{Ip, IpVersion, Layout, Offload, OffloadKind, Transport};

/// Where the checksum is, from the transport header's first byte.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
/// The least MTU of an IPv6 link (RFC 8200 §5): hardly a guest has less.
const COMMON_MTU: usize = 1280;

/// Finishes the frame's checksum if its field holds exactly the pseudo-header's sum.
///
/// Only headers are read to see that. A frame whose right checksum happens to equal that sum stays as it is:
/// finishing it computes the same checksum again.
pub fn finish_checksum(frame: &mut [u8]) {
    let Ok(Layout { ip: Some(ip), .. }) = Layout::parse(frame) else { return };
    let (offset, length) = match ip.transport {
        Transport::Tcp { .. } => (TCP_CHECKSUM, ip.end - ip.transport_start),
        Transport::Udp { length } => (UDP_CHECKSUM, length),
        Transport::Sctp | Transport::Opaque => return,
    };
    let field = ip.transport_start + offset;
    if u16::from_be_bytes(bytes_at(frame, field)) == pseudo_header(frame, &ip, length).partial() {
        let segment = &mut frame[..ip.transport_start + length];
        complete(segment, ip.transport_start, offset)
            .expect("the parser has seen the whole transport header");
    }
}

/// What is to be known of a super-frame that a kernel VXLAN device sent uncut, as it does where the underlay
/// promises to cut it: a veth does, and a program on the same machine gets it whole (Linux 6.18).
///
/// Such a frame is whole TCP or UDP with a partial checksum. What its segments are to be is not in the datagram; the
/// kernel says it of UDP (`segment`, see [`is_one_frame`]). TCP bears smaller ones than its sender had in mind, and
/// larger ones may not fit the guest: they are made to fit the MTU that every guest has. None if no segment fits.
pub fn uncut(frame: &[u8], largest_frame: usize, segment: Option<usize>) -> Option<Offload> {
    let ip = Layout::parse(frame).ok()?.ip.filter(|ip| ip.end == frame.len())?;
    let is_ipv4 = matches!(ip.version, IpVersion::V4 { .. });
    let (kind, header_len, checksum_offset) = match (ip.transport, is_ipv4) {
        (Transport::Tcp { header_len }, true) => (OffloadKind::Tcp4, header_len, TCP_CHECKSUM),
        (Transport::Tcp { header_len }, false) => (OffloadKind::Tcp6, header_len, TCP_CHECKSUM),
        (Transport::Udp { length }, _) if ip.transport_start + length == ip.end => {
            (OffloadKind::Udp, 8, UDP_CHECKSUM)
        }
        _ => return None,
    };
    let field = ip.transport_start + checksum_offset;
    let partial = pseudo_header(frame, &ip, ip.end - ip.transport_start).partial();
    let header_len = ip.transport_start + header_len;
    let largest = largest_frame.checked_sub(header_len).filter(|size| *size > 0)?;
    let modest = (ETHERNET_HEADER + COMMON_MTU).saturating_sub(header_len).max(1);
    let segment_size = segment.unwrap_or(modest.min(largest));
    if segment_size > largest {
        return None;
    }
    let narrow = |value: usize| u16::try_from(value).ok();
    (u16::from_be_bytes(bytes_at(frame, field)) == partial).then_some(())?;
    Some(Offload {
        kind,
        needs_checksum: true,
        header_len: narrow(header_len)?,
        segment_size: narrow(segment_size)?,
        checksum_start: narrow(ip.transport_start)?,
        checksum_offset: narrow(checksum_offset)?,
        ..Offload::default()
    })
}

/// Whether what came as several datagrams is one frame by its IP header.
///
/// The kernel says with the same word (`UDP_GRO`) of datagrams in a row how long each is, and of a guest's UDP
/// super-frame that its VXLAN device left uncut how long the payloads in it are to be (Linux 6.18, over a veth).
pub fn is_one_frame(frame: &[u8]) -> bool {
    Layout::parse(frame).is_ok_and(|layout| layout.ip.is_some_and(|ip| ip.end == frame.len()))
}

fn pseudo_header(frame: &[u8], ip: &Ip, length: usize) -> Sum {
    let length = u16::try_from(length).expect("IP lengths have 16 bits");
    match ip.version {
        IpVersion::V4 { .. } => {
            let (source, destination) = (bytes_at(frame, ip.start + 12), bytes_at(frame, ip.start + 16));
            pseudo_ipv4(source, destination, ip.protocol, length)
        }
        IpVersion::V6 => {
            let (source, destination) = (bytes_at(frame, ip.start + 8), bytes_at(frame, ip.start + 24));
            pseudo_ipv6(source, destination, ip.protocol, length.into())
        }
    }
}

fn bytes_at<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    frame[at..at + N].try_into().expect("the slice has that length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{Integrity, verify};
    use proptest::prelude::*;

    /// A frame with a UDP datagram over IPv4 and `checksum` in its checksum field.
    fn udp_frame(payload: &[u8], checksum: u16) -> Vec<u8> {
        let udp_len = u16::try_from(8 + payload.len()).unwrap();
        let mut frame = vec![0; 34];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14..26].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame[16..18].copy_from_slice(&(20 + udp_len).to_be_bytes());
        frame[26..34].copy_from_slice(&[10, 8, 0, 1, 10, 8, 0, 2]);
        let sum = Sum::of(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend([5000, 6000, udp_len, checksum].into_iter().flat_map(u16::to_be_bytes));
        frame.extend(payload);
        frame
    }

    fn partial_of(payload: &[u8]) -> u16 {
        pseudo_ipv4([10, 8, 0, 1], [10, 8, 0, 2], 17, u16::try_from(8 + payload.len()).unwrap()).partial()
    }

    #[test]
    fn a_partial_checksum_is_finished_and_a_wrong_one_left_to_the_guest() {
        let mut frame = udp_frame(b"payload", partial_of(b"payload"));
        frame.extend([0xee; 11]);
        finish_checksum(&mut frame);
        assert_eq!(verify(&frame), Ok(Integrity::Valid), "padding is not summed");
        let wrong = udp_frame(b"payload", partial_of(b"payload") ^ 1);
        let mut after = wrong.clone();
        finish_checksum(&mut after);
        assert_eq!(after, wrong);
    }

    #[test]
    fn a_udp_super_frame_is_cut_as_its_kernel_says_and_told_from_datagrams_in_a_row() {
        let payload = [7; 900];
        let frame = udp_frame(&payload, partial_of(&payload));
        let offload = uncut(&frame, 1450, Some(300)).unwrap();
        assert_eq!((offload.kind, offload.segment_size, offload.header_len), (OffloadKind::Udp, 300, 42));
        assert!(is_one_frame(&frame));
        let in_a_row = [&frame[..], b"vxlan header", &frame[..]].concat();
        assert!(!is_one_frame(&in_a_row));
        assert_eq!(uncut(&frame, 341, Some(300)), None, "no segment fits");
        let finished = udp_frame(&payload, partial_of(&payload) ^ 1);
        assert_eq!(uncut(&finished, 1450, Some(300)), None, "no kernel leaves a finished checksum");
    }

    proptest! {
        /// Finishing is harmless where nothing was left to finish, and no frame makes it panic.
        #[test]
        fn finished_frames_stay_as_they_are(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut finished = udp_frame(&payload, partial_of(&payload));
            finish_checksum(&mut finished);
            let once = finished.clone();
            finish_checksum(&mut finished);
            prop_assert_eq!(finished, once);
        }

        #[test]
        fn no_frame_panics(
            mut frame in proptest::collection::vec(any::<u8>(), 14..120),
            ethertype in prop_oneof![Just([8, 0]), Just([0x86, 0xdd]), Just([0x81, 0]), any::<[u8; 2]>()],
            version in prop_oneof![Just(0x45), Just(0x60), any::<u8>()],
            protocol in prop_oneof![Just(6), Just(17), any::<u8>()],
        ) {
            frame[12..14].copy_from_slice(&ethertype);
            for (at, byte) in [(14, version), (20, protocol), (23, protocol)] {
                if let Some(field) = frame.get_mut(at) {
                    *field = byte;
                }
            }
            finish_checksum(&mut frame);
        }
    }
}
