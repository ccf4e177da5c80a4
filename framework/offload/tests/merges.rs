//! Super-frames joined from wire frames: cut again they must be the same wire frames, and nothing is joined
//! that a receiver could tell apart.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod joined;
mod reference;

use joined::{coalesce, cut, cut_all};
use proptest::prelude::*;
use reference::{Built, Recipe, recipes, sum, tcp4};
use vreserve_offload::merge::MAX_FRAMES;
use vreserve_offload::{ChecksumPolicy, Merge, NotMergeable, Offload};

use ChecksumPolicy::{Trust, Verify};

/// The frame with what a receiver may not look at set to zero: the identification of an IPv4 frame that is
/// never cut (RFC 6864 §4.1), and the header checksum that covers it, if it is right.
fn atomic(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let network = if frame.get(12) == Some(&0x81) || frame.get(12) == Some(&0x88) { 18 } else { 14 };
    let is_ipv4 = frame.get(network - 2..network) == Some(&[8, 0]);
    if let Some(header) = frame.get_mut(network..network + 20)
        && is_ipv4
        && header[6] & 0x40 != 0
        && sum(header) == 0xffff
    {
        header[4..6].fill(0);
        header[10..12].fill(0);
    }
    frame
}

fn assert_alike(left: &[Vec<u8>], right: &[Vec<u8>]) {
    assert_eq!(left.len(), right.len(), "number of frames");
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        assert!(atomic(left) == atomic(right), "frame {index} differs");
    }
}

/// Writes the checksums anew after a field has been changed.
fn mend(built: &mut Built) {
    if !built.is_ipv6 {
        built.frame[built.network + 10..][..2].fill(0);
        let checksum = !sum(built.ip_header());
        built.frame[built.network + 10..][..2].copy_from_slice(&checksum.to_be_bytes());
    }
    let field = built.transport + built.checksum_offset();
    built.frame[field..][..2].fill(0);
    let checksum = !sum(&[built.pseudo_header(), built.frame[built.transport..].to_vec()].concat());
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    built.frame[field..][..2].copy_from_slice(&checksum.to_be_bytes());
}

/// Two wire frames that may be joined, the second changed by `change` and given right checksums.
fn pair(recipe: &Recipe, change: impl FnOnce(&mut Built)) -> Vec<Vec<u8>> {
    let built = recipe.build();
    let size = recipe.payload.len().div_ceil(2) as u16;
    let mut frames = cut(&built.frame, &built.offload(size));
    let mut second = built.segment(frames.pop().unwrap());
    change(&mut second);
    mend(&mut second);
    vec![frames.pop().unwrap(), second.frame]
}

/// Why the second of two frames is not joined to the first.
fn refusal(frames: &[Vec<u8>], policy: ChecksumPolicy) -> NotMergeable {
    let mut merge = Merge::start(&frames[0], policy).unwrap();
    let before = format!("{merge:?}");
    let at = merge.header_len().min(frames[1].len());
    let reason = merge.push(&frames[1][..at], &frames[1][at..]).unwrap_err();
    assert_eq!(format!("{merge:?}"), before, "a refused frame leaves no trace");
    reason
}

fn plain(recipe: Recipe) -> Recipe {
    Recipe { vlan_tags: recipe.vlan_tags.min(1), network_options: 0, ..recipe }
}

