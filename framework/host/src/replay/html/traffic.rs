//! Traffic over time: what the star would have carried, and on top what circuits would have.

use std::fmt::{self, Write};
use std::time::Duration;

use super::super::BitRate;
use super::super::report::Report;
use super::super::series::Slice;
use super::plot::{self, BELOW, LEFT, RIGHT, TimeAxis};

const TOP: f64 = 12.0;
const HEIGHT: f64 = 220.0;

pub(super) fn draw(out: &mut String, report: &Report) -> fmt::Result {
    let series = &report.traffic;
    let axis = TimeAxis::new(report.end());
    let rate = |bytes: u64| bytes as f64 * 8.0 / series.width.as_secs_f64();
    let peak = report.gain.peak.max(1.0);
    let step = plot::round_step(peak, 5);
    let top = (peak / step).ceil() * step;
    let y = |rate: f64| TOP + HEIGHT * (1.0 - rate / top);
    plot::open(out, TOP + HEIGHT + BELOW, "traffic between nodes over time")?;
    axis.draw(out, TOP, TOP + HEIGHT)?;
    let mut level = 0.0;
    while level <= top * 1.000_1 {
        let (at, text_y) = (y(level), y(level) + 4.0);
        plot::line(out, "grid", (LEFT, at), (RIGHT, at))?;
        let (x, label) = (LEFT - 6.0, BitRate(level));
        writeln!(out, "<text x=\"{x:.1}\" y=\"{text_y:.1}\" text-anchor=\"end\">{label}</text>")?;
        level += step;
    }
    let edge = |index: usize| axis.x(series.width * u32::try_from(index).unwrap_or(u32::MAX));
    let mut area = |colour: &str, of: &dyn Fn(&Slice) -> u64| -> fmt::Result {
        write!(out, "<path fill=\"var(--{colour})\" d=\"M{:.1} {:.1}", edge(0), y(0.0))?;
        for (index, slice) in series.slices.iter().enumerate() {
            let height = y(rate(of(slice)));
            write!(out, "L{:.1} {height:.1}L{:.1} {height:.1}", edge(index), edge(index + 1))?;
        }
        writeln!(out, "L{:.1} {:.1}Z\"/>", edge(series.slices.len()), y(0.0))
    };
    area("circuit", &|slice| slice.bytes)?;
    area("star", &|slice| slice.bytes - slice.on_circuits)?;
    if report.capture.lasted < report.end() {
        mark_end(out, axis, report.capture.lasted)?;
    }
    out.push_str("</svg>\n<p class=\"key faint\"><i style=\"background: var(--star)\"></i>on the star");
    out.push_str("<i style=\"background: var(--circuit)\"></i>on circuits");
    writeln!(out, ", in slices of {} s</p>", plot::short(series.width.as_secs_f64()))
}

/// What comes later is silence.
fn mark_end(out: &mut String, axis: TimeAxis, end: Duration) -> fmt::Result {
    let x = axis.x(end);
    plot::line(out, "axis", (x, TOP), (x, TOP + HEIGHT))?;
    let text_x = x + 4.0;
    writeln!(out, "<text class=\"faint\" x=\"{text_x:.1}\" y=\"{:.1}\">the capture ends</text>", TOP + 10.0)
}
