//! The traffic matrix as a heat map: senders down, receivers across, darker for more.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use vreserve_model::MacAddr;

use super::super::Bytes;
use super::super::report::{PairFacts, Report};
use super::plot::{self, LEFT};

/// Guests in the picture, the most active ones.
const MAX_GUESTS: usize = 40;
const TOP: f64 = 120.0;
const LARGEST_CELL: f64 = 34.0;

pub(super) fn draw(out: &mut String, report: &Report) -> fmt::Result {
    let guests = most_active(&report.pairs);
    if guests.is_empty() {
        out.push_str("<p class=\"faint\">Nobody sent to anybody known.</p>\n");
        return Ok(());
    }
    let cell = ((plot::WIDTH - LEFT - 20.0) / guests.len() as f64).min(LARGEST_CELL);
    let place: BTreeMap<MacAddr, usize> = guests.iter().copied().zip(0..).collect();
    let at = |guest: &MacAddr| place.get(guest).map(|index| *index as f64 * cell);
    let largest = report.pairs.iter().filter(|pair| pair.to.is_some()).map(|pair| pair.volume.bytes).max();
    let largest = (largest.unwrap_or(1).max(2) as f64).ln();
    plot::open(out, TOP + cell * guests.len() as f64 + 10.0, "traffic matrix of the guests")?;
    for guest in &guests {
        let along = at(guest).unwrap_or_default() + cell / 2.0;
        let (x, y) = (LEFT - 6.0, TOP + along + 4.0);
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{guest}</text>")?;
        let (x, y) = (LEFT + along + 4.0, TOP - 6.0);
        writeln!(out, "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{guest}</text>")?;
    }
    let side = cell * guests.len() as f64;
    writeln!(
        out,
        "<rect class=\"grid\" fill=\"none\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{side:.1}\" height=\"{side:.1}\"/>"
    )?;
    for pair in &report.pairs {
        let Some((x, y)) = at(&pair.destination).zip(at(&pair.source)) else { continue };
        let strength = (pair.volume.bytes.max(1) as f64).ln() / largest;
        let colour = if pair.on_circuits * 2 > pair.volume.bytes { "circuit" } else { "star" };
        writeln!(
            out,
            "<rect fill=\"var(--{colour})\" fill-opacity=\"{:.2}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\"><title>{} to {}: {}, {} on circuits</title></rect>",
            strength.clamp(0.05, 1.0),
            LEFT + x,
            TOP + y,
            cell - 1.0,
            cell - 1.0,
            pair.source,
            pair.destination,
            Bytes(pair.volume.bytes),
            Bytes(pair.on_circuits)
        )?;
    }
    out.push_str(
        "</svg>\n<p class=\"faint\">Senders down, receivers across; strength by the logarithm of bytes. ",
    );
    out.push_str("Green: more than half of it would have been on circuits.</p>\n");
    Ok(())
}

/// The guests that sent and received most, by node and address.
fn most_active(pairs: &[PairFacts]) -> Vec<MacAddr> {
    let mut sums: BTreeMap<MacAddr, (u64, &str)> = BTreeMap::new();
    for pair in pairs {
        let Some(to) = &pair.to else { continue };
        for (guest, node) in [(pair.source, &pair.from), (pair.destination, to)] {
            let sum = sums.entry(guest).or_insert((0, node));
            sum.0 = sum.0.saturating_add(pair.volume.bytes);
        }
    }
    let mut active: Vec<_> = sums.into_iter().collect();
    active.sort_by_key(|(guest, (bytes, _))| (std::cmp::Reverse(*bytes), *guest));
    active.truncate(MAX_GUESTS);
    active.sort_by_key(|(guest, (_, node))| (*node, *guest));
    active.into_iter().map(|(guest, _)| guest).collect()
}
