//! Answers against frames that guests really send, and against anything else.

use proptest::prelude::*;
use vreserve_offload::Integrity;
use vreserve_offload::checksum::verify;

use super::*;

const NODE_SIDE: [u8; 6] = [2, 0, 0, 0, 0, 9];
const GUEST: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ETHERNET: usize = 14;

/// A frame from `GUEST` with `tags` VLAN tags and what stands behind them.
fn ethernet(tags: usize, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [NODE_SIDE, GUEST].concat();
    (0..tags).for_each(|tag| frame.extend([0x81, 0, 0, 10 + tag as u8]));
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

/// An IPv4 packet of `len` octets with the don't-fragment bit.
fn ipv4(protocol: u8, len: usize, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 63, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(payload);
    packet.resize(len, 0xaa);
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet
}

/// An IPv6 packet of `len` octets.
fn ipv6(next: u8, len: usize, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 63];
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(payload);
    packet.resize(len, 0xaa);
    packet[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    packet
}

fn answered(frame: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut buffer = [0; MAX_ANSWER];
    answer(frame, limit, &mut buffer).map(|len| buffer[..len].to_vec())
}

#[test]
fn a_guest_learns_the_mtu_from_the_address_it_wrote_to() {
    for tags in 0..=2 {
        let start = ETHERNET + 4 * tags;
        let frame = ethernet(tags, 0x0800, &ipv4(8, 1500, &[]));
        let answer = answered(&frame, 1464).unwrap();
        assert_eq!((&answer[..6], &answer[6..12]), (&GUEST[..], &NODE_SIDE[..]));
        assert_eq!(answer[12..start], frame[12..start], "the same tags");
        let packet = &answer[start..];
        assert_eq!((&packet[12..16], &packet[16..20]), (&[10, 0, 0, 2][..], &[10, 0, 0, 1][..]));
        assert_eq!(packet[20..22], [3, 4]);
        assert_eq!(usize::from(u16::from_be_bytes([packet[26], packet[27]])), 1464 - start);
        assert_eq!(packet.len(), MAX_ERROR_V4);
        assert_eq!(packet[28..], frame[start..start + MAX_ERROR_V4 - 28], "the frame is quoted");

        let frame = ethernet(tags, 0x86dd, &ipv6(59, 1500, &[]));
        let answer = answered(&frame, 1464).unwrap();
        let packet = &answer[start..];
        assert_eq!(
            (&packet[8..24], &packet[24..40]),
            (&frame[start + 24..][..16], &frame[start + 8..][..16])
        );
        assert_eq!((&packet[40..42], &packet[44..46]), (&[2, 0][..], &[0, 0][..]));
        assert_eq!(usize::from(u16::from_be_bytes([packet[46], packet[47]])), 1464 - start);
        assert_eq!(packet.len(), LEAST_MTU_V6);
        assert_eq!(packet[48..], frame[start..start + LEAST_MTU_V6 - 48]);
    }
}

#[test]
fn a_super_frame_is_answered_by_the_size_of_its_segments() {
    let mut tcp = vec![0; 20];
    tcp[12] = 0x50;
    let frame = ethernet(0, 0x0800, &ipv4(6, 64_000, &tcp));
    let answer = answered(&frame, 1464).unwrap();
    assert_eq!(answer[ETHERNET + 26..ETHERNET + 28], 1450u16.to_be_bytes());
}

#[test]
fn no_mtu_below_what_the_protocol_promises_is_told() {
    let v4 = answered(&ethernet(0, 0x0800, &ipv4(8, 100, &[])), 20).unwrap();
    assert_eq!(v4[ETHERNET + 26..ETHERNET + 28], [0, 68]);
    let v6 = answered(&ethernet(0, 0x86dd, &ipv6(59, 1281, &[])), 20).unwrap();
    assert_eq!(v6[ETHERNET + 44..ETHERNET + 48], [0, 0, 5, 0]);
    assert_eq!(answered(&ethernet(0, 0x86dd, &ipv6(59, 1280, &[])), 20), None, "nothing could be smaller");
}

/// The frame with octet `at` behind the Ethernet header replaced.
fn with(frame: &[u8], at: usize, octet: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[ETHERNET + at] = octet;
    frame
}

#[test]
fn nothing_is_said_where_an_error_must_not_be_sent() {
    let v4 = ethernet(0, 0x0800, &ipv4(8, 1500, &[]));
    assert!(answered(&v4, 1464).is_some());
    for (frame, why) in [
        (with(&v4, 6, 0x00), "may be fragmented"),
        (with(&v4, 7, 0x01), "a later fragment"),
        (with(&v4, 12, 0), "from no host"),
        (with(&v4, 12, 127), "from loopback"),
        (with(&v4, 12, 255), "from broadcast"),
        (with(&v4, 16, 224), "to a group"),
        (ethernet(0, 0x0800, &ipv4(1, 1500, &[3, 4])), "about an ICMP error"),
        (ethernet(0, 0x0800, &ipv4(1, 1500, &[11, 0])), "about an ICMP error"),
        (ethernet(0, 0x0806, &[0; 1500]), "not IP"),
    ] {
        assert_eq!(answered(&frame, 1464), None, "{why}");
    }
    assert!(answered(&ethernet(0, 0x0800, &ipv4(1, 1500, &[8, 0])), 1464).is_some(), "ping is answered");
    let mut broadcast = v4.clone();
    broadcast[..6].fill(0xff);
    assert_eq!(answered(&broadcast, 1464), None);
    assert_eq!(answered(&v4, 1514), None, "it fits");

    let v6 = ethernet(0, 0x86dd, &ipv6(58, 1500, &[128, 0]));
    assert!(answered(&v6, 1464).is_some(), "ping is answered");
    let fragment = |offset: u8| ethernet(0, 0x86dd, &ipv6(44, 1500, &[58, 0, 0, offset, 0, 0, 0, 1, 128]));
    assert!(answered(&fragment(1), 1464).is_some(), "the first fragment");
    for (frame, why) in [
        (with(&v6, 8, 0xff), "from a group"),
        (with(&v6, 24, 0xff), "to a group"),
        (ethernet(0, 0x86dd, &ipv6(58, 1500, &[1, 0])), "about an ICMP error"),
        (ethernet(0, 0x86dd, &ipv6(60, 1500, &[58, 0, 0, 0, 0, 0, 0, 0, 2])), "the error behind options"),
        (fragment(8), "a later fragment"),
    ] {
        assert_eq!(answered(&frame, 1464), None, "{why}");
    }
}

proptest! {
    #[test]
    fn answers_have_right_checksums_and_are_never_answered(
        is_v6 in any::<bool>(),
        tags in 0usize..=2,
        len in 1281usize..9000,
        limit in 0usize..9000,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        protocol in any::<u8>(),
    ) {
        let frame = match is_v6 {
            true => ethernet(tags, 0x86dd, &ipv6(protocol, len, &payload)),
            false => ethernet(tags, 0x0800, &ipv4(protocol, len, &payload)),
        };
        let Some(answer) = answered(&frame, limit) else { return Ok(()) };
        let start = ETHERNET + 4 * tags;
        prop_assert_eq!(verify(&answer), Ok(Integrity::Unchecked), "the IPv4 header is right");
        let icmp = if is_v6 { &answer[start + 40..] } else { &answer[start + 20..] };
        let pseudo = match is_v6 {
            true => pseudo_ipv6(
                array_at(&answer, start + 8).unwrap(),
                array_at(&answer, start + 24).unwrap(),
                58,
                icmp.len() as u32,
            ),
            false => Sum::ZERO,
        };
        prop_assert!((pseudo + Sum::of(icmp)).is_valid());
        prop_assert_eq!(answered(&answer, 0), None);
    }

    #[test]
    fn any_octets_are_survived(
        octets in proptest::collection::vec(any::<u8>(), 0..2000),
        ethertype in prop_oneof![Just(0x0800u16), Just(0x86dd), Just(0x8100), any::<u16>()],
        version in any::<u8>(),
        limit in any::<usize>(),
    ) {
        let mut frame = ethernet(0, ethertype, &octets);
        answered(&frame, limit);
        if let Some(first) = frame.get_mut(ETHERNET) {
            *first = if version & 1 == 0 { 0x45 } else { 0x60 };
        }
        answered(&frame, limit % 2000);
    }

    #[test]
    fn an_allowance_gives_no_more_than_its_burst_and_its_rate(
        burst in 1u32..20,
        every_ms in 1u64..100,
        waits in proptest::collection::vec(0u64..50, 1..300),
    ) {
        let mut allowance = Allowance::new(burst, Duration::from_millis(every_ms));
        let (mut now, mut taken) = (Timestamp::from_millis(1_000), 0);
        let start = now;
        for wait in waits {
            now = now + Duration::from_millis(wait);
            taken += u64::from(allowance.take(now));
            let passed = u64::try_from(now.since(start).as_millis()).unwrap();
            prop_assert!(taken <= u64::from(burst) + passed / every_ms);
        }
    }
}

#[test]
fn a_rested_allowance_gives_its_whole_burst() {
    let mut allowance = Allowance::new(3, Duration::from_millis(10));
    for second in [1, 60] {
        let now = Timestamp::from_millis(second * 1000);
        let given = (0..5).filter(|_| allowance.take(now)).count();
        assert_eq!(given, 3);
    }
}
