//! Documents with demands, which cross the boundary apart as flat records: there may be a million.

use vreserve_abi::{DemandRecord, RawTopology};
use vreserve_model::{BitsPerSecond, Demand, Failure, MacAddr, Snapshot, TopologyReport};

use super::document;

fn record_of(demand: &Demand) -> DemandRecord {
    DemandRecord {
        source: demand.source.0,
        destination: demand.destination.0,
        reserved: 0,
        rate: demand.rate.0,
        frames_per_second: demand.frames_per_second,
        confidence: demand.confidence,
    }
}

pub(super) fn demand_of(record: &DemandRecord) -> Demand {
    Demand {
        source: MacAddr(record.source),
        destination: MacAddr(record.destination),
        rate: BitsPerSecond(record.rate),
        frames_per_second: record.frames_per_second,
        confidence: record.confidence,
    }
}

/// A topology report as it crosses the boundary.
pub fn topology_out(mut report: TopologyReport) -> RawTopology {
    let demands = report.demands.iter().map(record_of).collect();
    report.demands.clear();
    RawTopology { document: document(&report), demands }
}

/// A topology report as it came across the boundary.
///
/// # Errors
/// `Internal` if the plugin's document cannot be read.
pub fn topology_in(raw: &RawTopology) -> Result<TopologyReport, Failure> {
    let mut report: TopologyReport = serde_json::from_str(raw.document.as_str())
        .map_err(|error| Failure::internal(format!("the topology document cannot be read: {error}")))?;
    report.demands = raw.demands.iter().map(demand_of).collect();
    Ok(report)
}

/// A snapshot as it crosses the boundary: the document, and its demands apart.
pub fn snapshot_out(snapshot: &Snapshot) -> (String, Vec<DemandRecord>) {
    let mut bare = Snapshot {
        now: snapshot.now,
        nodes: snapshot.nodes.clone(),
        guests: snapshot.guests.clone(),
        topology: TopologyReport::silent(),
        backends: snapshot.backends.clone(),
        circuits: snapshot.circuits.clone(),
        max_hops: snapshot.max_hops,
        question: snapshot.question.clone(),
    };
    bare.topology.pattern = snapshot.topology.pattern;
    bare.topology.settled = snapshot.topology.settled;
    bare.topology.silent_nodes.clone_from(&snapshot.topology.silent_nodes);
    let document = serde_json::to_string(&bare).expect("a snapshot is plain JSON");
    (document, snapshot.topology.demands.iter().map(record_of).collect())
}
