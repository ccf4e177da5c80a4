//! Answers of the control API as text for people.

use std::fmt::Write;

use serde_json::{Value, json};
use vreserve_model::BitsPerSecond;

use crate::config::ConfigError;

/// A configuration error as JSON.
pub(super) fn config_error(error: &ConfigError) -> Value {
    json!({
        "file": error.file,
        "line": error.location.map(|at| at.line),
        "column": error.location.map(|at| at.column),
        "subject": error.subject,
        "message": error.message,
        "suggestion": error.suggestion,
    })
}

/// A table with a header line; columns as wide as they must be.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    };
    line(header.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
    text
}

/// A value as a cell: text bare, nothing as a dash.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What is in a list; nothing of what is none.
pub(super) fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The named fields of each entry of a list, as rows.
pub(super) fn rows(list: &Value, fields: &[&str]) -> Vec<Vec<String>> {
    entries(list).map(|entry| fields.iter().map(|field| cell(&entry[*field])).collect()).collect()
}

/// A number; 0 of what is none.
pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

/// A rate as a configuration would say it.
pub(super) fn rate(value: &Value) -> String {
    BitsPerSecond(value.as_u64().unwrap_or_default()).to_string()
}

/// A count of bytes in the unit that suits it.
fn bytes(value: &Value) -> String {
    let count = number(value);
    const UNITS: [(f64, &str); 3] = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", count / unit),
        None => format!("{count} B"),
    }
}

fn mbps(value: &Value) -> String {
    format!("{:.2} Mbit/s", number(value) / 1e6)
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// What a reload changed.
pub(super) fn reload(changes: &Value) -> String {
    let lines: Vec<String> = entries(changes).map(cell).collect();
    if lines.is_empty() { "nothing has changed\n".to_owned() } else { lines.join("\n") + "\n" }
}

pub(super) fn status(status: &Value) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} ({}), vreserve {}, up {} s, overlay revision {}",
        cell(&status["name"]),
        cell(&status["role"]),
        cell(&status["version"]),
        status["uptime_s"],
        status["revision"]
    );
    let _ = writeln!(text, "public key {}", cell(&status["public_key"]));
    let config = &status["config"];
    let loaded = time_of_day(config["loaded_ms"].as_u64().unwrap_or_default());
    let _ = writeln!(text, "configuration {}, loaded at {loaded}", cell(&config["file"]));
    for line in config["last_error"].as_str().unwrap_or_default().lines() {
        let _ = writeln!(text, "  not reloaded: {line}");
    }
    text.push_str(&journal(&status["journal"]));
    let plugins: Vec<Vec<String>> = entries(&status["plugins"])
        .map(|plugin| {
            let (state, reason) = match &plugin["state"] {
                Value::String(state) => (state.clone(), String::new()),
                failed => ("failed".to_owned(), cell(&failed["failed"])),
            };
            let instance = format!("{}.{}", cell(&plugin["kind"]), cell(&plugin["instance"]));
            let note = plugin["note"].as_str().unwrap_or_default().to_owned();
            let reason =
                [reason, note].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
            vec![instance, cell(&plugin["plugin"]), cell(&plugin["version"]), state, reason]
        })
        .collect();
    let _ =
        write!(text, "\n{}", table(&["INSTANCE", "PLUGIN", "VERSION", "STATE", "REASON OR NOTE"], &plugins));
    let ports: Vec<Vec<String>> = entries(&status["ports"])
        .map(|port| {
            vec![
                cell(&port["name"]),
                bytes(&port["received_bytes"]),
                bytes(&port["sent_bytes"]),
                cell(&port["violations"]),
                cell(&port["failure"]),
            ]
        })
        .collect();
    let _ = write!(text, "\n{}", table(&["PORT", "RECEIVED", "SENT", "VIOLATIONS", "FAILURE"], &ports));
    for (title, field) in
        [("GUEST", "guests"), ("DROPPED", "drops"), ("TOO BIG", "too_big"), ("COUNTER", "counters")]
    {
        let rows: Vec<Vec<String>> = object(&status[field])
            .filter(|(_, value)| value.as_u64() != Some(0))
            .map(|(name, value)| vec![name.clone(), cell(value)])
            .collect();
        if !rows.is_empty() {
            let _ = write!(text, "\n{}", table(&[title, ""], &rows));
        }
    }
    text
}

