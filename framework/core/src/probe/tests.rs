//! Proofs over simulated circuits: two pipes with a rate, a queue and a delay, and two nodes whose workers
//! may be late.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::signal::SignalKind;

const LINK: LinkId = LinkId(1);
const FULL: usize = 1514;
const GIGABIT: f64 = 1e9;
/// One turn of either node's worker.
const TURN: Duration = Duration::from_micros(50);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn rate_of(bits: f64) -> BitsPerSecond {
    BitsPerSecond(bits as u64)
}

/// One direction of a circuit.
struct Pipe {
    /// Bits per second.
    rate: f64,
    /// Octets; what finds no room is lost.
    queue: f64,
    delay: Duration,
    free_at: Timestamp,
    under_way: VecDeque<(Timestamp, Signal, usize)>,
}

impl Pipe {
    fn new(rate: f64, queue: f64, delay: Duration) -> Self {
        Pipe { rate, queue, delay, free_at: Timestamp::ZERO, under_way: VecDeque::new() }
    }

    fn put(&mut self, now: Timestamp, signal: Signal, length: usize) {
        let backlog = self.free_at.since(now).as_secs_f64() * self.rate / 8.0;
        if backlog <= self.queue {
            let takes = Duration::from_secs_f64(length as f64 * 8.0 / self.rate);
            self.free_at = self.free_at.max(now) + takes;
            self.under_way.push_back((self.free_at + self.delay, signal, length));
        }
    }

    fn take(&mut self, now: Timestamp) -> Option<(Signal, usize)> {
        let (due, ..) = self.under_way.front()?;
        if *due > now {
            return None;
        }
        self.under_way.pop_front().map(|(_, signal, length)| (signal, length))
    }
}

/// A circuit and what its ends are like.
struct Scene<'a> {
    there: Pipe,
    back: Pipe,
    rate: f64,
    /// Whether this node's worker gets a turn.
    is_awake: &'a dyn Fn(Timestamp) -> bool,
    is_far_awake: &'a dyn Fn(Timestamp) -> bool,
    /// Frames that the far node's worker handles in a turn.
    far_pace: usize,
    /// What the far node's reply to the n-th signal becomes; none if it is lost.
    carry: &'a dyn Fn(usize, Signal, usize) -> Option<(Signal, usize)>,
}

struct Proved {
    outcome: ProofOutcome,
    took: Duration,
    /// When each load was sent.
    loads: Vec<Timestamp>,
}

impl Scene<'_> {
    fn healthy() -> Self {
        Scene::of(GIGABIT)
    }

    /// A circuit that was reserved at a gigabit and delivers so much.
    fn of(delivered: f64) -> Self {
        let pipe = || Pipe::new(delivered, 4e6, Duration::from_micros(200));
        Scene {
            there: pipe(),
            back: pipe(),
            rate: GIGABIT,
            is_awake: &|_| true,
            is_far_awake: &|_| true,
            far_pace: usize::MAX,
            carry: &|_, signal, length| Some((signal, length)),
        }
    }

    fn prove(mut self) -> Proved {
        let begun = at(1);
        let mut proof = CircuitProof::new(
            LINK,
            ProofConfig::for_frames_of(FULL, rate_of(self.rate), RateTerms::default()),
            begun,
        );
        let (mut nonce, mut answered, mut idle, mut far_idle) = (0, 0, 0, 0);
        let (mut counter, mut loads, mut now) = (LoadCounter::default(), Vec::new(), begun);
        while now < at(30_000) {
            if (self.is_far_awake)(now) {
                let mut handled = 0;
                while handled < self.far_pace
                    && let Some((signal, length)) = self.there.take(now)
                {
                    handled += 1;
                    let reply = match signal.kind {
                        SignalKind::Load => counter.handle_load(&signal, now, far_idle),
                        _ => signal.answer(),
                    };
                    if let Some((reply, length)) = (self.carry)(answered, reply.unwrap(), length) {
                        self.back.put(now, reply, length);
                    }
                    answered += 1;
                }
                far_idle += u64::from(handled < self.far_pace);
            }
            if (self.is_awake)(now) {
                while let Some((reply, length)) = self.back.take(now) {
                    if reply.kind == SignalKind::LoadReply {
                        assert!(proof.handle_load_reply(&reply, length, now, idle));
                    } else {
                        assert!(proof.handle_reply(reply.nonce, reply.stamp, length, now));
                        assert!(!proof.handle_reply(reply.nonce, reply.stamp, length, now), "replay");
                    }
                }
                idle += 1;
                let mut fresh = || {
                    nonce += 1;
                    nonce
                };
                while let Some(ProbeFrame { signal, length }) = proof.poll_probe(now, &mut fresh) {
                    loads.extend((signal.kind == SignalKind::Load).then_some(now));
                    self.there.put(now, signal, length);
                }
                if let Some(outcome) = proof.outcome(now) {
                    return Proved { outcome, took: now.since(begun), loads };
                }
            }
            now = now + TURN;
        }
        panic!("the proof never ended");
    }
}

