//! What the plots share: the frame of a plot over time, and round steps for its axes.

use std::fmt::{self, Write};
use std::time::Duration;

/// The width of every plot, in SVG's units.
pub(super) const WIDTH: f64 = 960.0;
/// Where time begins, right of the labels.
pub(super) const LEFT: f64 = 150.0;
/// Where it ends.
pub(super) const RIGHT: f64 = WIDTH - 20.0;
/// Room below a plot for the times.
pub(super) const BELOW: f64 = 26.0;

/// Time along a plot.
#[derive(Clone, Copy)]
pub(super) struct TimeAxis {
    end: f64,
}

impl TimeAxis {
    /// From the beginning of the capture to `end`.
    pub(super) fn new(end: Duration) -> Self {
        TimeAxis { end: end.as_secs_f64().max(1e-3) }
    }

    /// Where a moment is.
    pub(super) fn x(self, at: Duration) -> f64 {
        LEFT + (at.as_secs_f64() / self.end).min(1.0) * (RIGHT - LEFT)
    }

    /// Writes the axis at `y`, with lines up to `top`.
    pub(super) fn draw(self, out: &mut String, top: f64, y: f64) -> fmt::Result {
        let step = round_step(self.end, 8);
        let mut at = 0.0;
        while at <= self.end {
            let x = self.x(Duration::from_secs_f64(at));
            line(out, "grid", (x, top), (x, y))?;
            let label_y = y + 16.0;
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{label_y:.1}\" text-anchor=\"middle\">{} s</text>",
                short(at)
            )?;
            at += step;
        }
        line(out, "axis", (LEFT, y), (RIGHT, y))
    }
}

/// Opens a picture of this height; `label` says what it shows to who cannot see it.
pub(super) fn open(out: &mut String, height: f64, label: &str) -> fmt::Result {
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"{label}\">"
    )
}

/// A line of a class of the style sheet.
pub(super) fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) -> fmt::Result {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(out, "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>")
}

/// A step of 1, 2 or 5 times a power of ten that divides `end` into at most `most` parts.
pub(super) fn round_step(end: f64, most: u32) -> f64 {
    let least = (end / f64::from(most.max(1))).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// A number without needless digits.
pub(super) fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        for (end, step) in [(60.0, 10.0), (7.3, 1.0), (8.0, 1.0), (1_000.0, 200.0), (0.05, 0.01), (17.0, 5.0)]
        {
            assert!((round_step(end, 8) / step - 1.0).abs() < 1e-9, "{end}: {}", round_step(end, 8));
        }
        assert_eq!((short(2.50), short(10.0), short(0.0)), ("2.5".into(), "10".into(), "0".into()));
    }
}
