//! Bars of ratios as SVG: one bar a row, its median, how far rounds lie apart, and what is promised. Pure.

use std::fmt::Write;

use super::record::Row;
use super::spread::Spread;
use super::table::figure;
use super::target::{Bound, Of};

/// In pixels.
const WIDTH: f64 = 860.0;
const LABELS: f64 = 300.0;
const FIGURES: f64 = 150.0;
const BAR: f64 = 22.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 26.0;
/// Readable on white and on dark grey alike.
const PASS: &str = "#2e8b57";
const MISS: &str = "#c0504d";
const PLAIN: &str = "#5b7aa6";
const INK: &str = "#808080";

/// What a row's bar shows: the ratio where there is one, else the value.
fn shown(row: &Row) -> Spread {
    row.ratio.unwrap_or(row.value)
}

/// A picture of rows of one metric; nothing of none.
pub(crate) fn bars(title: &str, rows: &[&Row]) -> Option<String> {
    let longest = rows.iter().map(|row| shown(row).max.max(bound_of(row).unwrap_or(0.0))).reduce(f64::max)?;
    let height = TOP + BAR * rows.len() as f64 + BOTTOM;
    let plot = Plot { scale: (WIDTH - LABELS - FIGURES) / (longest.max(f64::MIN_POSITIVE) * 1.05) };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <text x=\"8\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    for (nth, row) in rows.iter().enumerate() {
        svg += &plot.bar(row, TOP + BAR * nth as f64);
    }
    if rows.iter().any(|row| row.ratio.is_some()) && longest >= 1.0 {
        svg += &plot.baseline(height);
    }
    svg += "</svg>\n";
    Some(svg)
}

/// From figures to pixels.
struct Plot {
    scale: f64,
}

impl Plot {
    fn x(&self, figure: f64) -> f64 {
        LABELS + figure * self.scale
    }

    fn bar(&self, row: &Row, y: f64) -> String {
        let spread = shown(row);
        let colour = match row.holds {
            Some(true) => PASS,
            Some(false) => MISS,
            None => PLAIN,
        };
        let middle = y + BAR / 2.0;
        let mut svg = String::new();
        let label = escaped(&format!("{} · {}", row.setting, row.subject));
        let lines = [
            format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LABELS - 8.0,
                middle + 4.0
            ),
            format!(
                "<rect x=\"{LABELS:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                y + 4.0,
                (spread.median * self.scale).max(1.0),
                BAR - 8.0
            ),
            format!(
                "<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"{INK}\" stroke-width=\"2\"/>",
                self.x(spread.min),
                self.x(spread.max)
            ),
            format!(
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - FIGURES + 8.0,
                middle + 4.0,
                words(row)
            ),
        ];
        lines.iter().for_each(|line| writeln!(svg, "{line}").expect("text can be written"));
        if let Some(bound) = bound_of(row) {
            let (x, top, bottom) = (self.x(bound), y + 1.0, y + BAR - 1.0);
            writeln!(svg, "<path d=\"M{x:.1} {top:.1}V{bottom:.1}\" stroke=\"#d4a017\" stroke-width=\"3\"/>")
                .expect("text can be written");
        }
        svg
    }

    /// Where the baseline is.
    fn baseline(&self, height: f64) -> String {
        let (x, bottom) = (self.x(1.0), height - BOTTOM);
        format!(
            "<path d=\"M{x:.1} {:.1}V{bottom:.1}\" stroke=\"{INK}\" stroke-dasharray=\"4 3\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">1</text>\n",
            TOP - 4.0,
            bottom + 16.0
        )
    }
}

/// The target that belongs to what the bar shows.
fn bound_of(row: &Row) -> Option<f64> {
    let target = row.target?;
    let fits = (target.of == Of::Ratio) == row.ratio.is_some();
    let (Bound::AtLeast(bound) | Bound::AtMost(bound)) = target.bound;
    fits.then_some(bound)
}

fn words(row: &Row) -> String {
    let value = format!("{} {}", figure(row.value.median), row.unit);
    escaped(&match row.ratio {
        Some(ratio) => format!("×{}  ({value})", figure(ratio.median)),
        None => value,
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::metric::Metric;
    use super::super::record::{Record, Sample};
    use super::*;

    #[test]
    fn a_bar_shows_the_median_the_spread_and_the_target() {
        let sample = |round, value| Sample {
            round,
            setting: "wire".to_owned(),
            subject: "clear".to_owned(),
            metric: Metric::Tcp1,
            value,
            baseline: Some(10.0),
        };
        let record = Record::new("dataplane", 2, 1.0, vec![sample(0, 4.0), sample(1, 6.0)]);
        let svg = bars("TCP & more", &record.rows.iter().collect::<Vec<_>>()).unwrap();
        assert!(
            svg.contains("TCP &amp; more") && svg.contains("wire · clear") && svg.contains("×0.50"),
            "{svg}"
        );
        assert!(svg.contains(MISS) && svg.contains("#d4a017"), "missed, and by how much");
        assert_eq!(bars("empty", &[]), None);
    }
}
