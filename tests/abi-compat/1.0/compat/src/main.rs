//! A host of ABI 1.0. It loads shared objects, all into one process and by the checks of its time, and uses each as the
//! kit of its kind does, which goes through the C tables as a daemon does.
//!
//! On standard input it reads a list of orders (JSON); on standard output it writes a line for each: why the plugin was
//! refused, or the kit's report.
#![allow(unreachable_pub, reason = "the loader's files are those of a library")]

mod loader;
mod plugin;

use std::error::Error;
use std::io::stdin;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vreserve_abi::PluginRef;
use vreserve_sdk::conformance::{self, Kit, Numbered, Report, Surroundings};
use vreserve_sdk::model::{BitsPerSecond, Request, RequestKey};

use plugin::PluginKind;

/// What to load, and what to try with it.
#[derive(Deserialize)]
struct Order {
    file: PathBuf,
    plugin: String,
    kind: String,
    /// The plugin's own table, `{n}` standing for the number of an instance; without it, what the schema gives.
    config: Option<Value>,
    /// The kit's cases that are to be run.
    cases: Vec<String>,
    /// Of reservations.
    ends: Option<(String, String)>,
}

/// What became of an order.
#[derive(Serialize)]
struct Answer {
    plugin: String,
    refused: Option<String>,
    report: Option<Report>,
}

struct Told {
    config: Value,
    ends: Option<(String, String)>,
}

impl Surroundings for Told {
    fn config(&self, number: u32) -> Result<Value, String> {
        Numbered(self.config.clone()).config(number)
    }

    fn request(&self, number: u32) -> Result<Request, String> {
        let (a, z) = self.ends.clone().ok_or("no ends are given")?;
        let numbered = |end: String| end.replace("{n}", &number.to_string());
        Ok(Request {
            key: RequestKey(String::new()),
            owner: String::new(),
            a: numbered(a),
            z: numbered(z),
            rate: BitsPerSecond(1_000_000),
            flow: None,
            max_latency: None,
            start_ms: None,
            end_ms: None,
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let orders: Vec<Order> = serde_json::from_reader(stdin())?;
    let load = |order: &Order| {
        let kind = order.kind.parse().map_err(|unknown| format!("{}: {unknown}", order.kind))?;
        let root = loader::load(&order.file, &order.plugin, kind).map_err(|error| error.to_string())?;
        Ok::<_, String>((kind, root))
    };
    // All are there before any is used.
    let loaded: Vec<_> = orders.iter().map(load).collect();
    for (order, loaded) in orders.into_iter().zip(loaded) {
        let plugin = order.plugin.clone();
        let report = loaded.and_then(|(kind, root)| report(order, kind, root));
        let answer = Answer { plugin, refused: report.as_ref().err().cloned(), report: report.ok() };
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}

fn report(order: Order, kind: PluginKind, root: PluginRef) -> Result<Report, String> {
    let config = match order.config {
        Some(config) => config,
        None => conformance::sample(root, kind.name())?,
    };
    Ok(kit(kind, root, Told { config, ends: order.ends }).only(&order.cases).run())
}

fn kit(kind: PluginKind, root: PluginRef, around: Told) -> Kit {
    match kind {
        PluginKind::Capture => conformance::capture(root, around),
        PluginKind::Link => conformance::link(root, around),
        PluginKind::Infer => conformance::infer(root, around),
        PluginKind::Adapt => conformance::adapt(root, around),
        PluginKind::Reserve => conformance::reserve(root, around),
    }
}