fn variants() -> [Recipe; 4] {
    let of = |is_ipv6, is_udp| Recipe { is_ipv6, is_udp, tcp_flags: 0x10, vlan_tags: 1, ..tcp4(2_000) };
    [of(false, false), of(true, false), of(false, true), of(true, true)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The wire frames of any super-frame are joined into that super-frame again.
    #[test]
    fn what_was_cut_is_joined_into_the_same_super_frame(
        recipe in recipes().prop_map(plain), size in 1u16..3_000, policy in prop_oneof![Just(Verify), Just(Trust)],
    ) {
        let recipe = Recipe { tcp_flags: recipe.tcp_flags & !0x26, ..recipe };
        let size = size.max((recipe.payload.len() / MAX_FRAMES + 1) as u16);
        let built = recipe.build();
        let frames = cut(&built.frame, &built.offload(size));
        let joined = coalesce(&frames, policy);
        prop_assert_eq!(joined.len(), 1);
        let (frame, offload) = &joined[0];
        if frames.len() > 1 {
            prop_assert!(frame == &built.frame, "the super-frame");
            let ecn = !recipe.is_udp && recipe.tcp_flags & 0x80 != 0;
            prop_assert_eq!(offload, &Offload { ecn, ..built.offload(size) });
        } else {
            prop_assert!(frame == &frames[0], "the only frame");
            let has_payload = !recipe.payload.is_empty();
            prop_assert_eq!(offload, &Offload { data_valid: has_payload, ..Offload::default() });
        }
    }

    /// Flows mixed, frames lost, repeated, turned round and damaged: what leaves, cut again, is what came, byte
    /// for byte and in order.
    #[test]
    fn whatever_comes_leaves_in_order_and_unchanged(
        flows in proptest::collection::vec((recipes().prop_map(plain), 200u16..1_500), 1..4),
        picks in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..8), 1..20),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..8), 0..4),
    ) {
        let all: Vec<Vec<u8>> = flows
            .iter()
            .flat_map(|(recipe, size)| {
                let built = Recipe { payload: recipe.payload[..recipe.payload.len().min(9_000)].to_vec(), ..recipe.clone() }.build();
                cut(&built.frame, &built.offload(*size))
            })
            .collect();
        let mut frames: Vec<Vec<u8>> = picks
            .iter()
            .flat_map(|(at, run)| all[at.index(all.len())..].iter().take(*run).cloned())
            .collect();
        for (which, at, bit) in damage {
            let count = frames.len();
            let frame = &mut frames[which.index(count)];
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
        }
        assert_alike(&cut_all(&coalesce(&frames, Verify)), &frames);
    }

    /// One changed bit anywhere in the headers of the second frame, however right its checksums, keeps it out
    /// or comes out again.
    #[test]
    fn no_changed_bit_of_a_header_is_lost_in_joining(
        recipe in recipes().prop_map(plain), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let recipe = Recipe { tcp_flags: 0x10, payload: vec![7; 2_000], ..recipe };
        let frames = pair(&recipe, |second| {
            let at = at.index(second.payload);
            second.frame[at] ^= 1 << bit;
        });
        assert_alike(&cut_all(&coalesce(&frames, Verify)), &frames);
    }

    #[test]
    fn no_bytes_make_it_panic(
        recipe in recipes(),
        edits in proptest::collection::vec((0usize..130, any::<u8>()), 0..6),
        second in proptest::collection::vec(any::<u8>(), 0..200),
        len in any::<prop::sample::Index>(),
        policy in prop_oneof![Just(Verify), Just(Trust)],
    ) {
        let mut frame = recipe.build().frame;
        for (at, byte) in edits {
            if let Some(target) = frame.get_mut(at) {
                *target = byte;
            }
        }
        let short = frame[..len.index(frame.len() + 1)].to_vec();
        let joined = coalesce(&[frame.clone(), second, frame, short.clone(), short], policy);
        prop_assert!(!joined.is_empty());
    }
}