/// Loses or shortens replies; the n-th is the n-th signal that the far node answers, the knock being the 0th.
fn over(carry: impl Fn(usize, usize) -> Option<usize>) -> ProofOutcome {
    let carry = |n: usize, signal, length| carry(n, length).map(|length| (signal, length));
    Scene { carry: &carry, rate: 0.0, ..Scene::healthy() }.prove().outcome
}

#[test]
fn a_good_circuit_is_proven_within_a_fifth_of_a_second() {
    let Proved { outcome, took, .. } = Scene::healthy().prove();
    assert!(outcome.is_proven(), "{outcome}");
    assert_eq!((outcome.sent, outcome.received, outcome.full_size_received), (20, 20, 10));
    assert!(took < Duration::from_millis(200), "took {took:?}");
    let rate = outcome.rate.unwrap();
    assert!(rate.offered > 0.96 * GIGABIT && rate.back > 0.96 * GIGABIT && rate.attempts == 1, "{rate:?}");
    let text = outcome.to_string();
    assert!(text.starts_with("20 of 20 probes answered, 10 of 10 at 1514 octets, median 0."), "{text}");
    assert!(text.contains("of 1000.0 Mbit/s, 96"), "{text}");
}

#[test]
fn a_circuit_that_first_shakes_hands_is_measured_from_its_first_answer() {
    let shaking = |n: usize, signal, length| (n >= 75).then_some((signal, length));
    let Proved { outcome, took, .. } = Scene { carry: &shaking, ..Scene::healthy() }.prove();
    assert!(outcome.is_proven() && outcome.loss == 0.0, "{outcome}");
    assert!((Duration::from_millis(1500)..Duration::from_millis(1800)).contains(&took), "took {took:?}");
}

#[test]
fn a_silent_circuit_is_refused_when_the_patience_is_over() {
    let Proved { outcome, took, loads } = Scene { carry: &|_, _, _| None, ..Scene::healthy() }.prove();
    assert_eq!((outcome.finding, outcome.loss, outcome.rtt_min), (Finding::Silent, 1.0, None));
    assert_eq!(took, Duration::from_secs(5));
    assert_eq!(outcome.to_string(), "none of 250 probes was answered");
    assert!(loads.is_empty());
}

#[test]
fn a_circuit_too_narrow_in_either_direction_is_refused_and_says_so() {
    let one_way = over(|_, length| (length < FULL).then_some(length));
    let other_way = over(|_, length| Some(length.min(1400)));
    assert_eq!((one_way.finding, other_way.finding), (Finding::TooNarrow, Finding::TooNarrow));
    assert!(one_way.to_string().contains("none of full length (1514 octets)"));
}

#[test]
fn two_lost_of_twenty_are_accepted_and_three_are_not() {
    let two = over(|n, length| (n == 0 || n > 2).then_some(length));
    let three = over(|n, length| (n == 0 || n > 3).then_some(length));
    assert!(two.is_proven() && two.rate.is_none());
    assert_eq!(three.finding, Finding::Lossy);
    assert_eq!(three.to_string(), "only 17 of 20 probes answered, 90 % wanted");
}

