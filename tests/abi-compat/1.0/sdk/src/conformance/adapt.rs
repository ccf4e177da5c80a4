//! The kit for adaptation plugins.

use std::collections::BTreeSet;
use std::time::Duration;

use vreserve_model::{
    BackendView, BitsPerSecond, Capabilities, CircuitView, Demand, FailureKind, Guest, MacAddr, NodeView,
    Pattern, Snapshot, Timestamp, TopologyReport, Wanted,
};

use super::calls::AdaptPort;
use super::case::{Case, Subject, Verdict, ensure, said};
use super::opened::{adapt, panicking};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1000 * SECOND;
const NETWORK: &str = "omninet";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "no_call_panics",
        shows: "adapt neither panics nor fails as Internal on a document it can read, however odd",
        run: no_call_panics,
    },
    Case {
        name: "what_is_no_snapshot_is_refused",
        shows: "a document that is no snapshot is Invalid, and the instance goes on",
        run: no_snapshot,
    },
    Case {
        name: "nothing_is_wanted_without_demand",
        shows: "without traffic, nodes or a backend that is up no link is wanted",
        run: without_demand,
    },
    Case {
        name: "what_is_wanted_makes_sense",
        shows: "links join two nodes of one network that has a backend, each once, at a rate; rules use links that are wanted",
        run: makes_sense,
    },
    Case {
        name: "the_same_snapshot_gives_the_same_answer",
        shows: "asked again with the same snapshot it wants the same, in the same order",
        run: same_answer,
    },
    Case {
        name: "small_changes_settle",
        shows: "demand that trembles by a hundredth makes no link come and go",
        run: settles,
    },
    Case {
        name: "snapshots_of_any_size_are_taken",
        shows: "0, 1, 64 and 10,000 demands are taken",
        run: any_size,
    },
    Case {
        name: "two_instances_are_independent",
        shows: "what one instance was shown does not change what another wants",
        run: independent,
    },
];

/// Tried where the surroundings know how to make an instance panic.
pub(super) const PANIC: Case = Case {
    name: "a_panic_ends_its_instance_alone",
    shows: "an instance that panicked answers Internal from then on and can be closed; others go on",
    run: panics,
};

fn mac(guest: u16) -> MacAddr {
    let [high, low] = guest.to_be_bytes();
    MacAddr([2, 0, 0, 0, high, low])
}

fn demand(from: u16, to: u16, rate: u64) -> Demand {
    Demand {
        source: mac(from),
        destination: mac(to),
        rate: BitsPerSecond(rate),
        frames_per_second: rate as f64 / 8000.0,
        confidence: 1.0,
    }
}

/// Four nodes with a guest each, three of them on a reservable network, and a hub.
fn snapshot(now: u64, demands: Vec<Demand>) -> Snapshot {
    let node = |name: &str, address: Option<&str>| NodeView {
        name: name.to_owned(),
        networks: address.map(|address| (NETWORK.to_owned(), address.to_owned())).into_iter().collect(),
    };
    let guest = |number: u16, node: &str| Guest { mac: mac(number), node: node.to_owned() };
    let capabilities = Capabilities {
        fused_activation: true,
        find: true,
        setup_time: Duration::from_secs(1),
        teardown_time: Duration::from_secs(1),
        ..Capabilities::default()
    };
    Snapshot {
        now: Timestamp(now),
        nodes: vec![
            node("a", Some("10.10.0.1")),
            node("b", Some("10.10.0.2")),
            node("c", Some("10.10.0.3")),
            node("d", None),
            node("hub", None),
        ],
        guests: vec![guest(1, "a"), guest(2, "b"), guest(3, "c"), guest(4, "d")],
        topology: TopologyReport {
            pattern: Pattern::Irregular,
            settled: true,
            silent_nodes: Vec::new(),
            demands,
        },
        backends: vec![BackendView {
            network: NETWORK.to_owned(),
            capabilities,
            max_circuits: None,
            max_rate: None,
        }],
        circuits: Vec::new(),
        max_hops: 1,
        question: None,
    }
}

fn busy() -> Vec<Demand> {
    vec![
        demand(1, 2, 900_000_000),
        demand(2, 1, 700_000_000),
        demand(3, 4, 500_000_000),
        demand(1, 3, 90_000_000),
    ]
}

