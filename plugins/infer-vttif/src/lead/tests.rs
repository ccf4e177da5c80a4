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

/// Bytes that a flow of `mbps` from `start` to `stop` sends in an interval, all in ms.
fn sent(mbps: u64, start: u64, stop: u64, interval: std::ops::Range<u64>) -> u64 {
    interval.end.min(stop).saturating_sub(interval.start.max(start)) * mbps * 1_000 / 8
}

fn demand(report: &TopologyReport, source: u8) -> Option<Demand> {
    report.demands.iter().find(|demand| demand.source.0[5] == source && demand.confidence > 0.0).copied()
}

/// What the three dials are set to, and how fast the flow is by the fastest other one.
#[derive(Clone, Copy, Debug)]
struct Dials {
    update: u64,
    window: u64,
    threshold: f64,
    share: f64,
}

/// Milliseconds.
#[derive(Debug, Default)]
struct Response {
    /// From the start of a flow until it is an edge, and until its rate is right within a third.
    edge: u64,
    rate: u64,
    /// From its end until the edge is gone.
    gone: u64,
}

/// What a 100 Mbit/s flow (with acknowledgements) beside another brings about if it starts so long after a report.
fn step_response(dials: Dials, phase: u64) -> Response {
    let Dials { update, window, threshold, share } = dials;
    let config = Config { window: Duration::from_millis(window), threshold, ..Config::default() };
    let (start, stop) = (5_000 + phase, 15_000 + phase);
    let (mut here, mut there, mut lead) = (Observer::new(1, 10), Observer::new(2, 10), Lead::new(&config));
    let mut response = Response::default();
    let mut was_edge = false;
    for now in (update..26_000).step_by(update as usize) {
        let sent = |mbps, start: u64, stop: u64| sent(mbps, start, stop, now - update..now);
        let other = if share < 1.0 { sent((100.0 / share) as u64, 0, u64::MAX) } else { 0 };
        let forth = here.observe(at(now), &[cell(1, 2, sent(100, start, stop)), cell(5, 6, other)]);
        let back = there.observe(at(now), &[cell(2, 1, sent(100, start, stop) / 40)]);
        // Arrivals are up to 20 ms late.
        lead.merge(at(now + phase % 20), "a", &forth.encode()).unwrap();
        lead.merge(at(now + 20), "b", &back.encode()).unwrap();
        let report = lead.infer(at(now + 20));
        let edge = demand(&report, 1);
        assert!(demand(&report, 2).is_none(), "acknowledgements are no edge");
        if edge.is_some() && !was_edge {
            response.edge = now + 20 - start;
        }
        was_edge |= edge.is_some();
        let off = edge.map_or(1.0, |edge| (edge.rate.0 as f64 / 1e8 - 1.0).abs());
        if off <= 0.34 && response.rate == 0 {
            response.rate = now + 20 - start;
        }
        if response.rate > 0 && now + 20 <= stop {
            assert!(off <= 0.34, "known stays known: {off} at {now}, {dials:?}, phase {phase}");
            assert_eq!(report.pattern, Pattern::Pairs);
        }
        if now > stop && edge.is_none() && response.gone == 0 {
            response.gone = now + 20 - stop;
        }
    }
    assert!(response.rate > 0 && response.gone > 0, "{response:?} of {dials:?}");
    response
}

/// The greatest of each over all phases.
fn slowest(dials: Dials) -> Response {
    let phases = (0..dials.update).step_by((dials.update / 10) as usize);
    phases.map(|phase| step_response(dials, phase)).fold(Response::default(), |most, one| Response {
        edge: most.edge.max(one.edge),
        rate: most.rate.max(one.rate),
        gone: most.gone.max(one.gone),
    })
}

#[test]
fn a_flow_is_known_and_gone_as_fast_as_the_dials_say() {
    let hold = Config::default().hold.as_millis() as u64;
    for (update, window) in [(500, 2_000), (500, 1_000), (250, 1_000), (250, 4_000), (100, 2_000)] {
        for (threshold, share) in [(0.1, 1.0), (0.1, 0.25), (0.3, 0.5)] {
            let dials = Dials { update, window, threshold, share };
            let Response { edge, rate, gone } = slowest(dials);
            println!("{dials:?}: edge {edge} ms, rate {rate} ms, gone {gone} ms");
            // As the README says; reports are 20 ms late.
            let until_over = (threshold / share * window as f64 / 2.0) as u64;
            assert!(edge <= update + until_over + 20, "{dials:?}: an edge after {edge}");
            assert!(rate <= 2 * update + window / 2, "{dials:?}: known after {rate}");
            assert!(gone <= window + hold + update, "{dials:?}: gone after {gone}");
        }
    }
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
