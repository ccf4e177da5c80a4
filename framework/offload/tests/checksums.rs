//! Sums, completion and verification against the byte-by-byte reference.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod reference;

use proptest::prelude::*;
use reference::{Recipe, recipes, sum, tcp4};
use vreserve_offload::checksum::{complete, pseudo_ipv4, pseudo_ipv6, verify};
use vreserve_offload::{Integrity, Sum};

proptest! {
    #[test]
    fn sums_equal_the_reference(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(Sum::of(&bytes).partial(), sum(&bytes));
    }

    #[test]
    fn sums_of_parts_combine_into_the_sum_of_the_whole(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(bytes.len() + 1);
        let (front, back) = bytes.split_at(at);
        prop_assert_eq!(Sum::of(front).followed_by(at, Sum::of(back)), Sum::of(&bytes));
    }

    #[test]
    fn pseudo_headers_equal_the_reference(
        v4 in any::<[[u8; 4]; 2]>(), v6 in any::<[[u8; 16]; 2]>(), protocol in any::<u8>(), length in any::<u32>(),
    ) {
        let short = length as u16;
        let bytes = [&v4.concat()[..], &[0, protocol], &short.to_be_bytes()].concat();
        prop_assert_eq!(pseudo_ipv4(v4[0], v4[1], protocol, short).partial(), sum(&bytes));
        let bytes = [&v6.concat()[..], &length.to_be_bytes(), &[0, 0, 0, protocol]].concat();
        prop_assert_eq!(pseudo_ipv6(v6[0], v6[1], protocol, length).partial(), sum(&bytes));
    }

    #[test]
    fn a_completed_checksum_is_right_and_a_flipped_bit_is_noticed(
        recipe in recipes(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut built = recipe.build();
        let (start, offset) = built.checksum_place();
        complete(&mut built.frame, start, offset).unwrap();
        prop_assert!(built.is_transport_checksum_right());
        prop_assert_eq!(verify(&built.frame), Ok(Integrity::Valid));
        if !recipe.payload.is_empty() {
            let at = built.payload + at.index(recipe.payload.len());
            built.frame[at] ^= 1 << bit;
            prop_assert_eq!(verify(&built.frame), Ok(Integrity::WrongTransport));
        }
    }
}

#[test]
fn long_frames_sum_right_at_every_length_around_a_block() {
    let bytes: Vec<u8> = (0..65_600u32).map(|index| (index * 7 + 255) as u8).collect();
    for len in (0..130).chain(65_500..65_600) {
        assert_eq!(Sum::of(&bytes[..len]).partial(), sum(&bytes[..len]), "{len} bytes");
    }
}

#[test]
fn ethernet_padding_is_not_summed() {
    let mut built = tcp4(1).build();
    complete(&mut built.frame, built.transport, 16).unwrap();
    built.frame.extend([0xff; 9]);
    assert_eq!(verify(&built.frame), Ok(Integrity::Valid));
}

#[test]
fn a_partial_checksum_is_not_a_right_one() {
    assert_eq!(verify(&tcp4(100).build().frame), Ok(Integrity::WrongTransport));
}

#[test]
fn a_wrong_ipv4_header_is_told_apart_from_a_wrong_transport() {
    let mut built = tcp4(100).build();
    built.frame[built.network + 8] -= 1;
    assert_eq!(verify(&built.frame), Ok(Integrity::WrongIpv4Header));
}

#[test]
fn a_frame_that_is_not_ip_has_nothing_to_check() {
    let mut arp = [0; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(verify(&arp), Ok(Integrity::Unchecked));
}

#[test]
fn sctp_gets_its_crc_even_behind_padding() {
    let mut built = Recipe { is_udp: true, ..tcp4(40) }.build();
    let transport = built.transport;
    built.frame[built.network + 9] = 132;
    let header_sum = {
        built.frame[built.network + 10..][..2].fill(0);
        !sum(&built.frame[built.network..transport])
    };
    built.frame[built.network + 10..][..2].copy_from_slice(&header_sum.to_be_bytes());
    built.frame.extend([0x55; 3]);
    let before = built.frame.clone();
    complete(&mut built.frame, transport, 8).unwrap();
    assert_eq!(verify(&built.frame), Ok(Integrity::Valid));
    let field = transport + 8..transport + 12;
    assert_ne!(built.frame[field.clone()], before[field.clone()]);
    built.frame[field.clone()].copy_from_slice(&before[field]);
    assert_eq!(built.frame, before, "only the checksum is written");
}
