//! The kit for inference plugins.

use vreserve_abi::Cell;
use vreserve_model::{FailureKind, MacAddr, TopologyReport};

use super::calls::InferPort;
use super::case::{Case, Subject, Unmet, Verdict, ensure, said};
use super::opened::{infer, panicking};

/// Nanoseconds of a report interval.
const INTERVAL: u64 = 500_000_000;
/// Where clocks of nodes may stand.
const START: u64 = 5_000_000_000_000;
/// Report intervals after which a steady pair is known.
const LONG: u64 = 40;
/// The most demands that a host takes.
const MOST_DEMANDS: usize = 4_194_304;
const NODE: &str = "chicago-1";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "no_call_panics",
        shows: "no entry point panics or fails as Internal, whatever counts, times, names and reports it is given",
        run: no_call_panics,
    },
    Case {
        name: "batches_of_any_size_are_counted",
        shows: "0, 1, 64, 256 and 100,000 cells a call give a report that the same plugin merges",
        run: any_size,
    },
    Case {
        name: "a_steady_pair_becomes_a_demand",
        shows: "a pair that sends all the time is found, at about its rate, with a confidence above 0",
        run: steady_pair,
    },
    Case {
        name: "demands_are_sound",
        shows: "demands are of guests that sent, each pair once, highest rate first, confidence 0 to 1",
        run: demands_are_sound,
    },
    Case {
        name: "doubled_and_late_reports_count_once",
        shows: "a report that comes twice or after its successor does not raise the demand",
        run: doubled,
    },
    Case {
        name: "hostile_reports_are_invalid",
        shows: "a report that cannot be read is Invalid or ignored, and changes nothing that is believed",
        run: hostile,
    },
    Case {
        name: "without_reports_there_is_no_demand",
        shows: "a fresh instance infers nothing, and one whose nodes fall silent believes nothing for ever",
        run: silence,
    },
    Case {
        name: "two_instances_are_independent",
        shows: "what one instance is told another does not know",
        run: independent,
    },
];

/// Tried where the surroundings know how to make an instance panic.
pub(super) const PANIC: Case = Case {
    name: "a_panic_ends_its_instance_alone",
    shows: "an instance that panicked answers Internal from then on and can be closed; others go on",
    run: panics,
};

fn cell(from: u16, to: u16, bytes: u64) -> Cell {
    let mac = |guest: u16| {
        let [high, low] = guest.to_be_bytes();
        [2, 0, 0, 0, high, low]
    };
    Cell {
        source: mac(from),
        destination: mac(to),
        vlan: 0xffff,
        reserved: 0,
        bytes,
        frames: bytes.div_ceil(1000),
    }
}

/// Lets a pair of guests send at a steady rate for `intervals`, and gives every report to `lead`.
fn steady(node: &mut InferPort, lead: &mut InferPort, intervals: u64) -> Result<Vec<Vec<u8>>, Unmet> {
    let mut reports = Vec::new();
    for step in 0..intervals {
        let now = START + step * INTERVAL;
        let report = node.observe(now, &[cell(1, 2, 5_000_000), cell(2, 1, 100_000)])?;
        lead.merge(now, NODE, &report)?;
        reports.push(report);
    }
    Ok(reports)
}

fn rate_of(topology: &TopologyReport, from: u8, to: u8) -> Option<(u64, f64)> {
    let ends = (MacAddr([2, 0, 0, 0, 0, from]), MacAddr([2, 0, 0, 0, 0, to]));
    let found = topology.demands.iter().find(|demand| (demand.source, demand.destination) == ends);
    found.map(|demand| (demand.rate.0, demand.confidence))
}

const END: u64 = START + LONG * INTERVAL;