#[test]
fn each_difference_has_its_name() {
    for recipe in variants() {
        let refusal_of = |change: &dyn Fn(&mut Built)| refusal(&pair(&recipe, change), Verify);
        assert_eq!(refusal_of(&|second| second.frame[0] ^= 4), NotMergeable::Headers, "MAC address");
        assert_eq!(refusal_of(&|second| second.frame[15] ^= 1), NotMergeable::Headers, "VLAN");
        assert_eq!(refusal_of(&|second| second.frame[second.network + 1] ^= 1), NotMergeable::Headers, "ECN");
        assert_eq!(refusal_of(&|second| second.frame[second.transport] ^= 1), NotMergeable::Headers, "port");
        let longer = |second: &mut Built| second.frame.push(0);
        assert_eq!(refusal_of(&longer), NotMergeable::PayloadLength);
        let shorter = |second: &mut Built| _ = second.frame.pop();
        assert_eq!(refusal_of(&shorter), NotMergeable::HeaderLengths);
        if !recipe.is_ipv6 {
            let id = |second: &mut Built| second.frame[second.network + 5] ^= 2;
            assert_eq!(refusal_of(&id), NotMergeable::Identification);
        }
        if !recipe.is_udp {
            let sequence = |second: &mut Built| second.frame[second.transport + 7] ^= 1;
            assert_eq!(refusal_of(&sequence), NotMergeable::Sequence);
            let acknowledgement = |second: &mut Built| second.frame[second.transport + 11] ^= 1;
            assert_eq!(refusal_of(&acknowledgement), NotMergeable::Headers);
            let window = |second: &mut Built| second.frame[second.transport + 15] ^= 1;
            assert_eq!(refusal_of(&window), NotMergeable::Headers);
            let option = |second: &mut Built| second.frame[second.transport + 25] ^= 1;
            assert_eq!(refusal_of(&option), NotMergeable::Headers);
            let cwr = |second: &mut Built| second.frame[second.transport + 13] |= 0x80;
            assert_eq!(refusal_of(&cwr), NotMergeable::Cwr);
        }
    }
}

#[test]
fn a_wrong_checksum_stays_alone_if_it_is_verified_and_is_mended_if_it_is_trusted() {
    for recipe in variants() {
        let mut frames = pair(&recipe, |_| ());
        let right = frames.clone();
        let last = frames[1].len() - 1;
        frames[1][last] ^= 1;
        assert_eq!(refusal(&frames, Verify), NotMergeable::WrongChecksum);
        assert!(Merge::start(&frames[1], Verify).is_none(), "nor does it begin one");
        assert_eq!(coalesce(&frames, Trust).len(), 1);
        if !recipe.is_ipv6 {
            let mut frames = right;
            frames[1][14 + 4 + 10] ^= 1;
            assert_eq!(refusal(&frames, Verify), NotMergeable::WrongChecksum, "IPv4 header");
        }
    }
}

#[test]
fn a_shorter_frame_or_a_flag_ends_the_super_frame() {
    let recipe = Recipe { tcp_flags: 0x10, ..tcp4(2_500) };
    let built = recipe.build();
    let frames = cut(&built.frame, &built.offload(1_000));
    let mut merge = Merge::start(&frames[0], Verify).unwrap();
    let at = merge.header_len();
    for frame in &frames[1..] {
        assert!(!merge.is_closed());
        merge.push(&frame[..at], &frame[at..]).unwrap();
    }
    assert!(merge.is_closed());
    assert_eq!((merge.frames(), merge.payload_len(), merge.segment_size()), (3, 2_500, 1_000));
    assert_eq!(merge.push(&frames[0][..at], &frames[0][at..]), Err(NotMergeable::Closed));

    for flag in [0x01, 0x08] {
        let frames = pair(&variants()[0], |second| second.frame[second.transport + 13] |= flag);
        let joined = coalesce(&frames, Verify);
        assert_eq!(joined.len(), 1);
        assert_eq!(cut_all(&joined), frames, "the flag stands on the last frame");
        let closed = Merge::start(&frames[1], Verify).unwrap();
        assert!(closed.is_closed());
    }
}

#[test]
fn syn_rst_urg_and_an_empty_acknowledgement_begin_nothing() {
    for flag in [0x02, 0x04, 0x20] {
        let frames = pair(&variants()[0], |second| second.frame[second.transport + 13] |= flag);
        assert!(Merge::start(&frames[1], Trust).is_none());
        assert_eq!(refusal(&frames, Trust), NotMergeable::Headers);
    }
    let empty = Recipe { tcp_flags: 0x10, ..tcp4(0) }.build();
    assert!(Merge::start(&empty.frame, Trust).is_none());
}

