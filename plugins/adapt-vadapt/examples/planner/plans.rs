//! Plans for many nodes, timed: the first, and one after it when all circuits are there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vreserve_adapt_vadapt::{Config, Planner};
use vreserve_sdk::model::{
    BackendView, BitsPerSecond, Capabilities, CircuitView, Demand, Guest, MacAddr, NodeView, Pattern,
    Snapshot, Timestamp, TopologyReport, WantedLink,
};

const NODES: usize = 1_000;
/// Pairs of guests that talk.
const DEMANDS: usize = 100_000;
const LINKS: usize = 100;
const NETWORK: &str = "omninet";

/// Seconds for each.
pub(crate) fn measure() -> Value {
    let mut snapshot = crowd();
    let mut planner = Planner::new(Config {
        max_links: LINKS,
        star_rate: Some(BitsPerSecond(1_000_000_000)),
        ..Config::default()
    });
    let mut timed = |snapshot: &Snapshot| {
        let start = Instant::now();
        let (wanted, _) = planner.step(snapshot);
        (start.elapsed().as_secs_f64(), wanted)
    };
    let (first, wanted) = timed(&snapshot);
    // As many as the network has room for at these rates, which is less than may be.
    assert!((LINKS / 2..=LINKS).contains(&wanted.links.len()), "{} links are planned", wanted.links.len());
    snapshot.circuits = wanted.links.iter().map(carrying).collect();
    snapshot.now = Timestamp::from_millis(60_000);
    let (next, _) = timed(&snapshot);
    json!({ "nodes": NODES, "demands": DEMANDS, "first_s": first, "next_s": next })
}

fn carrying(link: &WantedLink) -> CircuitView {
    CircuitView {
        a: link.a.clone(),
        z: link.z.clone(),
        network: link.network.clone(),
        rate: link.rate,
        wanted_since: Timestamp::ZERO,
        carries_traffic: true,
        backing_off: false,
    }
}

fn guest(node: usize) -> MacAddr {
    let [high, low] = (node as u16).to_be_bytes();
    MacAddr([2, 0, 0, 0, high, low])
}

/// A guest behind each node, and each talks to a hundred others.
fn crowd() -> Snapshot {
    let mut random = fastrand::Rng::with_seed(1);
    let name = |node: usize| format!("node-{node}");
    let address = |node: usize| (NETWORK.to_owned(), format!("10.10.{}.{}", node / 250, node % 250 + 1));
    let demand = |number: usize| {
        let from = number % NODES;
        let to = (from + 1 + number / NODES * 9) % NODES;
        Demand {
            source: guest(from),
            destination: guest(to),
            rate: BitsPerSecond(random.u64(100_000..200_000_000)),
            frames_per_second: 1_000.0,
            confidence: 1.0,
        }
    };
    Snapshot {
        now: Timestamp::ZERO,
        nodes: (0..NODES)
            .map(|node| NodeView { name: name(node), networks: [address(node)].into() })
            .collect(),
        guests: (0..NODES).map(|node| Guest { mac: guest(node), node: name(node) }).collect(),
        topology: TopologyReport {
            pattern: Pattern::Irregular,
            settled: true,
            demands: (0..DEMANDS).map(demand).collect(),
            ..TopologyReport::silent()
        },
        backends: vec![BackendView {
            network: NETWORK.to_owned(),
            capabilities: Capabilities { setup_time: Duration::from_secs(2), ..Capabilities::default() },
            max_circuits: None,
            max_rate: Some(BitsPerSecond(15_000_000_000)),
        }],
        circuits: Vec::new(),
        max_hops: 2,
        question: None,
    }
}
