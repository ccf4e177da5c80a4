//! Nodes, reports and the lead together, on a virtual clock.

use std::time::Duration;

use proptest::prelude::*;
use vreserve_sdk::Cell;
use vreserve_sdk::model::{Demand, Pattern};

use super::*;
use crate::observer::Observer;

const INTERVAL_MS: u64 = 500;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn cell(source: u8, destination: u8, bytes: u64) -> Cell {
    let mac = |last| [2, 0, 0, 0, 0, last];
    let frames = bytes / 1_500;
    Cell { source: mac(source), destination: mac(destination), vlan: 0xffff, reserved: 0, bytes, frames }
}

/// Bytes that a flow of `mbps` from `start` to `stop` sends in one interval that ends at `end`, all in ms.
fn sent(mbps: u64, start: u64, stop: u64, end: u64) -> u64 {
    let overlap = end.min(stop).saturating_sub((end - INTERVAL_MS).max(start));
    overlap * mbps * 1_000 / 8
}

fn demand(report: &TopologyReport, source: u8) -> Option<Demand> {
    report.demands.iter().find(|demand| demand.source.0[5] == source && demand.confidence > 0.0).copied()
}

/// Milliseconds from the start of a 100 Mbit/s flow (with acknowledgements) until its edge is known within
/// 30 %, and from its end until the edge is gone.
fn step_response(config: &Config, phase: u64) -> (u64, u64) {
    let (start, stop) = (5_000 + phase, 15_000 + phase);
    let (mut here, mut there, mut lead) = (Observer::new(1, 10), Observer::new(2, 10), Lead::new(config));
    let (mut known, mut gone) = (None, None);
    for now in (INTERVAL_MS..30_000).step_by(INTERVAL_MS as usize) {
        let forth = here.observe(at(now), &[cell(1, 2, sent(100, start, stop, now))]);
        let back = there.observe(at(now), &[cell(2, 1, sent(100, start, stop, now) / 40)]);
        // Arrivals are up to 20 ms late.
        lead.merge(at(now + phase % 20), "a", &forth.encode()).unwrap();
        lead.merge(at(now + 20), "b", &back.encode()).unwrap();
        let report = lead.infer(at(now + 20));
        let edge = demand(&report, 1);
        let off = edge.map_or(1.0, |edge| (edge.rate.0 as f64 / 1e8 - 1.0).abs());
        if off <= 0.3 {
            known = known.or(Some(now + 20 - start));
        }
        if known.is_some() && now + 20 <= stop {
            assert!(off <= 0.3, "known stays known: {off} at {now}, phase {phase}");
            assert_eq!(report.pattern, Pattern::Pairs);
            assert!(demand(&report, 2).is_none(), "acknowledgements are no edge");
        }
        if now > stop && edge.is_none() {
            gone = gone.or(Some(now + 20 - stop));
        }
    }
    (known.expect("the edge was found"), gone.expect("the edge went away"))
}

#[test]
fn a_flow_is_known_within_a_second_and_a_half_and_gone_within_window_and_hold() {
    let config = Config::default();
    let responses: Vec<_> = (0..INTERVAL_MS).step_by(10).map(|phase| step_response(&config, phase)).collect();
    let slowest = responses.iter().map(|(known, _)| *known).max().unwrap();
    let latest = responses.iter().map(|(_, gone)| *gone).max().unwrap();
    println!("known after at most {slowest} ms, gone after at most {latest} ms");
    assert!(slowest <= 1_500, "{slowest}");
    // Inference itself runs only once per interval.
    let bound = (config.window + config.hold).as_millis() as u64 + INTERVAL_MS;
    assert!(latest <= bound, "{latest}");
}

#[test]
fn four_guests_all_to_all_are_found_and_settle() {
    let mut observers: Vec<_> = (0..4).map(|node| Observer::new(node, 100)).collect();
    let mut lead = Lead::new(&Config::default());
    let mut report = TopologyReport::silent();
    for step in 0..12_u64 {
        let now = at(step * INTERVAL_MS);
        for (node, observer) in (0_u8..).zip(&mut observers) {
            let weight = u64::from(node) + 1;
            let others = (0..4).filter(|other| *other != node);
            let cells: Vec<_> = others.map(|other| cell(node, other, weight * 500_000)).collect();
            lead.merge(now, &format!("n{node}"), &observer.observe(now, &cells).encode()).unwrap();
        }
        report = lead.infer(now);
    }
    assert_eq!(report.pattern, Pattern::AllToAll);
    assert!(report.settled && report.silent_nodes.is_empty());
    assert_eq!(report.demands.len(), 12);
    assert_eq!(report.demands[0].source.0[5], 3, "fastest first");
}

#[test]
fn a_node_without_traffic_is_not_silent_and_a_node_without_reports_is() {
    let (mut idle, mut lost, mut lead) =
        (Observer::new(1, 10), Observer::new(2, 10), Lead::new(&Config::default()));
    lead.merge(at(0), "lost", &lost.observe(at(0), &[]).encode()).unwrap();
    for now in (0..5_000).step_by(INTERVAL_MS as usize) {
        lead.merge(at(now), "idle", &idle.observe(at(now), &[]).encode()).unwrap();
    }
    let report = lead.infer(at(5_000));
    assert_eq!(report.silent_nodes, ["lost"]);
    assert_eq!(report.pattern, Pattern::Silent);
}

#[test]
fn a_refused_report_changes_nothing() {
    let (mut node, mut lead) = (Observer::new(1, 10), Lead::new(&Config::default()));
    lead.merge(at(0), "a", &node.observe(at(0), &[]).encode()).unwrap();
    let good = node.observe(at(500), &[cell(1, 2, 6_000_000)]).encode();
    lead.merge(at(500), "a", &good).unwrap();
    let before = lead.infer(at(500));
    let absurd = node.observe(at(1_000), &[cell(1, 2, 1_000_000_000_000_000_000)]).encode();
    assert_eq!(lead.merge(at(500), "a", &absurd).unwrap_err().key.as_deref(), Some("cells"));
    assert!(lead.merge(at(500), "a", &good[..good.len() - 1]).is_err());
    assert_eq!(lead.merge(at(500), "a", &good), Ok(Merged::Stale));
    assert_eq!(lead.infer(at(500)), before);
}

proptest! {
    #[test]
    fn no_sequence_of_bytes_and_times_panics(
        steps in proptest::collection::vec(
            (any::<u64>(), 0_u8..3, proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 1..30),
    ) {
        let config = Config { max_pairs: 4, hold: Duration::ZERO, ..Config::default() };
        let (mut node, mut lead) = (Observer::new(1, 8), Lead::new(&config));
        for (now, name, bytes, is_genuine) in steps {
            let mut report = bytes.clone();
            if is_genuine {
                let cells: Vec<_> = bytes.chunks(3).map(|b| cell(b[0], b[b.len() - 1], u64::from(b[0]) * 99)).collect();
                report = node.observe(Timestamp(now), &cells).encode();
            } else if let Some(version) = report.first_mut() {
                *version = 1;
            }
            let _ = lead.merge(Timestamp(now), ["a", "b", "c"][usize::from(name)], &report);
            let believed = lead.infer(Timestamp(now));
            prop_assert!(believed.demands.len() <= 8);
            prop_assert!(believed.demands.iter().all(|demand| (0.0..=1.0).contains(&demand.confidence)));
        }
    }
}
