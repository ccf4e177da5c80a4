//! The close watch over a proven circuit: what degrades it, what does not.

use proptest::prelude::*;
use vreserve_model::BitsPerSecond;

use super::*;

const PROVEN: Proven = Proven { rtt: Duration::from_millis(1), rate: BitsPerSecond(100_000_000) };

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A circuit that is proven at 1 s: `way` says for a time in ms how long a probe sent then takes, none if it
/// is lost; `carried` how many octets guests have sent by then. Returns the changes with their times.
struct Watched<'a> {
    way: &'a mut dyn FnMut(u64) -> Option<u64>,
    carried: &'a dyn Fn(u64) -> u64,
    /// Whether the watching worker gets a turn.
    is_awake: &'a dyn Fn(u64) -> bool,
}

impl<'a> Watched<'a> {
    fn over(way: &'a mut dyn FnMut(u64) -> Option<u64>) -> Self {
        Watched { way, carried: &|_| 0, is_awake: &|_| true }
    }

    fn changes(self, until: u64) -> (Liveness, Vec<(u64, LinkHealth)>) {
        let mut watch = Liveness::new(LinkId(3), LivenessConfig::default(), Timestamp::ZERO);
        let (mut replies, mut changes, mut nonce) = (Vec::<(u64, Signal)>::new(), Vec::new(), 0);
        for t in (0..until).filter(|t| (self.is_awake)(*t)) {
            for (_, probe) in replies.extract_if(.., |reply| reply.0 <= t) {
                watch.handle_reply(probe.nonce, probe.stamp, at(t));
            }
            if t == 1000 {
                watch.watch_closely(PROVEN, at(t));
            }
            nonce += 1;
            if let Some(probe) = watch.poll_probe(at(t), || nonce) {
                if t >= 1000 {
                    watch.handle_carried(at(t), (self.carried)(t), 0);
                }
                replies.extend((self.way)(t).map(|rtt| (t + rtt, probe)));
            }
            changes.extend(watch.poll_change(at(t)).map(|health| (t, health)));
        }
        (watch, changes)
    }
}

/// When a circuit that loses this share from 2 s on is degraded.
fn degraded_at(loss: f64, seed: u64, until: u64) -> Option<u64> {
    let mut dice = Dice(seed);
    let mut way = |t| (t < 2000 || dice.share() >= loss).then_some(1);
    let (_, changes) = Watched::over(&mut way).changes(until);
    changes.into_iter().find(|(_, health)| *health == LinkHealth::Degraded).map(|(t, _)| t)
}

#[test]
fn a_circuit_that_begins_to_lose_four_of_ten_is_degraded_within_a_second() {
    let times: Vec<u64> = (0..200).map(|seed| degraded_at(0.4, seed, 6000).unwrap() - 2000).collect();
    let in_time = times.iter().filter(|millis| **millis <= 1000).count();
    let mean = times.iter().sum::<u64>() / 200;
    assert!(in_time >= 195 && mean < 750, "{in_time} of 200 within a second, {mean} ms on average");
}

#[test]
fn a_circuit_that_loses_one_in_a_hundred_is_left_alone() {
    for seed in 0..20 {
        assert_eq!(degraded_at(0.01, seed, 60_000), None, "seed {seed}");
    }
}

#[test]
fn the_reason_is_named_and_ends_with_the_loss() {
    let mut dice = Dice(1);
    let mut way = |t| (!(2000..4000).contains(&t) || dice.share() >= 0.4).then_some(1);
    let (watch, changes) = Watched::over(&mut way).changes(8000);
    let health: Vec<_> = changes.iter().map(|(_, health)| *health).collect();
    assert_eq!(health, [LinkHealth::Up, LinkHealth::Degraded, LinkHealth::Up], "{changes:?}");
    assert_eq!(watch.degradation(at(8000)), None);
    let mut way = |t| (t < 2000 || t / 50 % 2 == 0).then_some(1);
    let (watch, _) = Watched::over(&mut way).changes(3000);
    let reason = watch.degradation(at(3000)).unwrap().to_string();
    assert!(reason.ends_with(" of its last 40 probes were lost"), "{reason}");
}

