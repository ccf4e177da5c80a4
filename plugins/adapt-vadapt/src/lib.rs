//! `adapt-vadapt`: which node pairs deserve a circuit, after VADAPT and VRESERVE (Northwestern, 2004-05).
//!
//! ```text
//!  snapshot ─▶ demand between nodes ─▶ candidates E ─▶ planner: top k by demand, ─▶ H: wanted links
//!              (guests on nodes)       (networks,       hysteresis, budgets           and rules
//!                                       break-even)      ▲            │
//!                                                        └─ chosen ◀──┘ since when, how long low
//! ```
//! What lives here: the plugin and its counters. The modules in the picture have no clock and no I/O.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod candidates;
mod chosen;
mod config;
mod demand;
mod planner;

use vreserve_sdk::model::{Snapshot, Wanted};
use vreserve_sdk::{Adapt, Counter, Failure, Host, tracing};

pub use config::{Config, Rates};
pub use planner::{Changes, Planner};

/// The plugin.
pub struct Vadapt {
    planner: Planner,
    chosen: Counter,
    released: Counter,
    swapped: Counter,
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
        })
    }

    fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure> {
        let (wanted, changes) = self.planner.step(snapshot);
        self.chosen.add(changes.chosen);
        self.released.add(changes.released);
        self.swapped.add(changes.swapped);
        if changes != Changes::default() {
            let Changes { chosen, released, swapped } = changes;
            tracing::debug!(chosen, released, swapped, links = wanted.links.len(), "wanted links changed");
        }
        Ok(wanted)
    }
}

vreserve_sdk::export_plugin!(name = "adapt-vadapt", adapt = Vadapt);