fn no_call_panics(subject: &Subject) -> Verdict {
    let mut port = infer(subject, 1)?;
    let own = Cell { destination: [2, 0, 0, 0, 0, 1], ..cell(1, 1, 7) };
    let wild = [
        cell(0, 0, 0),
        cell(1, 2, u64::MAX),
        cell(1, 2, u64::MAX),
        own,
        Cell { vlan: 4095, ..cell(3, 4, 1) },
    ];
    for now in [0, 1, START, START, 3, u64::MAX, START + 1] {
        for cells in [&wild[..], &[]] {
            let observed = port.observe(now, cells);
            let merged = port.merge(now, NODE, observed.as_deref().unwrap_or(b"?"));
            let named = port.merge(now, &"n".repeat(100_000), b"");
            let inferred = port.infer(now).map(drop);
            for outcome in [observed.map(drop), merged, named, inferred] {
                let defect = outcome.err().filter(|failure| failure.kind == FailureKind::Internal);
                ensure!(defect.is_none(), "at time {now}: {}", defect.as_ref().map_or(String::new(), said));
            }
        }
    }
    Ok(())
}

fn any_size(subject: &Subject) -> Verdict {
    let (mut node, mut lead) = (infer(subject, 1)?, infer(subject, 2)?);
    for (step, count) in [0, 1, 64, 256, 100_000_u32].into_iter().enumerate() {
        let now = START + step as u64 * INTERVAL;
        let cells: Vec<_> =
            (0..count).map(|at| cell((at / 300) as u16, (1000 + at % 300) as u16, 1000)).collect();
        let report = node.observe(now, &cells)?;
        ensure!(report.len() <= 16 << 20, "a report of {} bytes for {count} cells", report.len());
        if let Err(failure) = lead.merge(now, NODE, &report) {
            return Err(format!("its own report of {count} cells is refused: {}", said(&failure)).into());
        }
        lead.infer(now)?;
    }
    Ok(())
}

fn steady_pair(subject: &Subject) -> Verdict {
    let (mut node, mut lead) = (infer(subject, 1)?, infer(subject, 2)?);
    steady(&mut node, &mut lead, LONG)?;
    let topology = lead.infer(END)?;
    let found = rate_of(&topology, 1, 2);
    // 5 MB each 500 ms are 80 Mbit/s; smoothing may be as slow as it likes, but not invent traffic.
    let is_about =
        found.is_some_and(|(rate, confidence)| (8_000_000..=160_000_000).contains(&rate) && confidence > 0.0);
    ensure!(is_about, "of a pair that sends 80 Mbit/s for {LONG} intervals it believes {found:?}");
    Ok(())
}

fn demands_are_sound(subject: &Subject) -> Verdict {
    let (mut node, mut lead) = (infer(subject, 1)?, infer(subject, 2)?);
    let cells: Vec<_> =
        (0..200).map(|at| cell(at / 20, 100 + at % 20, 10_000 * (1 + u64::from(at)))).collect();
    for step in 0..LONG {
        let now = START + step * INTERVAL;
        let report = node.observe(now, &cells)?;
        lead.merge(now, NODE, &report)?;
    }
    let demands = lead.infer(END)?.demands;
    ensure!(!demands.is_empty() && demands.len() <= MOST_DEMANDS, "{} demands of 200 pairs", demands.len());
    ensure!(demands.is_sorted_by(|one, next| one.rate >= next.rate), "the highest rate does not come first");
    let mut pairs: Vec<_> = demands.iter().map(|demand| (demand.source, demand.destination)).collect();
    pairs.sort();
    ensure!(pairs.is_sorted_by(|one, next| one < next), "a pair is listed twice");
    for demand in &demands {
        let (source, destination) = (demand.source, demand.destination);
        ensure!((0.0..=1.0).contains(&demand.confidence), "a confidence of {}", demand.confidence);
        let frames = demand.frames_per_second;
        ensure!(frames.is_finite() && frames >= 0.0, "{frames} frames per second");
        let is_known = cells.iter().any(|cell| (cell.source, cell.destination) == (source.0, destination.0));
        ensure!(is_known, "a demand from {source} to {destination}, which never sent");
    }
    Ok(())
}