#[test]
fn a_tenth_of_the_rate_is_too_slow_however_long_the_queue() {
    for queue in [20e3, 4e6, 100e6] {
        let mut scene = Scene::of(0.1 * GIGABIT);
        (scene.there.queue, scene.back.queue) = (queue, queue);
        let Proved { outcome, took, .. } = scene.prove();
        assert_eq!(outcome.finding, Finding::TooSlow, "{outcome}");
        let rate = outcome.rate.unwrap();
        assert!(rate.back < 0.15 * GIGABIT && rate.attempts == 3, "{rate:?}");
        assert!(took < Duration::from_secs(3), "took {took:?}");
        assert!(outcome.to_string().ends_with("came back, 90 % wanted, 3 times"), "{outcome}");
    }
}

#[test]
fn one_slow_direction_is_enough_and_is_told_from_the_other() {
    let mut scene = Scene::healthy();
    scene.back.rate = 0.5 * GIGABIT;
    let rate = scene.prove().outcome.rate.unwrap();
    assert!(rate.there > 0.9 * GIGABIT && rate.back < 0.6 * GIGABIT, "{rate:?}");
    let mut scene = Scene::healthy();
    scene.there.rate = 0.5 * GIGABIT;
    let outcome = scene.prove().outcome;
    assert!(outcome.finding == Finding::TooSlow && outcome.rate.unwrap().there < 0.6 * GIGABIT, "{outcome}");
}

#[test]
fn a_sender_that_is_late_is_judged_by_what_it_sent_and_never_catches_up_in_a_burst() {
    // 6 ms of turns, then 9 ms without one.
    let is_awake = |now: Timestamp| now.0 / 1_000_000 % 15 < 6;
    let Proved { outcome, loads, .. } = Scene { is_awake: &is_awake, ..Scene::healthy() }.prove();
    assert!(outcome.is_proven(), "{outcome}");
    let rate = outcome.rate.unwrap();
    assert!(rate.offered < 0.7 * GIGABIT, "{rate:?}");
    let most = loads.chunk_by(|one, other| one == other).map(<[_]>::len).max().unwrap();
    assert!(most as f64 * FULL as f64 * 8.0 <= 0.0021 * GIGABIT, "{most} loads at once");
}

#[test]
fn a_late_sender_does_not_hide_a_slow_circuit() {
    let is_awake = |now: Timestamp| now.0 / 1_000_000 % 15 < 6;
    let outcome = Scene { is_awake: &is_awake, ..Scene::of(0.1 * GIGABIT) }.prove().outcome;
    assert_eq!(outcome.finding, Finding::TooSlow, "{outcome}");
}

#[test]
fn a_far_node_that_is_held_up_does_not_make_the_circuit_slow() {
    // 20 ms without a turn, at every possible moment of the run.
    for begin in (90..190).step_by(7) {
        let is_far_awake = |now: Timestamp| !(begin..begin + 20).contains(&(now.0 / 1_000_000));
        let outcome = Scene { is_far_awake: &is_far_awake, ..Scene::healthy() }.prove().outcome;
        assert!(outcome.is_proven(), "held up at {begin} ms: {outcome}");
    }
}

#[test]
fn a_far_node_that_cannot_take_the_rate_is_not_taken_for_a_slow_circuit() {
    // Two frames in 50 us are half of what comes.
    let outcome = Scene { far_pace: 2, ..Scene::healthy() }.prove().outcome;
    assert!(outcome.is_proven(), "{outcome}");
    let outcome = Scene { far_pace: 2, ..Scene::of(0.1 * GIGABIT) }.prove().outcome;
    assert_eq!(outcome.finding, Finding::TooSlow, "{outcome}");
}

#[test]
fn what_is_sent_is_bounded_whatever_was_reserved() {
    for rate in [1e11, 1e18] {
        let Proved { loads, took, .. } = Scene { rate, ..Scene::healthy() }.prove();
        let octets = loads.len() * FULL;
        assert!(octets <= 3 * (8 << 20), "{octets} octets at {rate}");
        assert!(took < Duration::from_secs(4), "took {took:?}");
    }
}

