//! `adapt-vadapt`: which node pairs deserve a circuit, after VADAPT and VRESERVE (Northwestern, 2004-05).
//!
//! ```text
//!  snapshot ─▶ demand between nodes ─▶ candidates E ─▶ planner ─▶ choice: greedy, refined ─▶ H: wanted links
//!              (guests on nodes)       (networks,       hysteresis      within budgets           and rules
//!                                       break-even,      ▲        │
//!                                       history)         └ chosen ◀ since when, how long low
//! ```
//! What lives here: the plugin and its counters. The modules in the picture have no clock and no I/O.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod candidates;
pub mod choice;
mod chosen;
mod config;
mod demand;
mod history;
mod pace;
mod planner;

use vreserve_sdk::model::{Snapshot, Wanted};
use vreserve_sdk::{Adapt, Counter, Failure, Host, tracing};

pub use config::{Config, Cost, Latency, Objective, Rates, Resize, Routing};
pub use planner::{Changes, Planner};

/// The plugin.
pub struct Vadapt {
    planner: Planner,
    chosen: Counter,
    released: Counter,
    swapped: Counter,
    resized: Counter,
}

impl Adapt for Vadapt {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        Ok(Vadapt {
            planner: Planner::new(config),
            chosen: host.counter("links_chosen", "node pairs chosen for a circuit into a free slot"),
            released: host.counter("links_released", "node pairs whose circuit was given back"),
            swapped: host.counter("links_swapped", "node pairs that took the place of one with less demand"),
            resized: host.counter("links_resized", "circuits whose rate was changed while they were wanted"),
        })
    }

    fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure> {
        let (wanted, changes) = self.planner.step(snapshot);
        self.chosen.add(changes.chosen);
        self.released.add(changes.released);
        self.swapped.add(changes.swapped);
        self.resized.add(changes.resized);
        if changes != Changes::default() {
            let Changes { chosen, released, swapped, resized } = changes;
            tracing::debug!(
                chosen,
                released,
                swapped,
                resized,
                links = wanted.links.len(),
                "wanted links changed"
            );
        }
        Ok(wanted)
    }
}

vreserve_sdk::export_plugin!(name = "adapt-vadapt", adapt = Vadapt);
