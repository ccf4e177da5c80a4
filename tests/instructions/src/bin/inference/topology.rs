//! How often a pattern is recognised: each named one at every size from 4 to 64 guests, and random graphs.
//!
//! A trial is a whole run of inference on a virtual clock: guests on nodes with clocks of their own, counts, reports
//! that arrive late or never, the lead's window, edges and name. With noise *p*
//!
//! - each pair of the pattern pauses in a share *p* of the report intervals, and each report is lost as often,
//! - each count is off by up to *p*,
//! - *p* times as many pairs as the pattern has, rounded up, talk beside it at 5 to 25 % of its typical rate.
//!
//! Weights are equal, or differ by a factor of up to two. Traffic of a pair goes one way or both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use vreserve_infer_vttif::{Config, Lead, Observer, Shape};
use vreserve_model::{Pattern, Timestamp};
use vreserve_sdk::Cell;

use crate::random::Random;

const GUESTS: std::ops::RangeInclusive<usize> = 4..=64;
const NOISE: [u32; 3] = [0, 10, 20];
const GUESTS_OF_A_NODE: usize = 8;
const INTERVAL: Duration = Duration::from_millis(500);
const INTERVALS: u32 = 16;
/// Octets of a pair's lesser flow in one interval: about 16 Mbit/s.
const TYPICAL: f64 = 1e6;
/// Neighbours that guests of random graphs have on average; the last stands for half of all.
const DEGREES: [Option<usize>; 5] = [Some(2), Some(3), Some(4), Some(6), None];

/// One kind of trial: noise in percent, whether weights differ, and the pattern or random graphs.
type Kind = (u32, bool, Option<Pattern>);

#[derive(Default)]
struct Tally {
    trials: u32,
    hits: u32,
    /// Of those that were not right, the first few: guests and the name given.
    others: Vec<String>,
}

pub(crate) fn run(rounds: u64) -> Value {
    let rounds: Vec<Value> = (0..rounds).map(round).collect();
    json!({ "rounds": rounds })
}

fn round(seed: u64) -> Value {
    let mut random = Random::new(seed);
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    for guests in GUESTS {
        for noise in NOISE {
            for is_unequal in [false, true] {
                for shape in Shape::of(guests) {
                    let kind = (noise, is_unequal, Some(shape.pattern));
                    let found = infer(&shape, noise, is_unequal, &mut random);
                    let is_right = found == shape.pattern;
                    tallies.entry(kind).or_default().count(is_right, !is_right, guests, found);
                }
                for degree in DEGREES {
                    let Some(shape) = random_graph(guests, degree, &mut random) else { continue };
                    let found = infer(&shape, noise, is_unequal, &mut random);
                    let is_named = !matches!(found, Pattern::Irregular | Pattern::Silent);
                    let tally = tallies.entry((noise, is_unequal, None)).or_default();
                    tally.count(is_named, is_named, guests, found);
                }
            }
        }
    }
    let kinds = tallies.into_iter().map(|((noise, is_unequal, pattern), tally)| {
        json!({
            "noise": noise,
            "unequal": is_unequal,
            "pattern": pattern,
            "trials": tally.trials,
            "hits": tally.hits,
            "others": tally.others,
        })
    });
    json!({ "seed": seed, "kinds": kinds.collect::<Vec<_>>() })
}

impl Tally {
    fn count(&mut self, is_hit: bool, is_odd: bool, guests: usize, found: Pattern) {
        self.trials += 1;
        self.hits += u32::from(is_hit);
        if self.others.len() < 8 && is_odd {
            self.others.push(format!("{guests} guests: {found}"));
        }
    }
}