fn no_call_panics(subject: &Subject) -> Verdict {
    let mut port = adapt(subject, 1)?;
    let odd = |change: fn(&mut Snapshot)| {
        let mut snapshot = snapshot(START, busy());
        change(&mut snapshot);
        snapshot
    };
    let snapshots = [
        odd(|_| ()),
        odd(|snapshot| snapshot.nodes.clear()),
        odd(|snapshot| snapshot.guests.clear()),
        odd(|snapshot| snapshot.guests.push(Guest { mac: mac(1), node: "nowhere".to_owned() })),
        odd(|snapshot| snapshot.nodes.extend(snapshot.nodes.clone())),
        odd(|snapshot| snapshot.backends.extend(snapshot.backends.clone())),
        odd(|snapshot| snapshot.topology.demands.push(demand(1, 1, 1))),
        odd(|snapshot| snapshot.topology.demands.push(demand(77, 78, u64::MAX))),
        odd(|snapshot| snapshot.topology.demands.extend([demand(1, 2, u64::MAX), demand(2, 1, u64::MAX)])),
        odd(|snapshot| snapshot.topology.demands[0].confidence = f64::NAN),
        odd(|snapshot| snapshot.topology.demands[0].frames_per_second = f64::INFINITY),
        odd(|snapshot| snapshot.circuits.push(circuit("x", "y", "nowhere", u64::MAX))),
        odd(|snapshot| snapshot.circuits.push(circuit("a", "a", NETWORK, 0))),
        odd(|snapshot| snapshot.now = Timestamp(0)),
        odd(|snapshot| snapshot.now = Timestamp(u64::MAX)),
        odd(|snapshot| snapshot.backends[0].capabilities.setup_time = Duration::MAX),
        odd(|snapshot| snapshot.backends[0].capabilities.fixed_rate = Some(BitsPerSecond(0))),
        odd(|snapshot| snapshot.backends[0].capabilities.granularity = BitsPerSecond(u64::MAX)),
        odd(|snapshot| snapshot.backends[0].capabilities.max_concurrent = Some(0)),
    ];
    for (number, snapshot) in snapshots.iter().enumerate() {
        if let Err(failure) = port.adapt(snapshot) {
            ensure!(failure.kind != FailureKind::Internal, "odd snapshot {number}: {}", said(&failure));
        }
    }
    Ok(())
}

fn circuit(a: &str, z: &str, network: &str, rate: u64) -> CircuitView {
    CircuitView {
        a: a.to_owned(),
        z: z.to_owned(),
        network: network.to_owned(),
        rate: BitsPerSecond(rate),
        wanted_since: Timestamp(u64::MAX),
        carries_traffic: true,
        backing_off: false,
    }
}

fn no_snapshot(subject: &Subject) -> Verdict {
    let mut port = adapt(subject, 1)?;
    for document in ["", "{", "{}", "null", "[]", "{\"now\":\"late\"}"] {
        let answer = port.adapt_raw(document, &[]).map(|wanted| wanted.to_string());
        let is_invalid = answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::Invalid);
        ensure!(is_invalid, "it answers {document:?} with {answer:?}");
    }
    port.adapt(&snapshot(START, busy()))?;
    Ok(())
}

fn without_demand(subject: &Subject) -> Verdict {
    for (what, snapshot) in [
        ("traffic", snapshot(START, Vec::new())),
        ("guests", Snapshot { guests: Vec::new(), ..snapshot(START, busy()) }),
        ("nodes", Snapshot { nodes: Vec::new(), ..snapshot(START, busy()) }),
        ("a backend", Snapshot { backends: Vec::new(), ..snapshot(START, busy()) }),
    ] {
        let wanted = adapt(subject, 1)?.adapt(&snapshot)?;
        ensure!(wanted.links.is_empty(), "without {what} it wants {} links", wanted.links.len());
        ensure!(wanted.rules.is_empty(), "without {what} it wants {} rules", wanted.rules.len());
    }
    Ok(())
}

/// What the planner wants once it has seen the same traffic for a minute.
fn after_a_minute(port: &mut AdaptPort, demands: &[Demand]) -> Result<Wanted, vreserve_model::Failure> {
    let mut wanted = Wanted::default();
    for second in 0..60 {
        wanted = port.adapt(&snapshot(START + second * SECOND, demands.to_vec()))?;
    }
    Ok(wanted)
}

