//! Edges on a virtual clock.

use proptest::prelude::*;
use vreserve_sdk::model::MacAddr;

use super::*;

fn pair(n: u8) -> Pair {
    Pair { source: MacAddr([2, 0, 0, 0, 1, n]), destination: MacAddr([2, 0, 0, 0, 2, n]) }
}

fn rates(mbps: &[f64]) -> Vec<(Pair, Rate)> {
    let cells = mbps.iter().zip(0..).filter(|(mbps, _)| **mbps > 0.0);
    cells.map(|(mbps, n)| (pair(n), Rate { bits: mbps * 1e6, frames: 1.0 })).collect()
}

fn edges() -> Edges {
    Edges::new(&Config::default())
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn names(demands: &[Demand]) -> Vec<u8> {
    let edges = demands.iter().filter(|demand| demand.confidence > 0.0);
    let mut names: Vec<_> = edges.map(|demand| demand.source.0[5]).collect();
    names.sort_unstable();
    names
}

#[test]
fn acknowledgements_and_noise_are_pruned_but_stay_on_record() {
    let Believed { demands, strengths } = edges().step(Timestamp::ZERO, &rates(&[100.0, 2.5, 30.0, 0.01]));
    assert_eq!(names(&demands), [0, 2]);
    assert_eq!((demands.len(), strengths.len()), (4, 2));
    assert_eq!(demands[0].rate, BitsPerSecond(100_000_000));
    assert!(demands.is_sorted_by_key(|demand| std::cmp::Reverse(demand.rate)));
    assert!(demands[0].confidence > demands[1].confidence && demands[1].confidence > 0.5);
    let noise = edges().step(Timestamp::ZERO, &rates(&[0.05, 0.04])).demands;
    assert_eq!(names(&noise), [0_u8; 0], "all noise");
}

#[test]
fn an_edge_is_held_with_falling_confidence_and_then_gone() {
    let mut edges = edges();
    edges.step(Timestamp::ZERO, &rates(&[100.0]));
    let held = edges.step(at(1_500), &[]).demands;
    assert_eq!(names(&held), [0]);
    assert_eq!(held[0].rate, BitsPerSecond(0));
    assert!(held[0].confidence < 0.2);
    assert_eq!(edges.step(at(1_500), &[]).demands, held, "the same again at the same instant");
    assert!(edges.step(at(2_000), &[]).demands.is_empty());
    assert_eq!(edges.changed(), at(2_000));
}

#[test]
fn the_strength_of_an_edge_averages_over_its_pauses() {
    let mut edges = edges();
    let mut strength = 0.0;
    for step in 0..24_u64 {
        let is_paused = step % 4 == 3;
        let believed = edges.step(at(step * 500), &rates(&[100.0, if is_paused { 0.0 } else { 20.0 }]));
        assert_eq!(names(&believed.demands), [0, 1]);
        strength = believed.strengths.iter().find(|(edge, _)| *edge == pair(1)).unwrap().1;
    }
    assert!((12e6..18e6).contains(&strength), "{strength}");
}

#[test]
fn what_comes_too_often_stays_at_its_rate_until_it_has_held_still() {
    let mut edges = edges();
    // 4 s on, 6 s off: six times a minute.
    let is_on = |millis: u64| millis % 10_000 < 4_000 && millis < 60_000;
    let mut gone = Vec::new();
    let mut before = false;
    for millis in (0..180_000).step_by(500) {
        let demands =
            edges.step(at(millis), &rates(&[100.0, if is_on(millis) { 50.0 } else { 0.0 }])).demands;
        let edge = demands.iter().find(|demand| demand.source == pair(1).source && demand.confidence > 0.0);
        if (20_000..60_000).contains(&millis) {
            assert_eq!(edge.map(|edge| edge.rate), Some(BitsPerSecond(50_000_000)), "at {millis}");
            assert_eq!(edges.in_union(), 1);
        }
        if before && edge.is_none() {
            gone.push(millis);
        }
        before = edge.is_some();
    }
    // Twice it is followed; after the last onset, at 50 s, it stays for a minute.
    assert_eq!(gone, [5_500, 15_500, 110_000]);
    assert_eq!(edges.in_union(), 0);
}

#[test]
fn an_edge_that_changes_slower_than_the_limit_is_followed() {
    let mut edges = edges();
    for millis in (0..300_000).step_by(500) {
        let is_on = millis % 31_000 < 15_000;
        let demands = edges.step(at(millis), &rates(&[if is_on { 50.0 } else { 0.0 }])).demands;
        assert_eq!(edges.in_union(), 0);
        assert_eq!(demands.len(), usize::from(millis % 31_000 < 16_500), "at {millis}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut edges = Edges::new(&Config { max_pairs: 10, ..Config::default() });
    for turn in 0..100_u8 {
        let scanned = (pair(turn), Rate { bits: 1e6, frames: 1.0 });
        let demands = edges.step(at(u64::from(turn) * 3_000), &[scanned]).demands;
        assert_eq!(demands.len(), 1);
        assert!(edges.edges.len() <= 10);
    }
}

proptest! {
    #[test]
    fn alternation_faster_than_the_hold_shows_as_one_fixed_union(period_ms in 100_u64..1_900) {
        let mut edges = edges();
        let mut settled = None;
        for step in 0..80_u64 {
            let now = at(step * 100);
            let first = (step * 100 / period_ms).is_multiple_of(2);
            let demands = edges.step(now, &rates(if first { &[100.0, 0.0] } else { &[0.0, 100.0] })).demands;
            if step * 100 >= period_ms {
                prop_assert_eq!(names(&demands), vec![0, 1]);
                let changed = *settled.get_or_insert(edges.changed());
                prop_assert_eq!(edges.changed(), changed);
            }
        }
    }

    /// Several topologies that follow one another at any pace settle on their union, or are followed at less
    /// than the limit.
    #[test]
    fn whatever_unfolds_no_edge_goes_more_often_than_the_limit_allows(
        phase_ms in 200_u64..30_000,
        topologies in 2_u8..5,
    ) {
        let config = Config::default();
        let mut edges = Edges::new(&config);
        let mut went = vec![Vec::new(); usize::from(topologies)];
        let mut before = Vec::new();
        for millis in (0..600_000_u64).step_by(500) {
            let on = (millis / phase_ms % u64::from(topologies)) as usize;
            let mut mbps = vec![0.0; usize::from(topologies)];
            mbps[on] = 50.0;
            let now = names(&edges.step(at(millis), &rates(&mbps)).demands);
            for edge in before.iter().filter(|edge| !now.contains(edge)) {
                went[usize::from(*edge)].push(millis);
            }
            before = now;
        }
        for times in went {
            // Never more than it takes to see the limit, in any period.
            let period = config.union_period.as_millis() as u64;
            let most = times.iter().map(|from| {
                times.iter().filter(|time| (*from..from + period).contains(*time)).count()
            }).max().unwrap_or(0);
            prop_assert!(most <= config.union_after, "{} times within {} s: {:?}", most, period / 1000, times);
        }
    }
}