#[test]
fn options_extension_headers_padding_and_a_second_tag_begin_nothing() {
    for recipe in variants() {
        assert!(Merge::start(&recipe.build().frame, Trust).is_some());
        let with_options = Recipe { network_options: 1, ..recipe.clone() }.build();
        assert!(Merge::start(&with_options.frame, Trust).is_none());
        assert!(Merge::start(&Recipe { vlan_tags: 2, ..recipe.clone() }.build().frame, Trust).is_none());
        let padded = [&recipe.build().frame[..], &[0]].concat();
        assert!(Merge::start(&padded, Trust).is_none());
    }
    let mut fragment = variants()[0].build();
    fragment.frame[fragment.network + 6] = 0x20;
    assert!(Merge::start(&fragment.frame, Trust).is_none());
}

#[test]
fn an_identification_may_stand_still_only_under_dont_fragment_and_not_begin_to_grow() {
    let built = Recipe { tcp_flags: 0x10, ..tcp4(3_000) }.build();
    let frames = cut(&built.frame, &built.offload(1_000));
    let with = |frame: &[u8], id: u16, flags: u8| {
        let mut wire = built.segment(frame.to_vec());
        wire.frame[wire.network + 4..][..2].copy_from_slice(&id.to_be_bytes());
        wire.frame[wire.network + 6] = flags;
        mend(&mut wire);
        wire.frame
    };
    let trio = |ids: [u16; 3], flags| -> Vec<Vec<u8>> {
        frames.iter().zip(ids).map(|(frame, id)| with(frame, id, flags)).collect()
    };
    let joined = |ids, flags| coalesce(&trio(ids, flags), Verify).len();
    assert_eq!(joined([0, 0, 0], 0x40), 1);
    assert_eq!(joined([9, 10, 11], 0x40), 1);
    assert_eq!(joined([u16::MAX, 0, 1], 0), 1);
    assert_eq!(joined([9, 9, 9], 0), 3);
    assert_eq!(joined([9, 9, 10], 0x40), 2);
    assert_eq!(joined([9, 10, 10], 0x40), 2);
    assert_eq!(joined([9, 10, 12], 0x40), 2);
}

#[test]
fn at_most_64_frames_and_65535_bytes_of_ip_are_joined() {
    let built = Recipe { tcp_flags: 0x10, ..tcp4(10_000) }.build();
    let joined = coalesce(&cut(&built.frame, &built.offload(100)), Verify);
    assert_eq!(joined.len(), 2);
    assert_eq!(joined[0].0.len() - built.payload, 100 * MAX_FRAMES);

    for recipe in variants() {
        let first = Recipe { payload: vec![1; 64_000], ..recipe.clone() }.build();
        let mut frames = cut(&first.frame, &first.offload(1_600));
        assert_eq!(frames.len(), 40);
        let step = first.segment(frames[39].clone());
        let mut next = step.clone();
        if !next.is_udp {
            let sequence = recipe.sequence.wrapping_add(64_000);
            next.frame[next.transport + 4..][..4].copy_from_slice(&sequence.to_be_bytes());
        }
        if !next.is_ipv6 {
            let id = recipe.id.wrapping_add(40);
            next.frame[next.network + 4..][..2].copy_from_slice(&id.to_be_bytes());
        }
        mend(&mut next);
        frames.push(next.frame);
        let mut merge = Merge::start(&frames[0], Verify).unwrap();
        let at = merge.header_len();
        for frame in &frames[1..40] {
            merge.push(&frame[..at], &frame[at..]).unwrap();
        }
        assert_eq!(merge.push(&frames[40][..at], &frames[40][at..]), Err(NotMergeable::Full));
    }
}

#[test]
fn udp_without_a_checksum_is_never_joined() {
    for recipe in &variants()[2..] {
        let mut frames = pair(recipe, |_| ());
        let field = recipe.build().transport + 6;
        frames[1][field..][..2].fill(0);
        assert_eq!(refusal(&frames, Trust), NotMergeable::ChecksumAbsent);
        frames[0][field..][..2].fill(0);
        assert!(Merge::start(&frames[0], Trust).is_none());
    }
}
