//! Guests behind veth pairs with the kernel's default offloads: what arrives is what was sent.
//!
//! ```text
//!  a1 eth0 ══ vg-a1 ─ AF_PACKET ─ alpha ═══ hub ═══ beta ─ AF_PACKET ─ vg-b1 ══ eth0 b1
//!  super-frames, partial checksums            wire frames
//! ```

use vreserve_tests::traffic::transfer;
use vreserve_tests::{Client, Setup, World, pair_on_veth, skip};

/// Several seconds at the star's rate, thousands of super-frames.
const OCTETS: usize = 24 << 20;

#[test]
fn a_tcp_transfer_between_guests_with_offloads_is_exact_to_the_octet() {
    if skip::is_skipped("capture_veth", &["ping", "ethtool"]) {
        return;
    }
    let world = World::start(&Setup { lab: pair_on_veth(), client: Client::None, ..Setup::default() });
    world.assert_reachable("a1", "b1");
    let offloads = world.exec("a1", &["ethtool", "-k", "eth0"]);
    for offload in ["tcp-segmentation-offload: on", "tx-checksumming: on"] {
        assert!(offloads.contains(offload), "the guest has the kernel's defaults:\n{offloads}");
    }
    for (port, (from, to)) in (9000..).zip([("a1", "b1"), ("b1", "a1")]) {
        let sent = noise(u64::from(port));
        let received = transfer(&world, from, to, port, &sent);
        assert_eq!(received.len(), sent.len());
        let differs = received.iter().zip(&sent).position(|(received, sent)| received != sent);
        assert_eq!(differs, None, "from {from} to {to}");
    }
    let counters = world.ask("alpha", &vreserve::api::Request::Status)["counters"].clone();
    assert!(counters["capture.a1.super_frames_in"].as_u64().unwrap() > 0, "{counters}");
}

/// Octets without a pattern (xorshift64), the same for the same seed.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(OCTETS).collect()
}
