//! Circuits over time: a bar for each reservation, from its request until it is given back.

use std::fmt::{self, Write};
use std::time::Duration;

use super::super::account::Reservation;
use super::super::report::Report;
use super::super::{At, Bytes};
use super::Escaped;
use super::plot::{self, BELOW, LEFT, TimeAxis};

const TOP: f64 = 8.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
/// Bars in the picture; the table below has more.
const MAX_BARS: usize = 100;
/// Characters of a label that have room.
const LABEL: usize = 24;

pub(super) fn draw(out: &mut String, report: &Report) -> fmt::Result {
    if report.reservations.is_empty() {
        out.push_str("<p class=\"faint\">Nothing would have been reserved.</p>\n");
        return Ok(());
    }
    let shown = report.reservations.len().min(MAX_BARS);
    let bottom = TOP + ROW * shown as f64;
    let (axis, end) = (TimeAxis::new(report.end()), report.end());
    plot::open(out, bottom + BELOW, "circuits over time")?;
    axis.draw(out, TOP, bottom)?;
    for (index, one) in report.reservations.iter().take(shown).enumerate() {
        draw_bar(out, axis, end, TOP + ROW * index as f64, one)?;
    }
    out.push_str("</svg>\n<p class=\"key faint\">");
    for (colour, what) in [("setup", "being set up"), ("circuit", "in use"), ("teardown", "being given back")]
    {
        write!(out, "<i style=\"background: var(--{colour})\"></i>{what}")?;
    }
    out.push_str("</p>\n");
    Ok(())
}

fn draw_bar(out: &mut String, axis: TimeAxis, end: Duration, top: f64, one: &Reservation) -> fmt::Result {
    let name: String = format!("{} - {}", one.link.a, one.link.z).chars().take(LABEL).collect();
    let (x, y) = (LEFT - 6.0, top + BAR);
    writeln!(out, "<g><title>{}</title>", Escaped(words(one)))?;
    writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", Escaped(name))?;
    let released = one.released_at.unwrap_or(end);
    let ending = one.ending_at.unwrap_or(released);
    let carrying = one.carrying_at.unwrap_or(ending);
    for (colour, from, to) in
        [("setup", one.asked_at, carrying), ("circuit", carrying, ending), ("teardown", ending, released)]
    {
        let (from, to) = (axis.x(from), axis.x(to));
        if to > from {
            let (width, y) = (to - from, top + 3.0);
            writeln!(
                out,
                "<rect fill=\"var(--{colour})\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>"
            )?;
        }
    }
    out.push_str("</g>\n");
    Ok(())
}

fn words(one: &Reservation) -> String {
    let time = |at: Option<_>| at.map_or_else(|| "never".to_owned(), |at| At(at).to_string());
    format!(
        "{} - {} on {}: asked for at {}, in use from {} to {}, gone at {}, {}",
        one.link.a,
        one.link.z,
        one.link.network,
        At(one.asked_at),
        time(one.carrying_at),
        time(one.ending_at),
        time(one.released_at),
        Bytes(one.bytes)
    )
}
