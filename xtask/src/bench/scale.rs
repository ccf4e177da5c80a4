//! Suite `scale`: the same load over 1, 8, 64 and 512 guests, over as many links to kernel VXLAN devices, and while
//! rules change. Every guest and every link has a TCP connection of its own; what so many connections cost by
//! themselves is measured too, between the two guests of the baseline.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::contest::{Contest, Outcome, Ratio};
use super::dataplane::CLEAR;
use super::ground::{A, B, Ground, Seat, Subject};
use super::load::Load;
use super::metric::Metric;
use super::node::{self, Plan, Variant};
use super::record::{Record, Sample};
use super::underlay::Underlay;
use super::{Options, busy, churn, crowd};
use crate::artifacts::Artifacts;
use crate::interrupt;

/// How many, and the names of the subjects.
const SIZES: [(usize, &str, &str); 4] = [
    (1, "1 guest", "1 link"),
    (8, "8 guests", "8 links"),
    (64, "64 guests", "64 links"),
    (512, "512 guests", "512 links"),
];
/// As many connections between two guests.
const CONNECTIONS: [(usize, &str); 3] =
    [(8, "8 connections"), (64, "64 connections"), (512, "512 connections")];
/// The subject whose rules change, and its place above.
const CHURNED: (&str, u8) = (SIZES[1].1, 1);
/// VXLAN's port, on which the far ends of links are and expect us (RFC 7348).
const VXLAN_PORT: u16 = 4789;
const LOADS: [Load; 2] = [Load::SpreadTcp, Load::SpreadSmall];

/// Measures.
///
/// # Errors
/// If the lab cannot be made, the load over one guest fails, or a signal came.
pub(super) fn run(options: &Options, built: &Artifacts) -> anyhow::Result<Record> {
    let variants: Vec<[Variant; 2]> = SIZES
        .iter()
        .map(|&(_, guests, links)| [guests, links].map(|name| Variant { name, ..CLEAR }))
        .collect();
    let seats: Vec<Seat> = variants.as_flattened().iter().map(Variant::seat).collect();
    let far_ends = SIZES.iter().map(|(count, ..)| count).sum();
    let ground = Ground::set_with(&options.lab, built, &seats, far_ends)?;
    ground.lay(Underlay::Wire, None)?;
    let mut outcome = Outcome::default();
    type Start = fn(&Ground, &Artifacts, &Variant, u8, usize) -> anyhow::Result<Subject>;
    let kinds: [(&str, Start, &[Load]); 2] =
        [("guests", start_guests, &LOADS), ("links", start_links, &LOADS[..1])];
    for (which, (kind, start, loads)) in kinds.into_iter().enumerate() {
        let mut subjects = Vec::new();
        for (set, (&(count, ..), names)) in (0..).zip(SIZES.iter().zip(&variants)) {
            let variant = &names[which];
            if !options.wants(&format!("{kind}/{count}/")) && count > 1 {
                continue;
            }
            match start(&ground, built, variant, set, count) {
                Ok(subject) => subjects.push(subject),
                Err(error) => {
                    interrupt::check()?;
                    outcome.fail(variant.name, &error);
                }
            }
        }
        if let Some((one, more)) = subjects.split_first() {
            rounds(options, &ground, kind, loads, (one, &more.iter().collect::<Vec<_>>()), &mut outcome)?;
            if kind == "guests" && options.wants("guests/connections/") {
                let controls = CONNECTIONS.map(|(count, name)| one.with_connections(name, count));
                let controls = controls.iter().collect::<Vec<_>>();
                rounds(options, &ground, "one guest", &LOADS[..1], (one, &controls), &mut outcome)?;
            }
        }
        for mut subject in subjects {
            memory(&subject, kind, &mut outcome)?;
            subject.processes.end()?;
        }
    }
    let mut record = Record::new("scale", options.rounds, options.length.as_secs_f64(), outcome.samples);
    record.skipped = outcome.failures;
    record
        .note("rules change as 2000 guests move between the two nodes, each once in two seconds".to_owned());
    Ok(record)
}

/// One subject is the baseline of the others, and of itself while rules change.
fn rounds(
    options: &Options,
    ground: &Ground,
    kind: &str,
    loads: &[Load],
    (one, more): (&Subject, &[&Subject]),
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    for round in 0..options.rounds {
        for &load in loads {
            let contest = Contest {
                ground,
                setting: kind.to_owned(),
                load,
                length: options.length,
                baseline: one,
                others: more.to_vec(),
                ratio: Ratio::ToBaseline,
            };
            contest.round(round, outcome)?;
        }
        let churned = more.iter().find(|subject| subject.name == CHURNED.0);
        if let Some(subject) = churned.filter(|_| kind == "guests" && options.wants("guests/churn/")) {
            churn::round(ground, (subject, CHURNED.1), round, options.length, outcome)?;
        }
    }
    Ok(())
}

fn start_guests(
    ground: &Ground,
    built: &Artifacts,
    variant: &Variant,
    set: u8,
    count: usize,
) -> anyhow::Result<Subject> {
    let plan =
        Plan { variant, nth: set.into(), nodes: &[A, B], guests: count, bind: None, static_links: &[] };
    let (mut processes, pids) = node::launch(ground, built, &plan)?;
    let ends = crowd::address_guests(ground, variant.name, set, count)?;
    let from = ground.guests(variant.name).0.name.clone();
    for (_, at) in [&ends[0], &ends[count - 1]] {
        node::await_answer(ground, &mut processes, &from, *at)?;
    }
    Ok(Subject { ends, ..ground.subject(variant.name, processes, pids) })
}

fn start_links(
    ground: &Ground,
    built: &Artifacts,
    variant: &Variant,
    set: u8,
    count: usize,
) -> anyhow::Result<Subject> {
    let first = SIZES[..set.into()].iter().map(|(count, ..)| count).sum();
    let ends = crowd::make_far_ends(ground, set, first, count)?;
    let static_links: Vec<Ipv4Addr> = (first..first + count).map(crowd::far_underlay).collect();
    let bind = Some(SocketAddrV4::new(crowd::endpoint(set), VXLAN_PORT));
    let plan =
        Plan { variant, nth: u16::from(set) + 10, nodes: &[A], guests: 1, bind, static_links: &static_links };
    let (mut processes, pids) = node::launch(ground, built, &plan)?;
    crowd::address_near_guest(ground, variant.name, set, first, count)?;
    let from = ground.guests(variant.name).0.name.clone();
    for (_, at) in [&ends[0], &ends[count - 1]] {
        node::await_answer(ground, &mut processes, &from, *at)?;
    }
    Ok(Subject { ends, ..ground.subject(variant.name, processes, pids) })
}

fn memory(subject: &Subject, kind: &str, outcome: &mut Outcome) -> anyhow::Result<()> {
    let value = busy::largest_memory_peak_mib(&subject.pids)?;
    outcome.samples.push(Sample {
        round: 0,
        setting: kind.to_owned(),
        subject: subject.name.clone(),
        metric: Metric::MemoryPeak,
        value,
        baseline: None,
    });
    Ok(())
}
