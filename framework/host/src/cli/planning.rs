//! `vreserve explain` and `vreserve plan --what-if`: why the planner did what it did, and what it would do.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use vreserve_model::BitsPerSecond;

use super::Ask;
use super::render::{cell, entries, number, rate, rows, table};
use crate::api::Request;
use crate::control::lead::SupposedDemand;

/// A dry run.
#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    ask: Ask,
    /// The matrix: TOML with tables `[[demands]]`, or JSON as `vreserve topology --json` prints it
    #[arg(long, value_name = "FILE", required = true)]
    what_if: PathBuf,
}

/// What is read of the file; a printed topology has more in it.
#[derive(Deserialize)]
struct Matrix {
    demands: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    source: String,
    destination: String,
    rate: BitsPerSecond,
    frames_per_second: Option<f64>,
}

impl Plan {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = &self.what_if;
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let demands = matrix(path, &text)?;
        self.ask.show(&Request::WhatIf { demands }, what_if)
    }
}

fn matrix(path: &Path, text: &str) -> anyhow::Result<Vec<SupposedDemand>> {
    let is_json = text.trim_start().starts_with('{');
    let read = if is_json {
        serde_json::from_str(text).map_err(anyhow::Error::from)
    } else {
        toml::from_str(text).map_err(anyhow::Error::from)
    };
    let matrix: Matrix = read.with_context(|| format!("{} is no matrix", path.display()))?;
    let demand = |entry: Entry| SupposedDemand {
        source: entry.source,
        destination: entry.destination,
        rate: entry.rate,
        frames_per_second: entry.frames_per_second.map(|frames| frames.round() as u64),
    };
    Ok(matrix.demands.into_iter().map(demand).collect())
}

fn seconds(millis: &Value) -> String {
    millis.as_u64().map_or("-".to_owned(), |millis| format!("{:.1} s", millis as f64 / 1000.0))
}

/// An explanation as text.
pub(super) fn explanation(view: &Value) -> String {
    let mut text = String::new();
    let told = &view["explanation"];
    // Writing to a String cannot fail.
    let _ = match told.as_object() {
        Some(_) => writeln!(
            text,
            "{} and {}: {}: {}",
            cell(&view["pair"]["a"]),
            cell(&view["pair"]["z"]),
            cell(&told["decision"]),
            cell(&told["why"])
        ),
        None => writeln!(
            text,
            "{} and {}: the planner gives no reasons; it wants {}",
            cell(&view["pair"]["a"]),
            cell(&view["pair"]["z"]),
            match view["wanted"].as_object() {
                Some(_) => format!(
                    "{} on {}: {}",
                    rate(&view["wanted"]["rate"]),
                    cell(&view["wanted"]["network"]),
                    cell(&view["wanted"]["reason"])
                ),
                None => "no link between them".to_owned(),
            }
        ),
    };
    for reason in entries(&told["otherwise"]) {
        let _ = writeln!(text, "  {}", cell(reason));
    }
    for node in entries(&view["silent_nodes"]) {
        let _ = writeln!(text, "  {} does not report: what its guests send is unknown", cell(node));
    }
    for note in entries(&view["notes"]) {
        let _ = writeln!(text, "  note: {}", cell(note));
    }
    text.push_str(&evidence(view));
    if told.is_object() {
        text.push_str(&numbers(told));
    }
    let circuits =
        rows(&view["circuits"], &["circuit", "network", "phase", "state", "waits_for", "last_failure"]);
    if !circuits.is_empty() {
        let header = ["CIRCUIT", "NETWORK", "PHASE", "STATE", "WAITS FOR", "LAST FAILURE"];
        let _ = write!(text, "\n{}", table(&header, &circuits));
    }
    text
}

fn evidence(view: &Value) -> String {
    let demands: Vec<Vec<String>> = entries(&view["evidence"])
        .map(|demand| {
            vec![
                cell(&demand["source"]),
                cell(&demand["destination"]),
                rate(&demand["rate"]),
                format!("{:.0}", number(&demand["frames_per_second"])),
                format!("{:.2}", number(&demand["confidence"])),
            ]
        })
        .collect();
    if demands.is_empty() {
        return "\nno traffic between their guests was seen\n".to_owned();
    }
    format!("\n{}", table(&["SOURCE", "DESTINATION", "RATE", "FRAMES/S", "CONFIDENCE"], &demands))
}