pub(super) fn links(links: &Value) -> String {
    let rows: Vec<Vec<String>> = entries(links)
        .map(|link| {
            let mut row: Vec<String> = ["id", "class", "far_node", "endpoint", "far_address", "health"]
                .map(|f| cell(&link[f]))
                .into();
            row.push(link["rtt_us"].as_f64().map_or("-".to_owned(), |us| format!("{:.2} ms", us / 1e3)));
            row.push(link["loss"].as_f64().map_or("-".to_owned(), |loss| format!("{:.1} %", loss * 100.0)));
            row.push(bytes(&link["sent_bytes"]));
            row.push(bytes(&link["received_bytes"]));
            row
        })
        .collect();
    let header =
        ["LINK", "CLASS", "FAR NODE", "ENDPOINT", "FAR ADDRESS", "HEALTH", "RTT", "LOSS", "SENT", "RECEIVED"];
    table(&header, &rows)
}

pub(super) fn rules(rules: &Value) -> String {
    let rows = rows(rules, &["priority", "source", "destination", "ingress", "action"]);
    table(&["PRIORITY", "SOURCE", "DESTINATION", "INGRESS", "ACTION"], &rows)
}

pub(super) fn matrix(matrix: &Value) -> String {
    let rows: Vec<Vec<String>> = entries(&matrix["cells"])
        .map(|pair| {
            vec![
                cell(&pair["source"]),
                cell(&pair["destination"]),
                bytes(&pair["bytes"]),
                cell(&pair["frames"]),
            ]
        })
        .collect();
    table(&["SOURCE", "DESTINATION", "BYTES", "FRAMES"], &rows)
}

pub(super) fn topology(topology: &Value) -> String {
    let settled = if topology["settled"] == true { "settled" } else { "unsettled" };
    let mut text = format!("pattern {}, {settled}\n", cell(&topology["pattern"]));
    let demands: Vec<Vec<String>> = entries(&topology["demands"])
        .map(|demand| {
            vec![
                cell(&demand["source"]),
                cell(&demand["destination"]),
                mbps(&demand["rate"]),
                format!("{:.0}", number(&demand["frames_per_second"])),
                format!("{:.2}", number(&demand["confidence"])),
            ]
        })
        .collect();
    let header = ["SOURCE", "DESTINATION", "RATE", "FRAMES/S", "CONFIDENCE"];
    let _ = write!(text, "\n{}", table(&header, &demands));
    let _ = write!(text, "\n{}", table(&["GUEST", "NODE"], &rows(&topology["guests"], &["mac", "node"])));
    text
}

pub(super) use super::booking::calendar;