#[test]
fn a_rate_too_low_to_measure_in_the_time_is_left_to_the_burst() {
    let Proved { outcome, loads, .. } = Scene { rate: 1e6, ..Scene::healthy() }.prove();
    assert!(outcome.is_proven() && outcome.rate.is_none() && loads.is_empty());
}

#[test]
fn replies_that_were_not_asked_for_prove_nothing() {
    let config = ProofConfig::for_frames_of(FULL, rate_of(GIGABIT), RateTerms::default());
    let mut proof = CircuitProof::new(LINK, config, Timestamp::ZERO);
    let knock = proof.poll_probe(Timestamp::ZERO, || 9).unwrap().signal;
    assert!(!proof.handle_reply(8, knock.stamp, 60, Timestamp(5)), "another nonce");
    assert!(!proof.handle_reply(9, Timestamp(1), 60, Timestamp(5)), "another time");
    let load = Signal::load(LINK, 9, 0, Timestamp::ZERO).answer().unwrap();
    assert!(!proof.handle_load_reply(&load, FULL, Timestamp(5), 0), "nothing is measured yet");
    assert_eq!(proof.poll_at(Timestamp(5)), at(20));
    assert!(proof.handle_reply(9, knock.stamp, 60, Timestamp(5)));
    assert_eq!(proof.poll_at(Timestamp(5)), Timestamp(5), "the burst begins at once");
}

#[test]
fn a_far_node_counts_one_measurement_at_a_time_and_answers_no_answers() {
    let mut counter = LoadCounter::default();
    let load = |nonce, number| Signal::load(LINK, nonce, number, at(1));
    let mark = |signal: Option<Signal>| signal.unwrap().load;
    assert_eq!(mark(counter.handle_load(&load(1, 0), at(5), 10)).counted, 1);
    let second = mark(counter.handle_load(&load(1, 1), at(7), 13));
    assert_eq!((second.number, second.counted, second.elapsed_us, second.idle), (1, 2, 2000, 3));
    assert_eq!(mark(counter.handle_load(&load(2, 0), at(9), 14)).counted, 1);
    let reply = load(2, 1).answer().unwrap();
    assert_eq!(counter.handle_load(&reply, at(9), 14), None);
    assert_eq!(counter.handle_load(&Signal::probe(LINK, 2, at(1)), at(9), 14), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_verdict_goes_by_the_share_delivered(
        share in prop_oneof![0.03..0.8, 1.0..4.0_f64],
        queue in 50e3..5e6_f64,
        delay_us in 20..60_000_u64,
        rate in 20e6..2e9_f64,
    ) {
        let mut scene = Scene::of(share * rate);
        scene.rate = rate;
        for pipe in [&mut scene.there, &mut scene.back] {
            (pipe.queue, pipe.delay) = (queue, Duration::from_micros(delay_us));
        }
        let outcome = scene.prove().outcome;
        prop_assert_eq!(outcome.is_proven(), share > 0.9, "{}", outcome);
    }

    /// A far node that says what it likes gets no circuit proven whose replies come back too slowly.
    #[test]
    fn no_mark_of_a_far_node_makes_replies_come_faster(
        counted: u32, elapsed_us: u32, idle in 1000_u32.., number_shift in 0_u32..3,
    ) {
        let lie = move |_: usize, mut signal: Signal, length| {
            if signal.kind == SignalKind::LoadReply {
                signal.load.number = signal.load.number.saturating_sub(number_shift);
                (signal.load.counted, signal.load.elapsed_us, signal.load.idle) = (counted, elapsed_us, idle);
            }
            Some((signal, length))
        };
        let outcome = Scene { carry: &lie, ..Scene::of(0.1 * GIGABIT) }.prove().outcome;
        prop_assert_eq!(outcome.finding, Finding::TooSlow, "{}", outcome);
    }
}
