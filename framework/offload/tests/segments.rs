//! Wire frames against the super-frame they came from: what a guest on the far side would notice.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod reference;

use proptest::prelude::*;
use reference::{Built, Recipe, recipes, sum, tcp4};
use vreserve_offload::{Integrity, Malformed, Offload, OffloadError, OffloadKind, Segments, checksum};

const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

fn cut(built: &Built, offload: &Offload) -> Vec<Built> {
    let mut buffer = [0xaa; 65_600];
    let segments = Segments::plan(&built.frame, offload).unwrap();
    segments
        .map(|segment| {
            let wire_len = segment.write(&mut buffer).unwrap();
            assert_eq!(wire_len, segment.wire_len());
            built.segment(buffer[..wire_len].to_vec())
        })
        .collect()
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The headers of a segment with every field that segmentation writes set back to that of the super-frame.
fn restored_header(segment: &Built, super_frame: &Built) -> Vec<u8> {
    let mut header = segment.frame[..segment.payload].to_vec();
    let network: &[(usize, usize)] = if segment.is_ipv6 { &[(4, 2)] } else { &[(2, 4), (10, 2)] };
    let transport: &[(usize, usize)] = if segment.is_udp { &[(4, 4)] } else { &[(4, 4), (13, 1), (16, 2)] };
    let network = network.iter().map(|(at, len)| (segment.network + at, len));
    let transport = transport.iter().map(|(at, len)| (segment.transport + at, len));
    for (at, len) in network.chain(transport) {
        header[at..at + len].copy_from_slice(&super_frame.frame[at..at + len]);
    }
    header
}

fn check_ip(segment: &Built, recipe: &Recipe, index: usize) {
    let header = segment.ip_header();
    let after = segment.frame.len() - segment.network;
    if recipe.is_ipv6 {
        assert_eq!(usize::from(be16(header, 4)), after - 40);
    } else {
        assert_eq!(usize::from(be16(header, 2)), after);
        assert_eq!(be16(header, 4), recipe.id.wrapping_add(index as u16));
        assert_eq!(sum(header), 0xffff, "IPv4 header checksum");
    }
}

fn check_transport(segment: &Built, recipe: &Recipe, offset: usize, is_last: bool) {
    let header = segment.transport_header();
    if recipe.is_udp {
        assert_eq!(usize::from(be16(header, 4)), segment.frame.len() - segment.transport);
        assert_ne!(be16(header, 6), 0, "0 would mean no checksum");
    } else {
        assert_eq!(be16(header, 4), (recipe.sequence.wrapping_add(offset as u32) >> 16) as u16);
        assert_eq!(be16(header, 6), recipe.sequence.wrapping_add(offset as u32) as u16);
        let cleared = if is_last { 0 } else { FIN_PSH } | if offset == 0 { 0 } else { CWR };
        assert_eq!(header[13], recipe.tcp_flags & !cleared);
    }
    assert!(segment.is_transport_checksum_right());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn segments_carry_the_payload_on_with_right_headers(recipe in recipes(), size in 1u16..3_000) {
        let size = if recipe.payload.len() > 10_000 { size.max(500) } else { size };
        let built = recipe.build();
        let segments = cut(&built, &built.offload(size));
        let count = recipe.payload.len().div_ceil(usize::from(size)).max(1);
        prop_assert_eq!(segments.len(), count);

        let mut payload: Vec<u8> = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let is_last = index + 1 == count;
            check_ip(segment, &recipe, index);
            check_transport(segment, &recipe, payload.len(), is_last);
            prop_assert_eq!(restored_header(segment, &built), &built.frame[..built.payload]);
            prop_assert_eq!(checksum::verify(&segment.frame), Ok(Integrity::Valid));
            let share = &segment.frame[segment.payload..];
            prop_assert!(is_last || share.len() == usize::from(size));
            payload.extend(share);
        }
        prop_assert_eq!(payload, recipe.payload);
    }

    #[test]
    fn headers_and_borrowed_payload_gather_into_the_same_frame(recipe in recipes(), size in 500u16..3_000) {
        let built = recipe.build();
        let offload = built.offload(size);
        let whole = cut(&built, &offload);
        for (segment, whole) in Segments::plan(&built.frame, &offload).unwrap().zip(whole) {
            let mut header = [0; 256];
            let len = segment.write_header(&mut header).unwrap();
            prop_assert_eq!(len, segment.header_len());
            prop_assert_eq!([&header[..len], segment.payload()].concat(), whole.frame);
        }
    }
}

#[test]
fn a_super_frame_is_cut_the_same_whether_or_not_its_checksum_was_partial() {
    let mut built = tcp4(3_000).build();
    let partial = cut(&built, &built.offload(1_000));
    let offload = built.offload(1_000);
    let (start, offset) = built.checksum_place();
    checksum::complete(&mut built.frame, start, offset).unwrap();
    let whole = cut(&built, &Offload { needs_checksum: false, ..offload });
    assert_eq!(partial.len(), 3);
    for (partial, whole) in partial.iter().zip(&whole) {
        assert_eq!(partial.frame, whole.frame);
    }
}

