//! An inference plugin of ABI 1.0: what was sent since the last report, as a rate, is the demand.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vreserve_sdk::model::{BitsPerSecond, Demand, MacAddr, Pattern, Timestamp, TopologyReport};
use vreserve_sdk::{Cell, Failure, Host, Infer, export_plugin};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bits per second below which a pair is not listed.
    #[serde(default)]
    least: u64,
}

/// Source, destination, bits per second, frames per second.
#[derive(Serialize, Deserialize)]
struct Pair(MacAddr, MacAddr, u64, f64);

pub struct Rates {
    least: u64,
    last: Timestamp,
    /// The last report of each node.
    nodes: BTreeMap<String, Vec<Pair>>,
}

impl Infer for Rates {
    type Config = Config;

    fn open(config: Config, _: Host) -> Result<Self, Failure> {
        Ok(Rates { least: config.least, last: Timestamp::ZERO, nodes: BTreeMap::new() })
    }

    fn observe(&mut self, now: Timestamp, cells: &[Cell]) -> Result<Vec<u8>, Failure> {
        let seconds = now.since(self.last).as_secs_f64().max(1e-3);
        self.last = now;
        let pair = |cell: &Cell| {
            let rate = (cell.bytes as f64 * 8.0 / seconds) as u64;
            Pair(MacAddr(cell.source), MacAddr(cell.destination), rate, cell.frames as f64 / seconds)
        };
        let pairs: Vec<Pair> = cells.iter().map(pair).collect();
        serde_json::to_vec(&pairs).map_err(|error| Failure::internal(error.to_string()))
    }

    fn merge(&mut self, _: Timestamp, node: &str, report: &[u8]) -> Result<(), Failure> {
        let pairs = serde_json::from_slice(report);
        let pairs = pairs.map_err(|error| Failure::invalid("report", error.to_string()))?;
        self.nodes.insert(node.to_owned(), pairs);
        Ok(())
    }

    fn infer(&mut self, _: Timestamp) -> Result<TopologyReport, Failure> {
        let demand = |Pair(source, destination, rate, frames): &Pair| Demand {
            source: *source,
            destination: *destination,
            rate: BitsPerSecond(*rate),
            frames_per_second: *frames,
            confidence: 1.0,
        };
        let mut demands: Vec<Demand> = self.nodes.values().flatten().map(demand).collect();
        demands.retain(|demand| demand.rate.0 > self.least);
        demands.sort_by_key(|demand| std::cmp::Reverse(demand.rate));
        let pattern = if demands.is_empty() { Pattern::Silent } else { Pattern::Pairs };
        Ok(TopologyReport { pattern, settled: true, demands, ..TopologyReport::silent() })
    }
}

export_plugin!(name = "infer-1-0", infer = Rates);
