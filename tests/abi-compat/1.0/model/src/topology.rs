//! What inference makes of the traffic: demand per pair, and the pattern it forms.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BitsPerSecond, MacAddr};

/// Smoothed demand of one ordered (source, destination) pair of guests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
    /// Smoothed rate of what the pair offers.
    pub rate: BitsPerSecond,
    /// Smoothed frames per second.
    pub frames_per_second: f64,
    /// How sure inference is that this is an edge of the application's topology, 0 to 1; 0 marks a pair
    /// that was pruned and is listed only for the record.
    pub confidence: f64,
}

/// The named shape of an application's topology (Gupta and Dinda, JSSPP 2004).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Pattern {
    /// No edge is left after pruning.
    Silent,
    /// Disjoint pairs that talk to one another only.
    Pairs,
    /// Every guest talks to every other.
    AllToAll,
    /// One cycle through all guests.
    Ring,
    /// One open path through all guests (a bus).
    Chain,
    /// One guest talks to all others, which do not talk among themselves.
    Star,
    /// Connected and without a cycle, none of the above.
    Tree,
    /// A shape without a name here.
    Irregular,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pattern::Silent => "silent",
            Pattern::Pairs => "pairs",
            Pattern::AllToAll => "all-to-all",
            Pattern::Ring => "ring",
            Pattern::Chain => "chain",
            Pattern::Star => "star",
            Pattern::Tree => "tree",
            Pattern::Irregular => "irregular",
        })
    }
}

/// What the lead's inference believes at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopologyReport {
    /// The pattern that the edges form.
    pub pattern: Pattern,
    /// True while inference has seen the whole window and the edges have held still.
    pub settled: bool,
    /// Nodes whose reports are overdue: the view is partial.
    #[serde(default)]
    pub silent_nodes: Vec<String>,
    /// Demand per ordered pair, highest rate first. Crosses the plugin boundary as flat records, not in
    /// this document, because it may hold a million pairs.
    #[serde(default)]
    pub demands: Vec<Demand>,
}

impl TopologyReport {
    /// A view without any traffic.
    pub fn silent() -> Self {
        TopologyReport {
            pattern: Pattern::Silent,
            settled: false,
            silent_nodes: Vec::new(),
            demands: Vec::new(),
        }
    }
}