/// The name that inference gives to a shape among noise.
fn infer(shape: &Shape, noise: u32, is_unequal: bool, random: &mut Random) -> Pattern {
    let noise = f64::from(noise) / 100.0;
    let flows = flows(shape, noise, is_unequal, random);
    let nodes = shape.guests.div_ceil(GUESTS_OF_A_NODE);
    let mut observers: Vec<_> = (0..nodes).map(|node| Observer::new(node as u64, 10_000)).collect();
    // Where a node's clock stands, and how fast it runs.
    let clocks: Vec<_> =
        (0..nodes).map(|_| (random.below(1 << 40) as u64, 0.99 + 0.02 * random.share())).collect();
    let mut lead = Lead::new(&Config::default());
    let mut now = Timestamp::ZERO;
    for interval in 1..=INTERVALS {
        now = Timestamp::ZERO + INTERVAL * interval;
        let mut cells: Vec<Vec<Cell>> = vec![Vec::new(); nodes];
        for flow in &flows {
            if flow.may_pause && random.happens(noise) {
                continue;
            }
            let bytes = flow.bytes * (1.0 + noise * (2.0 * random.share() - 1.0));
            cells[flow.from.0].push(flow.cell(bytes as u64));
        }
        for (node, observer) in observers.iter_mut().enumerate() {
            let (begin, speed) = clocks[node];
            let here = Timestamp(begin) + (INTERVAL * interval).mul_f64(speed);
            let report = observer.observe(here, &cells[node]).encode();
            let is_lost = random.happens(noise);
            let late = Duration::from_millis(random.below(50) as u64);
            if !is_lost {
                lead.merge(now + late, &format!("n{node}"), &report)
                    .expect("a node's own report is believed");
            }
        }
        now = now + Duration::from_millis(60);
        lead.infer(now);
    }
    lead.infer(now).pattern
}

/// Traffic of one guest to another.
struct Flow {
    /// The node, and the guest's address.
    from: (usize, [u8; 6]),
    to: [u8; 6],
    bytes: f64,
    may_pause: bool,
}

impl Flow {
    fn cell(&self, bytes: u64) -> Cell {
        let frames = bytes.div_ceil(1_500);
        Cell { source: self.from.1, destination: self.to, vlan: 0xffff, reserved: 0, bytes, frames }
    }
}

fn flows(shape: &Shape, noise: f64, is_unequal: bool, random: &mut Random) -> Vec<Flow> {
    // Addresses and nodes have nothing to do with places in the shape.
    let labels = random.order(shape.guests);
    let address = |guest: usize| [2, 0, 0, 0, 0, labels[guest] as u8];
    let flow = |(from, to): (usize, usize), bytes, may_pause| Flow {
        from: (labels[from] / GUESTS_OF_A_NODE, address(from)),
        to: address(to),
        bytes,
        may_pause,
    };
    let mut flows = Vec::new();
    for &(one, other) in &shape.edges {
        let bytes = TYPICAL * if is_unequal { 1.0 + random.share() } else { 1.0 };
        match random.below(3) {
            0 => flows.push(flow((one, other), bytes, true)),
            1 => flows.push(flow((other, one), bytes, true)),
            _ => flows.extend([flow((one, other), bytes, true), flow((other, one), bytes, true)]),
        }
    }
    let typical = TYPICAL * if is_unequal { 1.5 } else { 1.0 };
    let mut taken: BTreeSet<_> = shape.edges.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
    let free = shape.guests * (shape.guests - 1) / 2 - taken.len();
    let beside = (noise * shape.edges.len() as f64).ceil() as usize;
    for _ in 0..beside.min(free) {
        let pair = loop {
            let (one, other) = (random.below(shape.guests), random.below(shape.guests));
            if one != other && taken.insert((one.min(other), one.max(other))) {
                break (one, other);
            }
        };
        flows.push(flow(pair, typical * (0.05 + 0.2 * random.share()), false));
    }
    flows
}

/// Each pair with the same chance; none if what comes about does have a name that a look at it tells.
fn random_graph(guests: usize, degree: Option<usize>, random: &mut Random) -> Option<Shape> {
    let chance = degree.map_or(0.5, |degree| degree as f64 / (guests - 1) as f64).min(0.7);
    let all = (0..guests).flat_map(|one| (0..one).map(move |other| (other, one)));
    let edges: Vec<_> = all.filter(|_| random.happens(chance)).collect();
    (!has_a_name(&edges)).then_some(Shape { pattern: Pattern::Irregular, guests, edges })
}

/// Whether edges are pairs, a tree of any kind, a ring, or all that there can be; nothing else comes about by chance.
fn has_a_name(edges: &[(usize, usize)]) -> bool {
    let mut neighbours: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (one, other) in edges {
        neighbours.entry(*one).or_default().push(*other);
        neighbours.entry(*other).or_default().push(*one);
    }
    let Some(first) = neighbours.keys().next() else { return true };
    let (mut reached, mut stack) = (BTreeSet::new(), vec![*first]);
    while let Some(guest) = stack.pop() {
        if reached.insert(guest) {
            stack.extend(&neighbours[&guest]);
        }
    }
    let (guests, has_only) = (neighbours.len(), |degree| neighbours.values().all(|all| all.len() == degree));
    let is_connected = reached.len() == guests;
    has_only(1)
        || edges.len() == guests * (guests - 1) / 2
        || is_connected && (edges.len() + 1 == guests || has_only(2))
}
