//! `adapt-watermark`: one circuit more or one less per period, by the load of links; after Gençata and Mukherjee,
//! "Virtual-topology adaptation for WDM mesh networks under dynamic traffic" (IEEE/ACM ToN 11(2), 2003).
//!
//! ```text
//!  snapshots of one period ─▶ loads: mean demand between nodes ─▶ policy: a star link over the high watermark?
//!                                                                  │ yes: a circuit for its largest pair
//!                                                                  │ no: a circuit under the low one goes
//!                                                                  ▼
//!                                                                 links ─▶ wanted links and rules
//! ```
//! No prediction, no search, no memory but the period's: what it does can be foretold with pencil and paper.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod config;
mod loads;
mod policy;

use vreserve_sdk::model::{Snapshot, Wanted};
use vreserve_sdk::{Adapt, Counter, Failure, Host, tracing};

pub use config::Config;
pub use policy::{Change, Policy};

/// The plugin.
pub struct Watermark {
    policy: Policy,
    added: Counter,
    removed: Counter,
}

impl Adapt for Watermark {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        Ok(Watermark {
            policy: Policy::new(config),
            added: host
                .counter("links_added", "circuits asked for because a star link was over the high watermark"),
            removed: host
                .counter("links_removed", "circuits given back because they were under the low watermark"),
        })
    }

    fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure> {
        let (wanted, change) = self.policy.step(snapshot);
        match change {
            Some(Change::Added) => self.added.add(1),
            Some(Change::Removed) => self.removed.add(1),
            None => {}
        }
        if let Some(change) = change {
            tracing::debug!(?change, links = wanted.links.len(), "wanted links changed");
        }
        Ok(wanted)
    }
}

vreserve_sdk::export_plugin!(name = "adapt-watermark", adapt = Watermark);
