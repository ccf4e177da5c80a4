//! `cargo xtask bench report`: the page and its pictures, from the records that lie beside it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::metric::Metric;
use super::plot;
use super::record::{Record, Row};
use super::table::figure;
use crate::run;

/// Where records, pictures and the page are.
const FOLDER: &str = "docs/reports/bench";

const HEAD: &str = "# Benches\n\n\
Written by `cargo xtask bench report` from the records beside it; every raw sample is in them. A record is written\n\
by `cargo xtask bench <suite> --out FILE`.\n\n\
Every ratio is of two measurements in one run: in each round the baseline runs just before and just after, and the\n\
ratio is to the mean of the two; every other round goes in the opposite order. What is shown is the median over the\n\
rounds, with the least and the greatest. All is on one machine, guests and both nodes in network namespaces of their\n\
own; the daemons are release builds with dynamic plugins and inference on. Figures of other machines differ, ratios\n\
less so.\n\n\
| underlay | what |\n|---|---|\n\
| `wire` | a veth pair of MTU 1500 on which the sender's kernel cuts every frame (TSO, GSO and UDP segmentation off), as in front of a card without them |\n\
| `super` | a veth pair of MTU 1500 as it is: super-frames of up to 64 KiB pass whole |\n\
| `nic` | `wire`, and the receiving end coalesces (GRO), as cards' drivers do |\n\n\
Guests have an MTU of 1450 and know each other's address beforehand. `raw` is a veth pair between the guests without\n\
any overlay; `vxlan` is the kernel's VXLAN device, a bridge and a veth pair on each node.\n";

/// What is said of a suite, in the order of the page.
const SUITES: [(&str, &str); 10] = [
    (
        "dataplane",
        "Guest to guest against kernel VXLAN (1.0). TCP is iperf3, as the receiver counts, four streams being those \
         of one process. Small datagrams come from one sender that never pauses, 64 bytes of payload each; what \
         arrives per second counts. A round trip is 32 bytes of payload over UDP, there and back, the guests on \
         different processors. CPU per GB is all that all processors did while one TCP stream ran, guests included.",
    ),
    (
        "peers",
        "Ours divided by what a user would run instead: above 1 ours is faster, of round trips and CPU ours is \
         slower. Clear against clear, sealed against sealed. Every peer is set up for speed: no compression, no rate \
         limit, its cheapest good cipher, its TAP directly in the guest.",
    ),
    (
        "latency",
        "Round trips back to back, with a pause of a millisecond before each, and beside a TCP stream that takes \
         what it gets; against kernel VXLAN (1.0).",
    ),
    (
        "capture",
        "How capture-iouring calls the kernel: a call per frame (plain) or io_uring (ring), for reading, writing or \
         both, on TAPs and on veth pairs; clear, against kernel VXLAN (1.0).",
    ),
    (
        "abi",
        "A plugin that looks at one byte of each frame of 64 bytes, or gives such frames out: as a shared object against \
         the same one linked into the program, and that against the same work without a plugin. Both are called through \
         their tables as the host's workers do, with all that the host checks.",
    ),
    ("lookup", "The forwarding cache and the rules alone, on one thread."),
    (
        "inference",
        "Guest to guest with a report every 500 ms (inferring) against the same daemons with one an hour, in pairs of \
         measurements; and the lead alone, on one thread: every node's report of one interval merged, then inferred and \
         planned, by number of active pairs.",
    ),
    (
        "topology",
        "How often each named pattern is recognised, at every size from 4 to 64 guests where it exists, grids with every \
         pair or triple of sides, guests in any order; and how often a random graph is given a name. Each trial is a whole \
         run of inference on a virtual clock with its defaults. With a noise of p, pairs pause in a share p of the report \
         intervals and reports are lost as often, counts are off by up to p, and p times as many pairs as the pattern has \
         talk beside it at 5 to 25 % of its typical rate. Weights are equal, or differ by up to two times (unequal). Seeds \
         are the rounds' numbers: the figures are the same on every machine.",
    ),
    (
        "planner",
        "adapt-vadapt's choice alone, on one thread. Quality measures no time: 500 small random problems a round (4 to \
         7 nodes, one or two networks, budgets of circuits, rates and costs, with and without the star's capacity, \
         one hop and two), each also solved exactly by trying everything. What all pairs are served is held against \
         the optimum; what is gained over the star alone is shown beside it. Time: 1,000 nodes of which every one \
         talks to 100 others.",
    ),
    (
        "scale",
        "The same load over more and more guests and links, against the same load over one; and while rules change.",
    ),
];

