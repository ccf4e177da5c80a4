//! What the lead pays per report interval: merging every node's report, inferring, planning; by number of active pairs.
//! Last comes the largest: 10,000 guests and a million active pairs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vreserve_adapt_vadapt::Planner;
use vreserve_infer_vttif::{Config, Lead, Pair, Report, Volume};
use vreserve_model::{
    BackendView, Capabilities, Guest, MacAddr, NodeView, Snapshot, Timestamp, TopologyReport,
};

use crate::allocations;
use crate::random::Random;

/// Nodes, guests, active pairs.
const SIZES: [(usize, usize, usize); 4] =
    [(10, 100, 1_000), (100, 1_000, 10_000), (100, 3_000, 100_000), (1_000, 10_000, 1_000_000)];
const INTERVAL: Duration = Duration::from_millis(500);
/// Intervals until the window is full, and how many are timed after that.
const WARM_UP: u32 = 5;
const TIMED: u32 = 5;
const NETWORK: &str = "optical";

pub(crate) fn run(rounds: u64) -> Value {
    let rounds: Vec<Value> = (0..rounds)
        .map(|round| {
            let mut random = Random::new(round);
            let sizes: Vec<_> = SIZES.iter().map(|size| at_size(*size, &mut random)).collect();
            json!({ "sizes": sizes })
        })
        .collect();
    json!({ "rounds": rounds })
}

fn address(guest: usize) -> MacAddr {
    let [.., a, b, c] = (guest as u32).to_be_bytes();
    MacAddr([2, 0, 0, a, b, c])
}

/// Seconds of the median interval.
fn at_size((nodes, guests, pairs): (usize, usize, usize), random: &mut Random) -> Value {
    let before = allocations::held();
    let mut lead = Lead::new(&Config { max_pairs: 2 * pairs, ..Config::default() });
    let mut planner = Planner::new(vreserve_adapt_vadapt::Config::default());
    let mut reports = reports(nodes, guests, pairs, random);
    let mut snapshot = snapshot(nodes, guests);
    let (mut merge, mut infer, mut plan, mut whole) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut octets, mut held, mut demands, mut allocated) = (0, 0, 0, 0);
    for interval in 1..=WARM_UP + TIMED {
        let now = Timestamp::ZERO + INTERVAL * interval;
        let encoded: Vec<_> = reports
            .iter_mut()
            .map(|report| {
                report.sequence += 1;
                report.encode()
            })
            .collect();
        let allocations = allocations::count();
        let begun = Instant::now();
        for (node, report) in encoded.iter().enumerate() {
            lead.merge(now, &snapshot.nodes[node].name, report).expect("a report is believed");
        }
        let merged = begun.elapsed();
        snapshot.topology = lead.infer(now);
        let inferred = begun.elapsed();
        snapshot.now = now;
        black_box(planner.step(&snapshot));
        let planned = begun.elapsed();
        allocated = allocations::count() - allocations;
        octets = encoded.iter().map(Vec::len).sum::<usize>();
        demands = snapshot.topology.demands.len();
        held = held.max(allocations::held() - before);
        if interval > WARM_UP {
            merge.push(merged);
            infer.push(inferred - merged);
            plan.push(planned - inferred);
            whole.push(planned);
        }
    }
    assert_eq!(demands, pairs, "every pair is seen");
    json!({
        "pairs": pairs,
        "guests": guests,
        "reports": nodes,
        "report_octets": octets / nodes,
        "merge_s": median(merge),
        "infer_s": median(infer),
        "plan_s": median(plan),
        "whole_s": median(whole),
        "held_bytes": held,
        "allocations": allocated,
    })
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// What each node tells in an interval. Guests are spread over nodes, each pair is counted where its sender is.
fn reports(nodes: usize, guests: usize, pairs: usize, random: &mut Random) -> Vec<Report> {
    let mut reports: Vec<_> = (0..nodes)
        .map(|node| Report { boot: node as u64, interval: INTERVAL, ..Report::default() })
        .collect();
    let each = pairs / guests;
    for guest in 0..guests {
        let first = random.below(guests);
        // Strides of one from a random place, so that no pair comes twice.
        let others = (0..guests).map(|step| (first + step) % guests).filter(|other| *other != guest);
        for other in others.take(each) {
            let pair = Pair { source: address(guest), destination: address(other) };
            let bytes = 1_000 + random.below(1_000_000) as u64;
            reports[guest % nodes].cells.push((pair, Volume { bytes, frames: bytes / 1_000 }));
        }
    }
    let told: usize = reports.iter().map(|report| report.cells.len()).sum();
    // What the division leaves over.
    for rest in 0..pairs - told {
        let pair = Pair { source: address(guests + rest), destination: address(rest) };
        reports[rest % nodes].cells.push((pair, Volume { bytes: 100_000, frames: 100 }));
    }
    reports
}

fn snapshot(nodes: usize, guests: usize) -> Snapshot {
    let name = |node: usize| format!("node-{node:04}");
    let networks = |node: usize| [(NETWORK.to_owned(), format!("10.0.{}.{}", node / 256, node % 256))].into();
    let capabilities = Capabilities { setup_time: Duration::from_secs(2), ..Capabilities::default() };
    Snapshot {
        now: Timestamp::ZERO,
        nodes: (0..nodes).map(|node| NodeView { name: name(node), networks: networks(node) }).collect(),
        guests: (0..guests).map(|guest| Guest { mac: address(guest), node: name(guest % nodes) }).collect(),
        topology: TopologyReport::silent(),
        backends: vec![BackendView {
            network: NETWORK.to_owned(),
            capabilities,
            max_circuits: None,
            max_rate: None,
        }],
        circuits: Vec::new(),
        max_hops: 2,
        question: None,
    }
}