#[test]
fn an_outage_of_a_quarter_of_a_second_and_a_dead_link_are_no_degradation() {
    let mut short = |t| (!(2000..2270).contains(&t)).then_some(1);
    assert_eq!(Watched::over(&mut short).changes(5000).1, [(1, LinkHealth::Up)]);
    let mut dead = |t| (t < 2000).then_some(1);
    let (_, changes) = Watched::over(&mut dead).changes(5000);
    assert_eq!(
        changes.iter().map(|(_, health)| *health).collect::<Vec<_>>(),
        [LinkHealth::Up, LinkHealth::Down]
    );
    assert!(changes[1].0 <= 3000, "{changes:?}");
}

#[test]
fn late_nodes_on_either_side_lose_nothing() {
    // The far node answers in bursts every 80 ms; this one gets turns for 30 ms in 60.
    let mut bursts = |t: u64| Some(80 - t % 80);
    let (_, changes) = Watched { is_awake: &|t| t % 60 < 30, ..Watched::over(&mut bursts) }.changes(20_000);
    assert!(changes.iter().all(|(_, health)| *health == LinkHealth::Up), "{changes:?}");
}

#[test]
fn round_trips_far_above_the_proven_one_for_a_second_degrade() {
    let mut slow = |t| Some(if t < 2000 { 1 } else { 250 });
    let (watch, changes) = Watched::over(&mut slow).changes(5000);
    assert_eq!(changes.last().unwrap().1, LinkHealth::Degraded, "{changes:?}");
    assert!((3200..3500).contains(&changes.last().unwrap().0), "{changes:?}");
    let reason = watch.degradation(at(5000)).unwrap().to_string();
    assert_eq!(reason, "its round trip was 1.0 ms when proven and is 250 ms for a second");
    // One short one in half a second, and it may go on.
    let mut mixed = |t| Some(if t < 2000 || t % 500 < 50 { 1 } else { 250 });
    assert_eq!(Watched::over(&mut mixed).changes(8000).1, [(1, LinkHealth::Up)]);
}

#[test]
fn a_full_circuit_may_lose_and_delay_and_an_idle_one_may_not() {
    // 12 MB/s of 12.5 are carried from 1.5 s to 4 s; probes suffer from 2 s on.
    let carried = |t: u64| 12_000 * t.clamp(1500, 4000);
    for (loss, rtt) in [(0.5, 1), (0.0, 300)] {
        let mut dice = Dice(3);
        let mut way = |t| (t < 2000 || dice.share() >= loss).then_some(if t < 2000 { 1 } else { rtt });
        let (_, changes) = Watched { carried: &carried, ..Watched::over(&mut way) }.changes(8000);
        let degraded = changes.iter().find(|(_, health)| *health == LinkHealth::Degraded).unwrap().0;
        assert!((4000..5800).contains(&degraded), "{changes:?}");
    }
}

#[test]
fn a_worker_without_rest_blames_itself() {
    let mut watch = Liveness::new(LinkId(3), LivenessConfig::default(), at(0));
    watch.watch_closely(PROVEN, at(0));
    for t in 0..3000 {
        if let Some(probe) = watch.poll_probe(at(t), || t)
            && t / 20 % 2 == 0
        {
            assert!(watch.handle_reply(t, probe.stamp, at(t)));
            watch.handle_busy(at(t));
        }
    }
    assert_eq!(watch.degradation(at(3000)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn only_what_was_lost_is_held_against_a_circuit(rtts in proptest::collection::vec(1_u64..90, 1..50)) {
        let mut turn = 0;
        let mut way = |_| {
            turn += 1;
            Some(rtts[turn % rtts.len()])
        };
        let (_, changes) = Watched::over(&mut way).changes(6000);
        prop_assert_eq!(changes.len(), 1, "{:?}", changes);
    }
}
