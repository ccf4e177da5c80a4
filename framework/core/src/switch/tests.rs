//! One switch at a time, step by step; `tests/switch_order.rs` runs whole networks of them.

use super::*;
use crate::signal::SignalKind;

const CIRCUIT: LinkId = LinkId(9);
const OLD: Path = Path::Star;
const NEW: Path = Path::Link(CIRCUIT);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn begin(hold_bytes: usize) -> Switch<u32> {
    let spec = SwitchSpec {
        id: SwitchId(1),
        source: MacAddr([2, 0, 0, 0, 0, 0xa]),
        destination: MacAddr([2, 0, 0, 0, 0, 0xb]),
        circuit: Some(CIRCUIT),
        old: OLD,
        new: NEW,
    };
    Switch::begin(spec, SwitchLimits { hold_bytes, ..SwitchLimits::default() }, at(0))
}

/// A frame of 100 octets that carries its number.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0; 100];
    frame[..4].copy_from_slice(&number.to_be_bytes());
    frame
}

fn hold(switch: &mut Switch<u32>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        assert_eq!(switch.admit(&frame(number), number, at(1)), Admission::Held);
    }
}

/// What waits, as paths and numbers; checks that each frame still has its octets.
fn waiting(switch: &Switch<u32>) -> Vec<(Path, u32)> {
    let check = |held: HeldFrame<'_, u32>| {
        assert_eq!(held.frame, frame(held.meta));
        (held.path, held.meta)
    };
    switch.waiting().map(check).collect()
}

#[test]
fn held_frames_leave_on_the_new_path_before_later_ones() {
    let mut switch = begin(10_000);
    let barrier = switch.poll(at(0), || 77).unwrap();
    assert_eq!((barrier.kind, barrier.nonce, barrier.link), (SignalKind::Barrier, 77, CIRCUIT));
    assert_eq!((barrier.source, barrier.destination), (switch.spec().source, switch.spec().destination));
    hold(&mut switch, 0..3);
    assert_eq!(waiting(&switch), [], "nothing may leave before the barrier has arrived");

    assert!(switch.handle_ack(77, at(20)));
    assert_eq!(switch.phase(), Phase::Draining);
    assert_eq!(switch.admit(&frame(3), 3, at(20)), Admission::Held, "later frames queue behind");
    switch.pop(2, at(21));
    assert_eq!(waiting(&switch), [(NEW, 2), (NEW, 3)], "a partial send goes on where it stopped");
    assert_eq!(switch.outcome(), None);
    switch.pop(2, at(25));

    assert_eq!(switch.admit(&frame(4), 4, at(25)), Admission::Pass(NEW));
    let outcome = switch.outcome().unwrap();
    assert_eq!(outcome.end, SwitchEnd::Completed);
    assert_eq!((outcome.held_frames, outcome.held_bytes, outcome.barriers), (4, 400, 1));
    assert_eq!((outcome.held_for, outcome.dropped), (Duration::from_millis(25), 0));
}

#[test]
fn a_switch_of_a_silent_pair_is_done_with_the_acknowledgement() {
    let mut switch = begin(10_000);
    switch.poll(at(0), || 1);
    assert!(switch.handle_ack(1, at(5)));
    assert_eq!(switch.phase(), Phase::Done);
    assert_eq!(switch.poll_at(), None);
}

#[test]
fn a_lost_barrier_is_repeated_with_its_nonce_until_the_switch_is_given_up() {
    let mut switch = begin(10_000);
    hold(&mut switch, 0..2);
    let mut sent = Vec::new();
    for millis in 0..3000 {
        let barrier = switch.poll(at(millis), || 5 + millis);
        sent.extend(barrier.map(|barrier| (millis, barrier.nonce)));
    }
    assert_eq!(sent.len(), 30);
    assert!(sent.iter().enumerate().all(|(nth, sent)| *sent == (nth as u64 * 100, 5)));

    assert_eq!(switch.poll(at(3000), || 0), None);
    assert!(!switch.handle_ack(5, at(3001)), "too late: frames may already be on the old path");
    assert_eq!(waiting(&switch), [(OLD, 0), (OLD, 1)]);
    assert_eq!(switch.admit(&frame(2), 2, at(3001)), Admission::Held);
    switch.pop(3, at(3002));
    assert_eq!(switch.outcome().unwrap().end, SwitchEnd::Aborted(AbortReason::NoAcknowledgement));
    assert_eq!(switch.admit(&frame(3), 3, at(3003)), Admission::Pass(OLD));
}

#[test]
fn forged_and_early_acknowledgements_move_nothing() {
    let mut switch = begin(10_000);
    hold(&mut switch, 0..1);
    assert!(!switch.handle_ack(0, at(0)), "no barrier has been sent yet");
    switch.poll(at(0), || 7);
    assert!(!switch.handle_ack(8, at(1)));
    assert_eq!(waiting(&switch), []);
    assert!(switch.handle_ack(7, at(2)));
    assert!(!switch.handle_ack(7, at(3)), "replay");
}