fn makes_sense(subject: &Subject) -> Verdict {
    let wanted = after_a_minute(&mut adapt(subject, 1)?, &busy())?;
    ensure!(
        !wanted.links.is_empty(),
        "900 Mbit/s between two nodes on a reservable network are worth no link"
    );
    let mut seen = BTreeSet::new();
    for link in &wanted.links {
        let name = format!("link {} - {} on {}", link.a, link.z, link.network);
        ensure!(link.a < link.z, "{name}: its ends are not in order");
        let ends = ["a", "b", "c"];
        let both = ends.contains(&link.a.as_str()) && ends.contains(&link.z.as_str());
        ensure!(both && link.network == NETWORK, "{name}: not two nodes of a network that has a backend");
        ensure!(link.rate.0 > 0, "{name}: a rate of nothing");
        ensure!(seen.insert((link.a.clone(), link.z.clone())), "{name}: wanted twice");
    }
    for rule in &wanted.rules {
        let (a, z) = vreserve_model::link_key(&rule.node, &rule.next);
        let uses_link =
            wanted.links.iter().any(|link| (&*link.a, &*link.z, &link.network) == (a, z, &rule.network));
        ensure!(uses_link, "a rule at {} towards {}, between which no link is wanted", rule.node, rule.next);
    }
    Ok(())
}

fn same_answer(subject: &Subject) -> Verdict {
    let mut port = adapt(subject, 1)?;
    let settled = after_a_minute(&mut port, &busy())?;
    for _ in 0..3 {
        let again = port.adapt(&snapshot(START + 59 * SECOND, busy()))?;
        ensure!(
            again.links == settled.links && again.rules == settled.rules,
            "the same snapshot gives another answer"
        );
    }
    Ok(())
}

fn settles(subject: &Subject) -> Verdict {
    let mut port = adapt(subject, 1)?;
    let ends = |wanted: &Wanted| {
        wanted.links.iter().map(|link| (link.a.clone(), link.z.clone())).collect::<BTreeSet<_>>()
    };
    let settled = ends(&after_a_minute(&mut port, &busy())?);
    for second in 60..120 {
        let mut demands = busy();
        for demand in &mut demands {
            demand.rate.0 += demand.rate.0 / 100 * (second % 2);
        }
        let now = ends(&port.adapt(&snapshot(START + second * SECOND, demands))?);
        ensure!(now == settled, "demand that trembles by a hundredth turned {settled:?} into {now:?}");
    }
    Ok(())
}

fn any_size(subject: &Subject) -> Verdict {
    let mut port = adapt(subject, 1)?;
    for count in [0, 1, 64, 10_000_u64] {
        let demands = (0..count).map(|at| demand((at % 5) as u16, (at % 7) as u16, 1_000_000 * (count - at)));
        port.adapt(&snapshot(START + count * SECOND, demands.collect()))?;
    }
    Ok(())
}

fn independent(subject: &Subject) -> Verdict {
    let (mut one, mut other) = (adapt(subject, 1)?, adapt(subject, 2)?);
    after_a_minute(&mut one, &busy())?;
    let quiet = other.adapt(&snapshot(START, Vec::new()))?;
    ensure!(quiet.links.is_empty(), "an instance wants {} links that another was shown", quiet.links.len());
    let wanted = after_a_minute(&mut other, &busy())?;
    drop(one);
    let again = other.adapt(&snapshot(START + 59 * SECOND, busy()))?;
    ensure!(again.links == wanted.links, "closing another instance changed what is wanted");
    Ok(())
}

fn panics(subject: &Subject) -> Verdict {
    let config = panicking(subject)?;
    let mut other = adapt(subject, 1)?;
    let mut doomed = AdaptPort::open(subject.plugin, &config)?;
    for time in ["first", "second"] {
        let answer = doomed.adapt(&snapshot(START, busy()));
        let is_internal = answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::Internal);
        ensure!(is_internal, "at the {time} call after a panic adapt answers {answer:?}");
    }
    drop(doomed);
    other.adapt(&snapshot(START, busy()))?;
    Ok(())
}