/// Demand and its history, candidates and budgets.
fn numbers(told: &Value) -> String {
    let history: Vec<String> = entries(&told["history_ms"]).map(seconds).collect();
    let history = if history.is_empty() { "never".to_owned() } else { history.join(", ") };
    let mut text = format!(
        "\ndemand {} ({} bulk pairs, {} latency-bound), there for {}, expected for {} more; before: {history}\n",
        rate(&told["demand"]),
        told["bulk_pairs"],
        told["latency_pairs"],
        seconds(&told["lasts_ms"]),
        seconds(&told["expected_ms"]),
    );
    let candidates: Vec<Vec<String>> = entries(&told["candidates"])
        .map(|candidate| {
            vec![
                cell(&candidate["network"]),
                rate(&candidate["rate"]),
                seconds(&candidate["setup_ms"]),
                seconds(&candidate["teardown_ms"]),
                format!("{:.0} %", number(&candidate["share"]) * 100.0),
                cell(&candidate["cost"]),
                candidate["refused"].as_str().unwrap_or("possible").to_owned(),
            ]
        })
        .collect();
    if !candidates.is_empty() {
        let least =
            told["least_share"].as_f64().map_or("any".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let share = format!("IN USE (AT LEAST {least})");
        let header = ["CANDIDATE", "RATE", "SET-UP", "TEARDOWN", share.as_str(), "COST", "VERDICT"];
        let _ = write!(text, "\n{}", table(&header, &candidates));
    }
    let budgets = rows(&told["budgets"], &["limit", "used", "most"]);
    if !budgets.is_empty() {
        let _ = write!(text, "\n{}", table(&["BUDGET", "USED", "OF"], &budgets));
    }
    text
}

/// A dry run as text.
fn what_if(view: &Value) -> String {
    let row = |link: &Value| {
        vec![
            format!("{} - {}", cell(&link["a"]), cell(&link["z"])),
            cell(&link["network"]),
            rate(&link["rate"]),
            cell(&link["reason"]),
        ]
    };
    let mut text = String::new();
    for change in entries(&view["changes"]) {
        let verb = if change["asks"] == true { "asks for" } else { "gives back" };
        let (link, after) = (row(change), change["after_s"].as_u64().unwrap_or_default());
        let _ = writeln!(text, "after {after:>2} s {verb} {} on {}, {}", link[0], link[1], link[2]);
    }
    if text.is_empty() {
        text.push_str("nothing would change\n");
    }
    let links: Vec<Vec<String>> = entries(&view["wanted"]["links"]).map(row).collect();
    if !links.is_empty() {
        let _ = write!(text, "\n{}", table(&["WANTED", "NETWORK", "RATE", "REASON"], &links));
    }
    let _ = writeln!(
        text,
        "\n{} of {} would take circuits after {} s; the star has the rest",
        rate(&view["on_circuits"]),
        rate(&view["demand"]),
        view["lasted_s"]
    );
    for note in entries(&view["wanted"]["notes"]) {
        let _ = writeln!(text, "note: {}", cell(note));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_matrix_is_read_as_toml_and_as_a_printed_topology() {
        let path = Path::new("m");
        let toml = "[[demands]]\nsource = \"alpha\"\ndestination = \"beta\"\nrate = \"80mbit\"\n";
        let read = matrix(path, toml).unwrap();
        assert_eq!(
            (read[0].source.as_str(), read[0].rate.0, read[0].frames_per_second),
            ("alpha", 80_000_000, None)
        );
        let topology = json!({ "pattern": "pairs", "demands": [{
            "source": "02:00:00:00:00:01", "destination": "02:00:00:00:00:02", "rate": 7, "frames_per_second": 9.6,
            "confidence": 1.0,
        }]});
        assert_eq!(matrix(path, &topology.to_string()).unwrap()[0].frames_per_second, Some(10));
        assert!(matrix(path, "[[demand]]\n").unwrap_err().to_string().contains("m is no matrix"));
    }

    #[test]
    fn an_explanation_says_what_was_decided_and_why_not_otherwise() {
        let text = explanation(&json!({
            "pair": { "a": "alpha", "z": "beta" },
            "evidence": [{ "source": "x", "destination": "y", "rate": 40_000_000, "frames_per_second": 3300.4, "confidence": 0.5 }],
            "silent_nodes": ["beta"], "wanted": null, "circuits": [], "notes": [],
            "explanation": {
                "decision": "left-out", "why": "40mbit, but no circuit is left of 1", "demand": 40_000_000,
                "bulk_pairs": 1, "latency_pairs": 0, "lasts_ms": 1500, "expected_ms": 300_000, "history_ms": [],
                "least_share": 0.3, "otherwise": ["not in place of n1-n2"],
                "candidates": [{ "network": "omninet", "rate": 1_000_000_000, "setup_ms": 17_500, "teardown_ms": 12_000,
                    "share": 0.91, "refused": "no circuit is left of 1" }],
                "budgets": [{ "limit": "max_links", "used": "1", "most": "1" }],
            },
        }));
        for part in [
            "alpha and beta: left-out: 40mbit, but no circuit is left of 1\n  not in place of n1-n2\n",
            "beta does not report",
            "x       y            40mbit  3300      0.50",
            "there for 1.5 s, expected for 300.0 s more; before: never",
            "omninet    1gbit  17.5 s  12.0 s    91 %",
            "max_links  1     1",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let silent = explanation(&json!({ "pair": { "a": "alpha", "z": "beta" } }));
        assert!(silent.contains("the planner gives no reasons; it wants no link"), "{silent}");
        assert!(silent.contains("no traffic between their guests was seen"), "{silent}");
    }

    #[test]
    fn a_dry_run_says_what_would_be_done_when() {
        let link =
            json!({ "a": "alpha", "z": "beta", "network": "omninet", "rate": 1_000_000_000, "reason": "r" });
        let mut change = link.clone();
        change["after_s"] = 0.into();
        change["asks"] = true.into();
        let text = what_if(&json!({
            "lasted_s": 60, "changes": [change], "wanted": { "links": [link], "notes": ["a note"] },
            "demand": 160_000_000, "on_circuits": 80_000_000,
        }));
        assert!(text.starts_with("after  0 s asks for alpha - beta on omninet, 1gbit\n"), "{text}");
        assert!(text.contains("80mbit of 160mbit would take circuits after 60 s"), "{text}");
    }
}
