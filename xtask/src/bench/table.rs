//! A record as a person reads it: ratios first, the figures behind them, and whether promises are kept. Pure.

use std::fmt::Write;

use super::record::{Record, Row};
use super::spread::Spread;

/// The whole record, ending with a line feed.
pub(crate) fn of(record: &Record) -> String {
    let mut text = String::new();
    let machine = &record.machine;
    // A suite that counts its work instead of the time has no length.
    let length = if record.seconds > 0.0 { format!(" of {} s", record.seconds) } else { String::new() };
    let head = format!(
        "bench {}: {} rounds{length}; Linux {}, {} × {}\n",
        record.suite, record.rounds, machine.kernel, machine.processors, machine.processor
    );
    text += &head;
    let header =
        ["setting", "subject", "metric", "ratio", "(min–max)", "target", "", "value", "baseline", "unit"];
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(record.rows.iter().map(cells));
    let widths: [usize; 10] =
        std::array::from_fn(|nth| lines.iter().map(|line| line[nth].chars().count()).max().unwrap_or(0));
    let mut setting = None;
    for line in &lines {
        if setting.replace(&line[0]).is_some_and(|last| *last != line[0]) {
            text.push('\n');
        }
        let cells: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).expect("text can be written");
    }
    for (what, lines) in [("note", &record.notes), ("SKIPPED", &record.skipped)] {
        lines.iter().for_each(|line| text += &format!("{what}: {line}\n"));
    }
    text
}

fn cells(row: &Row) -> [String; 10] {
    let spread = |spread: Spread| format!("({}–{})", figure(spread.min), figure(spread.max));
    let bound = row.target.map(|target| target.text());
    [
        row.setting.clone(),
        row.subject.clone(),
        row.metric.label().to_owned(),
        row.ratio.map_or_else(String::new, |ratio| figure(ratio.median)),
        row.ratio.map_or_else(|| spread(row.value), spread),
        bound.unwrap_or_default(),
        match row.holds {
            Some(true) => "pass".to_owned(),
            Some(false) => "MISS".to_owned(),
            None => String::new(),
        },
        figure(row.value.median),
        row.baseline.map_or_else(String::new, |baseline| figure(baseline.median)),
        row.unit.clone(),
    ]
}

/// Three digits that count, whatever the size.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.095 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::metric::Metric;
    use super::super::record::Sample;
    use super::*;

    #[test]
    fn a_ratio_comes_with_its_target_and_whether_it_is_met() {
        let sample = Sample {
            round: 0,
            setting: "wire".to_owned(),
            subject: "clear".to_owned(),
            metric: Metric::Tcp1,
            value: 5.0,
            baseline: Some(10.0),
        };
        let text = of(&Record::new("dataplane", 1, 1.0, vec![sample]));
        let line = text.lines().find(|line| line.starts_with("wire")).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "wire",
                "clear",
                "TCP,",
                "1",
                "stream",
                "0.50",
                "(0.50–0.50)",
                "≥",
                "1",
                "MISS",
                "5.00",
                "10.0",
                "Gbit/s"
            ]
        );
    }

    #[test]
    fn figures_keep_three_digits() {
        let figures = [1234.6, 99.94, 9.994, 0.5, 0.0123, 0.0].map(figure);
        assert_eq!(figures, ["1235", "99.9", "9.99", "0.50", "0.012", "0.00"]);
    }
}
