//! What the lead is told once: its identity and its patience.

use std::collections::BTreeMap;
use std::time::Duration;

use vreserve_model::BitsPerSecond;

use super::Recurring;

/// The settings of a [`Lead`](super::Lead). [`LeadConfig::new`] gives defaults for all but the identity.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadConfig {
    /// The installation's name: part of every request key and owner tag.
    pub installation: String,
    /// Grows each time a lead takes office, at most 2^21: ids and revisions start above those of all
    /// earlier leads (and still pass through JSON readers that know only doubles).
    pub epoch: u32,
    /// How long a failed link, pair or call waits before the next attempt.
    pub back_off: BackOff,
    /// How long each phase may take.
    pub patience: Patience,
    /// How often a reservation that is promised but not yet active is looked up.
    pub poll_every: Duration,
    /// A wanted rate up to this fraction above the granted one counts as met.
    pub rate_margin: f64,
    /// How long a circuit found on record is kept though nobody wants it yet: planners need a while to see
    /// again what it carries.
    pub restore_grace: Duration,
    /// How often backends that can list are asked what they hold.
    pub list_every: Duration,
    /// How long capacity that is on no record is watched before it is given back.
    pub orphan_grace: Duration,
    /// A circuit is not resized before this long after it began to carry, or was resized last.
    pub resize_every: Duration,
    /// How long before its window closes a booking's pairs go back to the star; a tenth of a short window.
    pub close_before: Duration,
    /// What may be held on a network at once; no entry means no limit.
    pub budgets: BTreeMap<String, Budget>,
    /// Whether windows are booked ahead of demand that recurs; none unless given.
    pub recurring: Option<Recurring>,
    /// Plans, shows what it would reserve, and asks nobody for anything new.
    pub shadow: bool,
    /// A circuit that no pair could be switched to in this many attempts is given up.
    pub switch_attempts: u32,
    /// How many past circuits are kept for display.
    pub history: usize,
    /// How many guests one node may announce; more are ignored.
    pub guests_per_node: usize,
}

/// What may be held on one network at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Circuits.
    pub circuits: Option<u32>,
    /// The sum of their rates.
    pub rate: Option<BitsPerSecond>,
}

/// Doubling delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// After the first failure.
    pub min: Duration,
    /// At most.
    pub max: Duration,
}

/// How long the lead waits for what others do, before it takes it as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until both ends have set up a link.
    pub linking: Duration,
    /// Until a probe's outcome.
    pub probing: Duration,
    /// Until a node tells how switching a pair went; longer than a node holds a pair's frames.
    pub switching: Duration,
    /// Until both ends have taken down a link; then it is released regardless.
    pub unlinking: Duration,
    /// From a granted request, or the start of its window, until the circuit is active.
    pub activating: Duration,
}

impl LeadConfig {
    /// The defaults, for this identity.
    pub fn new(installation: impl Into<String>, epoch: u32) -> Self {
        LeadConfig {
            installation: installation.into(),
            epoch,
            back_off: BackOff { min: Duration::from_secs(2), max: Duration::from_secs(300) },
            patience: Patience {
                linking: Duration::from_secs(10),
                probing: Duration::from_secs(15),
                switching: Duration::from_secs(5),
                unlinking: Duration::from_secs(5),
                activating: Duration::from_secs(600),
            },
            poll_every: Duration::from_secs(1),
            rate_margin: 0.25,
            restore_grace: Duration::from_secs(15),
            list_every: Duration::from_secs(30),
            orphan_grace: Duration::from_secs(30),
            resize_every: Duration::from_secs(10),
            close_before: Duration::from_secs(2),
            budgets: BTreeMap::new(),
            recurring: None,
            shadow: false,
            switch_attempts: 5,
            history: 100,
            guests_per_node: 4096,
        }
    }
}

impl BackOff {
    /// The delay after this many failures in succession.
    pub fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }
}