pub(super) fn reservations(view: &Value) -> String {
    let backends: Vec<Vec<String>> = entries(&view["backends"])
        .map(|backend| {
            let state = if backend["up"] == true { "up" } else { "down" };
            vec![cell(&backend["network"]), state.to_owned(), cell(&backend["reason"])]
        })
        .collect();
    let mut text = table(&["NETWORK", "BACKEND", "REASON"], &backends);
    text.push_str(&journal(&view["journal"]));
    let circuit = |circuit: &Value| {
        let labels: Vec<String> =
            object(&circuit["labels"]).map(|(name, value)| format!("{name} {}", cell(value))).collect();
        let reason = [&circuit["waits_for"], &circuit["last_failure"]].into_iter().find(|v| !v.is_null());
        vec![
            cell(&circuit["circuit"]),
            format!("{} - {}", cell(&circuit["a"]), cell(&circuit["z"])),
            cell(&circuit["network"]),
            cell(&circuit["phase"]),
            cell(&circuit["state"]),
            cell(&circuit["native_id"]),
            labels.join(", "),
            reason.map(cell).unwrap_or_default(),
        ]
    };
    for field in ["circuits", "history"] {
        let rows: Vec<Vec<String>> = entries(&view[field]).map(circuit).collect();
        if !rows.is_empty() {
            let title = if field == "history" { "PAST CIRCUIT" } else { "CIRCUIT" };
            let header = [title, "ENDS", "NETWORK", "PHASE", "STATE", "PROVIDER ID", "LABELS", "REASON"];
            let _ = write!(text, "\n{}", table(&header, &rows));
        }
    }
    let orphans = rows(&view["orphans"], &["network", "key", "native_id", "reason"]);
    if !orphans.is_empty() {
        let _ = write!(text, "\n{}", table(&["ORPHAN ON", "KEY", "PROVIDER ID", "REASON"], &orphans));
    }
    let notes = entries(&view["notes"]).map(cell);
    for note in notes {
        let _ = write!(text, "\nnote: {note}");
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Of milliseconds since the Unix epoch.
fn time_of_day(at_ms: u64) -> String {
    let (hours, minutes) = (at_ms / 3_600_000 % 24, at_ms / 60_000 % 60);
    let (seconds, millis) = (at_ms / 1000 % 60, at_ms % 1000);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// How the lead's journal does; nothing for a node that has none.
fn journal(journal: &Value) -> String {
    if !journal.is_object() {
        return String::new();
    }
    let summary = vec![
        cell(&journal["state"]),
        cell(&journal["records"]),
        format!("{:.1} ms", number(&journal["last_write_us"]) / 1e3),
        cell(&journal["reason"]),
    ];
    let mut text = format!("\n{}", table(&["JOURNAL", "RECORDS", "LAST WRITE", "REASON"], &[summary]));
    let unreadable: Vec<Vec<String>> =
        object(&journal["unreadable"]).map(|(key, reason)| vec![key.clone(), cell(reason)]).collect();
    if !unreadable.is_empty() {
        let _ = write!(text, "\n{}", table(&["RECORD LEFT ALONE", "REASON"], &unreadable));
    }
    text
}

/// One event in one line: time, name, then its fields.
pub(super) fn event(record: &Value) -> String {
    let at = record["at_ms"].as_u64().unwrap_or_default();
    let mut line = format!("{} {}", time_of_day(at), cell(&record["event"]));
    for (name, value) in
        object(record).filter(|(name, _)| !["seq", "at_ms", "event"].contains(&name.as_str()))
    {
        let _ = write!(line, " {name}={}", cell(value));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_missing_values_are_dashes() {
        let links =
            json!([{ "id": 1, "class": "star", "far_node": "hub", "rtt_us": 1500, "sent_bytes": 2_000_000 }]);
        let text = super::links(&links);
        assert!(text.contains("1     star   hub       -"), "{text}");
        assert!(text.contains("1.50 ms"), "{text}");
        assert!(text.contains("2.0 MB"), "{text}");
    }

    #[test]
    fn a_journal_that_fails_says_why_wherever_it_is_shown() {
        let journal = json!({
            "state": "failing", "reason": "no space left on device", "records": 3, "last_write_us": 1500,
            "unreadable": { "hub-1-2": "it is of version 2" },
        });
        for text in [
            super::status(&json!({ "journal": journal })),
            super::reservations(&json!({ "journal": journal })),
        ] {
            assert!(text.contains("failing  3        1.5 ms      no space left on device"), "{text}");
            assert!(text.contains("hub-1-2            it is of version 2"), "{text}");
        }
        assert!(!super::status(&json!({ "journal": null })).contains("JOURNAL"));
    }

    #[test]
    fn events_fit_on_one_line() {
        let text = event(&json!({ "seq": 1, "at_ms": 3_723_004, "event": "node_joined", "node": "alpha" }));
        assert_eq!(text, "01:02:03.004Z node_joined node=alpha");
    }
}