#[test]
fn a_full_hold_is_flushed_to_the_old_path_and_a_fresh_barrier_follows() {
    let mut switch = begin(250);
    switch.poll(at(0), || 1);
    hold(&mut switch, 0..2);
    assert_eq!(switch.admit(&frame(2), 2, at(2)), Admission::Full);
    assert_eq!(switch.phase(), Phase::Flushing { attempt: 1 });
    assert!(!switch.handle_ack(1, at(2)), "frames follow that barrier now");
    assert_eq!(switch.poll(at(2), || 2), None, "the fresh barrier must not overtake held frames");
    assert_eq!(waiting(&switch), [(OLD, 0), (OLD, 1)]);
    switch.pop(2, at(3));
    assert_eq!(switch.admit(&frame(2), 2, at(3)), Admission::Pass(OLD));

    assert_eq!(switch.poll(at(4), || 2).map(|barrier| barrier.nonce), Some(2));
    assert_eq!(switch.phase(), Phase::Holding { attempt: 2 });
    assert!(!switch.handle_ack(1, at(5)), "the first barrier's acknowledgement is void");
    hold(&mut switch, 3..4);
    assert!(switch.handle_ack(2, at(6)));
    assert_eq!(waiting(&switch), [(NEW, 3)]);
}

#[test]
fn a_hold_that_keeps_filling_up_ends_the_switch_on_the_old_path() {
    let mut switch = begin(100);
    for attempt in 1..=5 {
        assert_eq!(switch.poll(at(0), || attempt).map(|barrier| barrier.nonce), Some(attempt));
        hold(&mut switch, 0..1);
        assert_eq!(switch.admit(&frame(1), 1, at(1)), Admission::Full);
        switch.pop(1, at(1));
    }
    assert_eq!(switch.outcome().unwrap().end, SwitchEnd::Aborted(AbortReason::HoldFull));
    assert_eq!(switch.outcome().unwrap().barriers, 5);
}

#[test]
fn a_frame_that_no_hold_can_take_still_passes_in_its_turn() {
    let huge = [0; 5000];
    let mut switch = begin(250);
    switch.poll(at(0), || 1);
    assert_eq!(switch.admit(&huge, 0, at(1)), Admission::Pass(OLD), "nothing is held before it");
    switch.poll(at(1), || 2);
    hold(&mut switch, 0..1);
    assert!(switch.handle_ack(2, at(2)));
    assert_eq!(switch.admit(&huge, 1, at(2)), Admission::Full);
    switch.pop(1, at(2));
    assert_eq!(switch.admit(&huge, 1, at(2)), Admission::Pass(NEW));
}

#[test]
fn a_blocked_path_drops_what_no_longer_fits_and_says_so() {
    let mut switch = begin(250);
    switch.poll(at(0), || 1);
    hold(&mut switch, 0..2);
    switch.handle_ack(1, at(1));
    assert_eq!(switch.admit(&frame(2), 2, at(1)), Admission::Full);
    switch.count_dropped(1);
    assert_eq!(waiting(&switch), [(NEW, 0), (NEW, 1)], "what is held stays held");
    switch.pop(2, at(2));
    assert_eq!(switch.outcome().unwrap().dropped, 1);
}

#[test]
fn the_death_of_the_old_path_sends_held_frames_to_the_new_one_at_once() {
    let mut switch = begin(10_000);
    switch.poll(at(0), || 1);
    hold(&mut switch, 0..2);
    switch.release(at(10));
    assert_eq!(waiting(&switch), [(NEW, 0), (NEW, 1)]);
    switch.pop(2, at(11));
    assert_eq!(switch.outcome().unwrap().end, SwitchEnd::Released);
    switch.abandon(at(12));
    assert_eq!(switch.phase(), Phase::Done, "a switch that has ended stays ended");
}

#[test]
fn the_death_of_the_new_path_sends_held_frames_back_even_half_way() {
    let mut switch = begin(10_000);
    switch.poll(at(0), || 1);
    hold(&mut switch, 0..3);
    switch.handle_ack(1, at(5));
    switch.pop(1, at(6));
    switch.abandon(at(7));
    assert_eq!(waiting(&switch), [(OLD, 1), (OLD, 2)]);
    switch.pop(2, at(8));
    assert_eq!(switch.outcome().unwrap().end, SwitchEnd::Aborted(AbortReason::NewPathDown));
    switch.release(at(9));
    assert_eq!(switch.phase(), Phase::Aborted);
}

#[test]
fn poll_at_names_the_time_at_which_poll_acts() {
    let mut switch = begin(250);
    assert_eq!(switch.poll_at(), Some(at(0)));
    switch.poll(at(10), || 1);
    assert_eq!(switch.poll_at(), Some(at(110)));
    switch.poll(at(2950), || 1);
    assert_eq!(switch.poll_at(), Some(at(3000)), "giving up comes before the next repetition");
}
