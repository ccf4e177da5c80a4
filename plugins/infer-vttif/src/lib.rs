//! `infer-vttif`: who talks to whom, and how much, after VTTIF (Gupta and Dinda, JSSPP 2004).
//!
//! ```text
//!  every node                                   the lead
//!  cells ─▶ observer ─▶ report ══(lossy)══▶ report ─▶ believe ─▶ matrix: one window per node
//!                                                                  │ rates per pair
//!                                            topology ◀─ pattern ◀─ edges: normalise, prune, hold
//! ```
//! What lives here: the plugin and its counters. The modules in the picture have no clock and no I/O.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod believe;
mod config;
mod edges;
mod lead;
mod matrix;
mod observer;
mod pace;
mod pattern;
mod report;
mod shape;
mod window;

use std::hash::{BuildHasher, RandomState};

use vreserve_sdk::model::{Timestamp, TopologyReport};
use vreserve_sdk::{Cell, Counter, Failure, Host, Infer};

pub use config::Config;
pub use lead::Lead;
pub use matrix::Merged;
pub use observer::Observer;
pub use report::{Pair, Report, Volume};
pub use shape::Shape;

/// The plugin.
pub struct Vttif {
    observer: Observer,
    lead: Lead,
    counters: Counters,
}

struct Counters {
    merged: Counter,
    stale: Counter,
    future: Counter,
    unheard: Counter,
    refused: Counter,
    restarts: Counter,
    folded: Counter,
}

impl Counters {
    fn new(host: &Host) -> Self {
        Counters {
            merged: host.counter("reports_merged", "reports of nodes that count"),
            stale: host.counter("reports_stale", "reports that were duplicates, overtaken or of an old run"),
            future: host.counter("reports_future", "reports of intervals that cannot be over yet"),
            unheard: host.counter("reports_unheard", "reports of more nodes than can be heard"),
            refused: host.counter("reports_refused", "reports that could not be read or believed"),
            restarts: host.counter("node_restarts", "new runs of nodes"),
            folded: host.counter("pairs_folded", "least active guest pairs that are counted together"),
        }
    }
}

impl Infer for Vttif {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        // Only has to differ from run to run; the standard library seeds every hasher at random.
        let boot = RandomState::new().hash_one("run");
        Ok(Vttif {
            observer: Observer::new(boot, config.max_pairs),
            lead: Lead::new(&config),
            counters: Counters::new(&host),
        })
    }

    fn observe(&mut self, now: Timestamp, cells: &[Cell]) -> Result<Vec<u8>, Failure> {
        Ok(self.observer.observe(now, cells).encode())
    }

    fn merge(&mut self, now: Timestamp, node: &str, report: &[u8]) -> Result<(), Failure> {
        let folded = self.lead.folded();
        let merged = self.lead.merge(now, node, report);
        match &merged {
            Ok(Merged::Fresh) => self.counters.merged.add(1),
            Ok(Merged::Stale) => self.counters.stale.add(1),
            Ok(Merged::Future) => self.counters.future.add(1),
            Ok(Merged::Unheard) => self.counters.unheard.add(1),
            Ok(Merged::Restarted) => {
                self.counters.merged.add(1);
                self.counters.restarts.add(1);
            }
            Err(_) => self.counters.refused.add(1),
        }
        self.counters.folded.add(self.lead.folded() - folded);
        merged.map(drop)
    }

    fn infer(&mut self, now: Timestamp) -> Result<TopologyReport, Failure> {
        Ok(self.lead.infer(now))
    }
}

vreserve_sdk::export_plugin!(name = "infer-vttif", infer = Vttif);
