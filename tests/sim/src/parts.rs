//! Inference and planning: what is called of `infer-vttif` and `adapt-vadapt`. Both are linked as they are; what a
//! plugin's host adds (tables, copies of documents, clamping) is left out.

use vreserve_adapt_vadapt as vadapt;
use vreserve_core::counters::Cell;
use vreserve_infer_vttif as vttif;
use vreserve_model::{Failure, Snapshot, Timestamp, TopologyReport, Wanted};

/// The lead's side of inference.
pub(crate) struct Inference(vttif::Lead);

impl Inference {
    pub(crate) fn new(config: &vttif::Config) -> Self {
        Inference(vttif::Lead::new(config))
    }

    pub(crate) fn merge(&mut self, now: Timestamp, node: &str, report: &[u8]) -> Result<(), Failure> {
        self.0.merge(now, node, report).map(drop)
    }

    pub(crate) fn infer(&mut self, now: Timestamp) -> TopologyReport {
        self.0.infer(now)
    }
}

/// The planner.
pub(crate) struct Planning(vadapt::Planner);

impl Planning {
    pub(crate) fn new(config: &vadapt::Config) -> Self {
        Planning(vadapt::Planner::new(config.clone()))
    }

    pub(crate) fn plan(&mut self, snapshot: &Snapshot) -> Wanted {
        self.0.step(snapshot).0
    }
}

/// A node's side of inference.
pub(crate) struct Observing {
    observer: vttif::Observer,
    has_begun: bool,
}

impl Observing {
    /// Of one run of a node, told from its others by `boot`.
    pub(crate) fn new(boot: u64) -> Self {
        Observing { observer: vttif::Observer::new(boot, 100_000), has_begun: false }
    }

    /// The report of what guests sent since the last call; and whether its octets are those of the cells. The
    /// first one starts the clock and holds none.
    pub(crate) fn observe(&mut self, now: Timestamp, cells: &[Cell]) -> (Vec<u8>, bool) {
        let records: Vec<_> = cells.iter().map(record_of).collect();
        let report = self.observer.observe(now, &records);
        let told = report.cells.iter().map(|(_, volume)| volume.bytes).sum::<u64>() + report.other.bytes;
        let sent = cells.iter().map(|cell| cell.bytes).sum::<u64>();
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        (report.encode(), told == sent || is_first)
    }
}

fn record_of(cell: &Cell) -> vreserve_sdk::Cell {
    vreserve_sdk::Cell {
        source: cell.source.0,
        destination: cell.destination.0,
        vlan: cell.vlan,
        reserved: 0,
        bytes: cell.bytes,
        frames: cell.frames,
    }
}