#[test]
fn udp_without_a_checksum_stays_without_over_ipv4_and_gains_one_over_ipv6() {
    for is_ipv6 in [false, true] {
        let mut built = Recipe { is_udp: true, is_ipv6, ..tcp4(900) }.build();
        let field = built.transport + 6;
        built.frame[field..field + 2].fill(0);
        for segment in cut(&built, &built.offload(500)) {
            assert_eq!(checksum::verify(&segment.frame), Ok(Integrity::Valid), "partial is not absent");
        }
        let segments = cut(&built, &Offload { needs_checksum: false, ..built.offload(500) });
        for segment in segments {
            assert_eq!(segment.frame[field..field + 2] != [0, 0], is_ipv6);
            let expected = if is_ipv6 { Integrity::Valid } else { Integrity::Unchecked };
            assert_eq!(checksum::verify(&segment.frame), Ok(expected));
        }
    }
}

#[test]
fn a_udp_segment_whose_checksum_comes_out_as_0_says_ffff() {
    let mut built = Recipe { is_udp: true, ..tcp4(4) }.build();
    built.frame[built.payload..].fill(0);
    let summed = sum(&[&built.pseudo_header()[..], &built.transport_header()[..6]].concat());
    let last = built.payload + 2;
    built.frame[last..].copy_from_slice(&(!summed).to_be_bytes());
    let segments = cut(&built, &built.offload(4));
    assert_eq!(segments[0].transport_header()[6..8], [0xff, 0xff]);
}

#[test]
fn the_header_length_is_a_hint_and_may_reach_into_the_payload() {
    let built = tcp4(2_000).build();
    let offload = built.offload(700);
    let hinted = Offload { header_len: built.frame.len() as u16, ..offload };
    assert_eq!(cut(&built, &hinted).len(), cut(&built, &offload).len());
}

#[test]
fn metadata_that_contradict_the_frame_are_refused_by_name() {
    let built = tcp4(2_000).build();
    let right = built.offload(700);
    let frame_len = built.frame.len();
    let refusal = |offload| Segments::plan(&built.frame, &offload).unwrap_err();
    assert_eq!(refusal(Offload { kind: OffloadKind::None, ..right }), OffloadError::NotSuperFrame);
    assert_eq!(refusal(Offload { segment_size: 0, ..right }), OffloadError::SegmentSizeZero);
    let header_len = frame_len + 1;
    assert_eq!(
        refusal(Offload { header_len: header_len as u16, ..right }),
        OffloadError::HeaderBeyondFrame { header_len, frame_len }
    );
    for kind in [OffloadKind::Tcp6, OffloadKind::Udp] {
        assert_eq!(refusal(Offload { kind, ..right }), OffloadError::KindMismatch { kind });
    }
    let inner = Offload { checksum_start: right.checksum_start + 50, ..right };
    let start = usize::from(inner.checksum_start);
    assert_eq!(refusal(inner), OffloadError::ChecksumElsewhere { start, offset: 16 });
}

#[test]
fn lengths_that_contradict_the_frame_are_refused_by_name() {
    let built = tcp4(2_000).build();
    let offload = built.offload(700);
    let mut longer = built.frame.clone();
    longer.push(0);
    assert_eq!(
        Segments::plan(&longer, &offload).unwrap_err(),
        OffloadError::LengthMismatch { claimed: built.frame.len(), frame_len: longer.len() }
    );
    let shorter = &built.frame[..built.frame.len() - 1];
    assert_eq!(Segments::plan(shorter, &offload).unwrap_err(), Malformed::Ipv4TotalLength.into());

    let mut udp = Recipe { is_udp: true, ..tcp4(2_000) }.build();
    udp.frame[udp.transport + 4..udp.transport + 6].copy_from_slice(&1_000u16.to_be_bytes());
    assert_eq!(
        Segments::plan(&udp.frame, &udp.offload(700)).unwrap_err(),
        OffloadError::LengthMismatch { claimed: udp.transport + 1_000, frame_len: udp.frame.len() }
    );
}

#[test]
fn a_fragment_is_not_segmented() {
    let mut built = tcp4(2_000).build();
    built.frame[built.network + 6] = 0x20;
    assert_eq!(
        Segments::plan(&built.frame, &built.offload(700)).unwrap_err(),
        OffloadError::KindMismatch { kind: OffloadKind::Tcp4 }
    );
}

#[test]
fn a_short_buffer_is_refused_and_left_alone() {
    let built = tcp4(2_000).build();
    let segment = Segments::plan(&built.frame, &built.offload(700)).unwrap().next().unwrap();
    let (needed, header_len) = (segment.wire_len(), segment.header_len());
    let mut buffer = vec![7; needed - 1];
    assert_eq!(segment.write(&mut buffer), Err(OffloadError::ShortBuffer { needed, room: needed - 1 }));
    assert_eq!(
        segment.write_header(&mut buffer[..header_len - 1]),
        Err(OffloadError::ShortBuffer { needed: header_len, room: header_len - 1 })
    );
    assert!(buffer.iter().all(|&byte| byte == 7));
}

#[test]
fn the_number_of_segments_is_known_before_any_is_written() {
    let built = tcp4(60_000).build();
    assert_eq!(Segments::plan(&built.frame, &built.offload(1)).unwrap().len(), 60_000);
    assert_eq!(Segments::plan(&built.frame, &built.offload(u16::MAX)).unwrap().len(), 1);
}