fn doubled(subject: &Subject) -> Verdict {
    let (mut node, mut once, mut twice) = (infer(subject, 1)?, infer(subject, 2)?, infer(subject, 3)?);
    let reports = steady(&mut node, &mut once, LONG)?;
    for (step, report) in reports.iter().enumerate() {
        let now = START + step as u64 * INTERVAL;
        twice.merge(now, NODE, report)?;
        // Duplicates may be answered as the plugin likes.
        let _ = twice.merge(now, NODE, report);
        let _ = step.checked_sub(2).map(|late| twice.merge(now, NODE, &reports[late]));
    }
    let (one, two) = (rate_of(&once.infer(END)?, 1, 2), rate_of(&twice.infer(END)?, 1, 2));
    let (once, twice) = (one.map_or(0, |(rate, _)| rate), two.map_or(0, |(rate, _)| rate));
    ensure!(twice <= once + once / 10, "reports that came twice made {twice} bit/s of {once}");
    ensure!(twice >= once - once / 10, "reports that came twice left {twice} bit/s of {once}");
    Ok(())
}

fn hostile(subject: &Subject) -> Verdict {
    let (mut node, mut lead) = (infer(subject, 1)?, infer(subject, 2)?);
    let reports = steady(&mut node, &mut lead, LONG)?;
    let before = rate_of(&lead.infer(END)?, 1, 2);
    for garbage in [vec![0xff; 1000], vec![0xff; 1 << 20], b"{}".to_vec(), b"no report".to_vec()] {
        is_refused(&mut lead, &garbage)?;
    }
    let after = rate_of(&lead.infer(END)?, 1, 2);
    ensure!(
        before == after,
        "reports that cannot be read changed what is believed from {before:?} to {after:?}"
    );
    // Some of these may be read, as what a lying node says: it is believed like any other.
    let whole = &reports[0];
    for at in 0..whole.len() {
        is_refused(&mut lead, &whole[..at])?;
        let mut flipped = whole.clone();
        flipped[at] ^= 0xff;
        is_refused(&mut lead, &flipped)?;
    }
    lead.infer(END)?;
    Ok(())
}

/// That a report is Invalid, if it is not taken.
fn is_refused(lead: &mut InferPort, report: &[u8]) -> Verdict {
    match lead.merge(END, "mallory", report) {
        Err(failure) if failure.kind != FailureKind::Invalid => {
            Err(format!("a report of {} wrong bytes is {}", report.len(), said(&failure)).into())
        }
        _ => Ok(()),
    }
}

fn silence(subject: &Subject) -> Verdict {
    let (mut node, mut lead) = (infer(subject, 1)?, infer(subject, 2)?);
    let fresh = lead.infer(START)?;
    ensure!(fresh.demands.is_empty(), "a fresh instance believes in {} demands", fresh.demands.len());
    steady(&mut node, &mut lead, LONG)?;
    let hours = 24 * 3600 * 1_000_000_000;
    let believed = lead.infer(END + hours)?.demands.iter().filter(|demand| demand.confidence > 0.0).count();
    ensure!(believed == 0, "a day after the last report it still believes in {believed} demands");
    Ok(())
}

fn independent(subject: &Subject) -> Verdict {
    let (mut node, mut lead, mut other) = (infer(subject, 1)?, infer(subject, 2)?, infer(subject, 3)?);
    steady(&mut node, &mut lead, LONG)?;
    let demands = other.infer(END)?.demands.len();
    ensure!(demands == 0, "an instance that was told nothing believes in {demands} demands");
    drop(lead);
    other.infer(END + 1)?;
    Ok(())
}

fn panics(subject: &Subject) -> Verdict {
    let config = panicking(subject)?;
    let mut other = infer(subject, 1)?;
    let mut doomed = InferPort::open(subject.plugin, &config)?;
    for time in ["first", "second"] {
        let answer = doomed.observe(START, &[cell(1, 2, 3)]).map(drop);
        let is_internal = answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::Internal);
        ensure!(is_internal, "at the {time} call after a panic observe answers {answer:?}");
    }
    drop(doomed);
    other.observe(START, &[])?;
    Ok(())
}