/// Writes the page.
///
/// # Errors
/// If a record cannot be read, or a file not be written.
pub(super) fn write() -> anyhow::Result<()> {
    let folder = run::root().join(FOLDER);
    let mut records = BTreeMap::new();
    for file in files(&folder)? {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let record: Record =
            serde_json::from_str(&text).with_context(|| format!("{} is no record", file.display()))?;
        records.insert(record.suite.clone(), record);
    }
    let mut page = HEAD.to_owned();
    for (suite, how) in SUITES {
        let Some(record) = records.get(suite) else { continue };
        page += &section(record, how);
        for (metric, svg) in pictures(record) {
            let name = format!("{suite}-{}.svg", slug(metric));
            let file = folder.join(&name);
            fs::write(&file, svg).with_context(|| format!("write {}", file.display()))?;
            write!(page, "\n![{suite}: {}]({name})\n", metric.label()).expect("text can be written");
        }
    }
    let file = folder.join("README.md");
    fs::write(&file, page).with_context(|| format!("write {}", file.display()))?;
    println!("{}: {} suites", file.display(), records.len());
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

fn section(record: &Record, how: &str) -> String {
    let machine = &record.machine;
    // A suite that counts its work instead of the time has no length.
    let length = match record.seconds {
        seconds if seconds > 0.0 => format!(", {seconds} s a measurement"),
        _ => String::new(),
    };
    let mut text = format!(
        "\n## {}\n\n{how}\n\n{} rounds{length}; Linux {}, {} × {}, {} GiB.\n\n\
         | setting | subject | metric | ratio | min–max | target | | value | baseline | unit |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        record.suite,
        record.rounds,
        machine.kernel,
        machine.processors,
        machine.processor,
        machine.memory_mib.div_ceil(1024),
    );
    record.rows.iter().for_each(|row| text += &line(row));
    if !record.versions.is_empty() {
        let versions: Vec<_> =
            record.versions.iter().map(|(name, text)| format!("{name} ({text})")).collect();
        write!(text, "\nVersions: {}.\n", versions.join(", ")).expect("text can be written");
    }
    for (what, lines) in [("Note", &record.notes), ("Left out", &record.skipped)] {
        for line in lines {
            write!(text, "\n{what}: {line}\n").expect("text can be written");
        }
    }
    text
}

fn line(row: &Row) -> String {
    let median = |spread: Option<super::spread::Spread>| spread.map_or(String::new(), |s| figure(s.median));
    let range = row.ratio.unwrap_or(row.value);
    let holds = match row.holds {
        Some(true) => "pass",
        Some(false) => "**miss**",
        None => "",
    };
    format!(
        "| {} | {} | {} | {} | {}–{} | {} | {holds} | {} | {} | {} |\n",
        row.setting,
        row.subject,
        row.metric.label(),
        median(row.ratio),
        figure(range.min),
        figure(range.max),
        row.target.map_or(String::new(), |target| target.text()),
        figure(row.value.median),
        median(row.baseline),
        row.unit,
    )
}

/// A picture for each metric, in the order of the table.
fn pictures(record: &Record) -> Vec<(Metric, String)> {
    let worth_one = record.rows.iter().map(|row| row.metric).filter(|metric| metric.has_ratio());
    let mut metrics: Vec<Metric> = worth_one.collect();
    let mut seen = Vec::new();
    metrics.retain(|metric| {
        !seen.contains(metric) && {
            seen.push(*metric);
            true
        }
    });
    let picture = |metric: Metric| {
        let of_metric = record.rows.iter().filter(|row| row.metric == metric);
        let with_ratio: Vec<&Row> = of_metric.clone().filter(|row| row.ratio.is_some()).collect();
        let rows = if with_ratio.is_empty() { of_metric.collect() } else { with_ratio };
        let what = if rows[0].ratio.is_some() { "ratio to the baseline" } else { metric.unit() };
        plot::bars(&format!("{}: {}, {what}", record.suite, metric.label()), &rows)
    };
    metrics.into_iter().filter_map(|metric| Some((metric, picture(metric)?))).collect()
}

/// A metric's name in file names.
fn slug(metric: Metric) -> String {
    let label = metric.label().to_lowercase();
    let words: Vec<_> =
        label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::super::record::Sample;
    use super::*;

    #[test]
    fn a_suite_has_a_table_and_a_picture_for_each_metric() {
        let sample = |metric, baseline| Sample {
            round: 0,
            setting: "wire".to_owned(),
            subject: "clear".to_owned(),
            metric,
            value: 5.0,
            baseline,
        };
        let samples = vec![sample(Metric::Tcp1, Some(10.0)), sample(Metric::MemoryPeak, None)];
        let mut record = Record::new("dataplane", 1, 3.0, samples);
        record.skipped.push("secure: not there".to_owned());
        let text = section(&record, "How.");
        assert!(text.contains("| wire | clear | TCP, 1 stream | 0.50 |"), "{text}");
        assert!(text.contains("**miss**") && text.contains("Left out: secure: not there"), "{text}");
        let names: Vec<_> = pictures(&record).into_iter().map(|(metric, _)| slug(metric)).collect();
        assert_eq!(names, ["tcp-1-stream", "memory-peak"]);
    }
}
