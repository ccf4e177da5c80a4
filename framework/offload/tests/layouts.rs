//! Where headers are found, what is called malformed, and that no bytes at all make the crate panic.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod reference;

use proptest::prelude::*;
use reference::{Built, Recipe, recipes, tcp4};
use vreserve_offload::{
    IpVersion, Layout, Malformed, Offload, OffloadKind, Segments, Transport, VnetHeader, checksum,
};

fn ipv6() -> Recipe {
    Recipe { is_ipv6: true, ..tcp4(100) }
}

fn malformed(built: &Built) -> Malformed {
    Layout::parse(&built.frame).unwrap_err()
}

/// Everything that takes a frame from a stranger.
fn exercise(frame: &[u8], offload: &Offload) {
    let _ = Layout::parse(frame);
    let _ = checksum::verify(frame);
    let mut copy = frame.to_vec();
    let (start, offset) = (usize::from(offload.checksum_start), usize::from(offload.checksum_offset));
    let _ = checksum::complete(&mut copy, start, offset);
    if let Ok(segments) = Segments::plan(frame, offload) {
        let mut buffer = [0; 70_000];
        for segment in segments.take(100) {
            segment.write(&mut buffer).unwrap();
        }
    }
}

fn offloads() -> impl Strategy<Value = Offload> {
    any::<[u8; VnetHeader::LEN]>().prop_map(|mut bytes| {
        bytes[1] = [0, 1, 4, 5][usize::from(bytes[1] % 4)];
        VnetHeader(bytes).decode().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn headers_are_found_where_they_were_built(recipe in recipes()) {
        let built = recipe.build();
        let layout = Layout::parse(&built.frame).unwrap();
        let ip = layout.ip.unwrap();
        prop_assert_eq!(usize::from(layout.vlan_tags), recipe.vlan_tags);
        prop_assert_eq!((ip.start, ip.transport_start), (built.network, built.transport));
        prop_assert_eq!(ip.end, built.frame.len());
        prop_assert_eq!(ip.version == IpVersion::V6, recipe.is_ipv6);
        let expected = if recipe.is_udp {
            Transport::Udp { length: 8 + recipe.payload.len() }
        } else {
            Transport::Tcp { header_len: 20 + 4 * recipe.tcp_options }
        };
        prop_assert_eq!(ip.transport, expected);
    }

    #[test]
    fn garbage_never_panics(
        frame in proptest::collection::vec(any::<u8>(), 0..200), offload in offloads(), ethertype in 0usize..4,
    ) {
        let mut frame = frame;
        let guess = [None, Some([0x08, 0x00]), Some([0x86, 0xdd]), Some([0x81, 0x00])][ethertype];
        if let (Some(guess), Some(field)) = (guess, frame.get_mut(12..14)) {
            field.copy_from_slice(&guess);
        }
        exercise(&frame, &offload);
    }

    #[test]
    fn damaged_frames_never_panic(
        recipe in recipes(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        offload in offloads(),
        size in 1u16..2_000,
    ) {
        let mut built = recipe.build();
        let right = built.offload(size);
        for (at, byte) in damage {
            let headers = built.payload;
            built.frame[at.index(headers)] = byte;
        }
        if is_cut {
            built.frame.truncate(cut.index(built.frame.len() + 1));
        }
        exercise(&built.frame, &right);
        exercise(&built.frame, &offload);
        for kind in [OffloadKind::Tcp4, OffloadKind::Tcp6, OffloadKind::Udp] {
            exercise(&built.frame, &Offload { kind, needs_checksum: false, header_len: 0, segment_size: size, ..right });
        }
    }
}

#[test]
fn a_truncated_frame_is_malformed_by_the_header_it_ends_in() {
    let built = Recipe { vlan_tags: 1, ..tcp4(0) }.build();
    for len in 0..built.frame.len() {
        let expected = match len {
            0..14 => Malformed::EthernetTruncated,
            14..18 => Malformed::VlanTruncated,
            18..38 => Malformed::Ipv4Truncated,
            _ => Malformed::Ipv4TotalLength,
        };
        assert_eq!(Layout::parse(&built.frame[..len]), Err(expected), "{len} bytes");
    }
}

#[test]
fn ipv4_fields_that_lie_are_named() {
    let cases: [(usize, &[u8], Malformed); 7] = [
        (0, &[0x65], Malformed::Ipv4Version),
        (0, &[0x44], Malformed::Ipv4HeaderLength),
        (2, &[0, 19], Malformed::Ipv4TotalLength),
        (2, &[0xff, 0xff], Malformed::Ipv4TotalLength),
        (2, &[0, 39], Malformed::TcpTruncated),
        (20 + 12, &[0x40], Malformed::TcpDataOffset),
        (2, &[0, 45], Malformed::TcpDataOffset),
    ];
    for (at, bytes, expected) in cases {
        let mut built = tcp4(100).build();
        built.frame[built.network + at..][..bytes.len()].copy_from_slice(bytes);
        assert_eq!(malformed(&built), expected);
    }
}

#[test]
fn udp_and_sctp_fields_that_lie_are_named() {
    let cases: [(usize, &[u8], Malformed); 4] = [
        (2, &[0, 27], Malformed::UdpTruncated),
        (24, &[0, 7], Malformed::UdpLength),
        (24, &[0, 109], Malformed::UdpLength),
        (9, &[132], Malformed::SctpTruncated),
    ];
    for (at, bytes, expected) in cases {
        let len = if expected == Malformed::SctpTruncated { 3 } else { 100 };
        let mut built = Recipe { is_udp: true, ..tcp4(len) }.build();
        built.frame[built.network + at..][..bytes.len()].copy_from_slice(bytes);
        assert_eq!(malformed(&built), expected);
    }
}

#[test]
fn ipv6_fields_that_lie_are_named() {
    let cases: [(usize, &[u8], Malformed); 3] = [
        (0, &[0x40], Malformed::Ipv6Version),
        (4, &[0xff, 0xff], Malformed::Ipv6PayloadLength),
        (41, &[200], Malformed::Ipv6Extension),
    ];
    for (at, bytes, expected) in cases {
        let mut built = Recipe { network_options: 1, ..ipv6() }.build();
        built.frame[built.network + at..][..bytes.len()].copy_from_slice(bytes);
        assert_eq!(malformed(&built), expected);
    }
    let built = ipv6().build();
    assert_eq!(Layout::parse(&built.frame[..53]), Err(Malformed::Ipv6Truncated));
}

#[test]
fn the_walk_along_extension_headers_is_bounded() {
    assert!(Layout::parse(&Recipe { network_options: 8, ..ipv6() }.build().frame).is_ok());
    let endless = Recipe { network_options: 9, ..ipv6() }.build();
    assert_eq!(malformed(&endless), Malformed::Ipv6ExtensionChain);
}

#[test]
fn what_cannot_be_seen_whole_is_opaque() {
    let routing_with_segments_left = (43, [6, 0, 4, 1]);
    let first_fragment = (44, [6, 0, 0, 1]);
    let later_fragment = (44, [6, 0, 1, 0]);
    for (kind, fields) in [routing_with_segments_left, first_fragment, later_fragment] {
        let mut built = Recipe { network_options: 1, ..ipv6() }.build();
        built.frame[built.network + 6] = kind;
        built.frame[built.network + 40..][..4].copy_from_slice(&fields);
        let ip = Layout::parse(&built.frame).unwrap().ip.unwrap();
        assert_eq!((ip.transport, ip.protocol), (Transport::Opaque, 6));
    }
}

#[test]
fn an_only_fragment_and_a_finished_route_are_seen_whole() {
    for (kind, fields) in [(44, [6, 0, 0, 0]), (43, [6, 0, 4, 0])] {
        let mut built = Recipe { network_options: 1, ..ipv6() }.build();
        built.frame[built.network + 6] = kind;
        built.frame[built.network + 40..][..4].copy_from_slice(&fields);
        let ip = Layout::parse(&built.frame).unwrap().ip.unwrap();
        assert_eq!(ip.transport, Transport::Tcp { header_len: 32 });
    }
}

#[test]
fn a_third_vlan_tag_is_left_as_the_ethertype() {
    let built = Recipe { vlan_tags: 3, ..tcp4(10) }.build();
    let layout = Layout::parse(&built.frame).unwrap();
    assert_eq!((layout.ethertype, layout.vlan_tags, layout.ip), (0x8100, 2, None));
}
